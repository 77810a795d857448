"""The one owner of gateways' connections: who reads which parent, and where each reader stands.

Nothing is queued for a gateway: what it has not seen is rendered when its connection takes the next event. A slow one
gets fewer and larger frames, and memory does not grow with its slowness.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator

from services.detokenizer.attendance import Attendance
from shared.errors import NotFound, Overloaded
from shared.frames import Attach, Frame, Reader, parent_of
from shared.messages import GenerateRequest
from shared.types import ParentId

Render = Callable[[ParentId, str], Frame | None]
EVENT_CHARACTERS = 256 * 1024  # of frames in one event, the last frame apart


class Link:
    """One connection: the cursors of its gateway's readers."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.cursors: dict[Reader, str] = {}
        self.closed = False
        self._dirty: dict[Reader, ParentId] = {}  # in order
        self._refusals: list[Frame] = []
        self._wake = asyncio.Event()

    def touch(self, reader: Reader, parent: ParentId) -> None:
        if not self._dirty:
            self._wake.set()
        self._dirty[reader] = parent

    def refuse(self, frame: Frame) -> None:
        self._refusals.append(frame)
        self._wake.set()

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    async def wait(self) -> None:
        """Until there may be something to take, or the link is closed."""
        await self._wake.wait()

    def take_nowait(self, render: Render) -> list[Frame]:
        """What is new, as one event; call again until it is empty."""
        frames, size, cursors = self._refusals, 0, self.cursors
        self._refusals = []
        dirty, self._dirty = self._dirty, {}
        for reader, parent in dirty.items():
            if size >= EVENT_CHARACTERS:
                self._dirty[reader] = parent
                continue
            if (cursor := cursors.get(reader)) is None or (frame := render(parent, cursor)) is None:
                continue
            cursors[reader] = frame.cursor
            frames.append(frame if reader == parent else frame._replace(reader=reader))
            size += len(frame.data)
        if not self._dirty:
            self._wake.clear()
        return frames


class Links:
    """`told` hears of each event of frames that goes out."""

    def __init__(
        self,
        render: Render,
        most_readers: int,
        now_s: Callable[[], float] = time.monotonic,
        told: Callable[[list[Frame]], None] = lambda _: None,
    ) -> None:
        self.attendance = Attendance(now_s)
        self._render = render
        self._told = told
        self._most_readers = most_readers
        self._links: dict[str, Link] = {}
        self._readers: dict[ParentId, list[tuple[Link, Reader]]] = {}
        self._sent_frames = 0
        self._sent_events = 0

    def open(self, attach: Attach) -> Link:
        """The connection of this gateway, in place of any older one. Raises Overloaded."""
        self._check_room(attach)
        if old := self._links.get(attach.gateway):
            self.close(old)
        link = self._links[attach.gateway] = Link(attach.gateway)
        self._add(link, attach.cursors)
        return link

    def attach(self, attach: Attach) -> None:
        """More readers for a connection that is up, or fewer. Raises NotFound if it is not, and Overloaded."""
        link = self._links.get(attach.gateway)
        if link is None:
            raise NotFound(f"gateway {attach.gateway!r} has no connection here", param="gateway")
        for reader in attach.left:
            self._leave(link, reader)
        self._check_room(attach)
        self._add(link, attach.cursors)

    def close(self, link: Link) -> None:
        link.close()
        for reader in list(link.cursors):
            self._leave(link, reader)
        if self._links.get(link.gateway) is link:
            del self._links[link.gateway]

    def close_all(self) -> None:
        for link in list(self._links.values()):
            self.close(link)

    def begin(self, parent: ParentId, gateway: str) -> None:
        """A parent is there: its gateway reads it from the beginning, unless it has said where it stands, or that its
        client has gone."""
        link = self._links.get(gateway)
        if link and parent not in link.cursors and not self.attendance.client_left(parent):
            self._add(link, {parent: ""})

    def unread(self, live: Collection[GenerateRequest]) -> list[ParentId]:
        """Those of all `live` requests that nobody has read for too long. Gateways that wait for one get it now."""
        for request in live:
            self.begin(request.parent_id, request.gateway)
        return self.attendance.overdue(live, self._readers)

    def touch(self, parents: Iterable[ParentId]) -> None:
        for parent in parents:
            for link, reader in self._readers.get(parent, ()):
                link.touch(reader, parent)

    def refuse(self, frame: Frame) -> None:
        """The last word on a parent, to all who wait for it."""
        for link, reader in list(self._readers.get(frame.parent, ())):
            self._leave(link, reader)
            link.refuse(frame._replace(reader=reader))

    def take_nowait(self, link: Link) -> Iterator[list[Frame]]:
        """The events that are to be written now, one after the other."""
        while frames := link.take_nowait(self._render):
            for frame in frames:
                if frame.last:
                    self._leave(link, frame.reader or frame.parent)
            self._sent_frames += len(frames)
            self._sent_events += 1
            self._told(frames)
            yield frames

    def wanted(self) -> frozenset[ParentId]:
        """All parents that somebody reads."""
        return frozenset(self._readers)

    def statistics(self) -> dict[str, int]:
        return {
            "gateways": len(self._links),
            "attached": sum(len(link.cursors) for link in self._links.values()),
            "frames": self._sent_frames,
            "events": self._sent_events,
        }

    def _check_room(self, attach: Attach) -> None:
        if len(attach.cursors) + sum(len(link.cursors) for link in self._links.values()) > self._most_readers:
            raise Overloaded(f"more than {self._most_readers} readers are attached here")

    def _add(self, link: Link, cursors: dict[Reader, str]) -> None:
        for reader, cursor in cursors.items():
            parent = parent_of(reader)
            if reader not in link.cursors:
                self._readers.setdefault(parent, []).append((link, reader))
                self.attendance.come(reader)
            link.cursors[reader] = cursor
            link.touch(reader, parent)

    def _leave(self, link: Link, reader: Reader) -> None:
        """Also one that was never seen: who waits in the queue is known to its gateway only."""
        parent = parent_of(reader)
        readers = self._readers.get(parent, [])
        if link.cursors.pop(reader, None) is not None:
            readers.remove((link, reader))
        if not readers:
            self._readers.pop(parent, None)
        self.attendance.leave(reader, last=not readers)
