"""The one owner of gateways' connections: who reads which parent, and where each of them stands.

Nothing is queued for a gateway: what it has not seen is rendered when its connection takes the next event. A slow one
gets fewer and larger frames, and memory does not grow with its slowness.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from shared.errors import NotFound, Overloaded
from shared.frames import Attach, Frame
from shared.types import ParentId

Render = Callable[[ParentId, str], Frame | None]
EVENT_CHARACTERS = 256 * 1024  # of frames in one event, the last frame apart


class Link:
    """One connection: the cursors of what its gateway reads."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.cursors: dict[ParentId, str] = {}
        self.closed = False
        self._dirty: dict[ParentId, None] = {}  # in order
        self._refusals: list[Frame] = []
        self._wake = asyncio.Event()

    def touch(self, parent: ParentId) -> None:
        self._dirty[parent] = None
        self._wake.set()

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
        frames, size = self._refusals, 0
        self._refusals = []
        while self._dirty and size < EVENT_CHARACTERS:
            parent = next(iter(self._dirty))
            del self._dirty[parent]
            if (cursor := self.cursors.get(parent)) is None or (frame := render(parent, cursor)) is None:
                continue
            self.cursors[parent] = frame.cursor
            frames.append(frame)
            size += len(frame.data)
        if not self._dirty:
            self._wake.clear()
        return frames


class Links:
    def __init__(self, render: Render, most_parents: int) -> None:
        self._render = render
        self._most_parents = most_parents
        self._links: dict[str, Link] = {}
        self._readers: dict[ParentId, list[Link]] = {}
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
        """More for a connection that is up. Raises NotFound if it is not, and Overloaded."""
        link = self._links.get(attach.gateway)
        if link is None:
            raise NotFound(f"gateway {attach.gateway!r} has no connection here", param="gateway")
        self._check_room(attach)
        self._add(link, attach.cursors)

    def close(self, link: Link) -> None:
        link.close()
        for parent in list(link.cursors):
            self._leave(link, parent)
        if self._links.get(link.gateway) is link:
            del self._links[link.gateway]

    def close_all(self) -> None:
        for link in list(self._links.values()):
            self.close(link)

    def begin(self, parent: ParentId, gateway: str) -> None:
        """A parent starts: its gateway reads it from the beginning, unless it has said where it stands."""
        link = self._links.get(gateway)
        if link and parent not in link.cursors:
            self._add(link, {parent: ""})

    def touch(self, parents: Iterable[ParentId]) -> None:
        for parent in parents:
            for link in self._readers.get(parent, ()):
                link.touch(parent)

    def refuse(self, frame: Frame) -> None:
        """The last word on a parent, to all who wait for it."""
        for link in list(self._readers.get(frame.parent, ())):
            self._leave(link, frame.parent)
            link.refuse(frame)

    def take_nowait(self, link: Link) -> Iterator[list[Frame]]:
        """The events that are to be written now, one after the other."""
        while frames := link.take_nowait(self._render):
            for frame in frames:
                if frame.last:
                    self._leave(link, frame.parent)
            self._sent_frames += len(frames)
            self._sent_events += 1
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
        if len(attach.cursors) + len(self._readers) > self._most_parents:
            raise Overloaded(f"more than {self._most_parents} requests are attached here")

    def _add(self, link: Link, cursors: dict[ParentId, str]) -> None:
        for parent, cursor in cursors.items():
            if parent not in link.cursors:
                self._readers.setdefault(parent, []).append(link)
            link.cursors[parent] = cursor
            link.touch(parent)

    def _leave(self, link: Link, parent: ParentId) -> None:
        if link.cursors.pop(parent, None) is None:
            return
        readers = self._readers[parent]
        readers.remove(link)
        if not readers:
            del self._readers[parent]
