"""The one owner of who waits for which frames.

A mailbox follows one client. It takes a frame only if the client stands where the frame goes on (`Frame.after`), so a
frame that comes twice, or from an old connection, is dropped. A client too slow for its mailbox falls behind: what is
queued is dropped, and once it has taken what it was writing, one merged frame "after k" is asked for.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from services.gateway.fanout import shard_of
from services.gateway.link import Link
from shared.frames import Frame
from shared.messages import ShardStatus
from shared.ops import Readiness
from shared.types import ParentId


class Superseded(Exception):
    """Another reader of the same stream has come to this gateway; it goes on where it stands."""


class Mailbox:
    """The frames on their way to one client, in order. `Replies` delivers, one relay receives."""

    def __init__(self, parent: ParentId, cursor: str, capacity: int, link: Link) -> None:
        self.parent = parent
        self.ended = False  # the last frame is here
        self.superseded = False
        self.announced = False  # the detokenizers can know of it
        self.cursor = cursor  # behind the newest frame queued
        self.fell_behind = 0
        self._taken = cursor  # behind the newest frame received
        self._frames: deque[Frame] = deque()
        self._capacity = capacity
        self._behind = False
        self._link = link
        self._connections = link.connections
        self._news = asyncio.Event()

    def deliver(self, frame: Frame) -> bool:
        """Was it taken?"""
        if self.ended or self._behind or frame.after not in (None, self.cursor):
            return False
        if len(self._frames) >= self._capacity:
            self._fall_behind()
            return False
        self._frames.append(frame)
        self.cursor, self.ended = frame.cursor, frame.last
        self._news.set()
        return True

    async def announce(self) -> None:
        """The request is on the bus: every connection from now on lists it, and one made meanwhile is told."""
        self.announced = True
        if self._link.connections != self._connections:
            await self._link.attach({self.parent: self.cursor})

    async def attach(self) -> None:
        """Ask for a stream that is on the bus already."""
        self.announced = True
        await self._link.attach({self.parent: self.cursor})

    async def receive(self, silence_s: float | None = None) -> Frame | None:
        """The next frame; None after `silence_s` without one. Raises Superseded."""
        if self._frames and not self.superseded:
            return self._take()
        try:
            async with asyncio.timeout(silence_s):
                return await self._wait()
        except TimeoutError:
            return None

    def supersede(self) -> None:
        self.superseded = True
        self._news.set()

    async def _wait(self) -> Frame:
        while True:
            self._news.clear()
            if self.superseded:
                raise Superseded
            if self._frames:
                return self._take()
            if self._behind:
                await self._ask()
            else:
                await self._news.wait()

    async def _ask(self) -> None:
        self._behind = False  # before the answer can come
        try:
            await self._link.attach({self.parent: self.cursor})
        except asyncio.CancelledError:
            self._behind = True
            raise

    def _take(self) -> Frame:
        frame = self._frames.popleft()
        self._taken = frame.cursor
        return frame

    def _fall_behind(self) -> None:
        self._frames.clear()
        self.cursor, self._behind = self._taken, True
        self.fell_behind += 1
        self._news.set()


class Replies:
    """Implements `link.Reader` for all shards."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._links: Sequence[Link] = ()
        self._mailboxes: dict[ParentId, Mailbox] = {}
        self._relayed = 0
        self._dropped = 0
        self._fell_behind = 0

    async def run(self, links: Sequence[Link]) -> None:
        """Keep the connections of all shards, for ever; `links[shard]` is that shard's."""
        self._links = links
        async with asyncio.TaskGroup() as tasks:
            for link in links:
                tasks.create_task(link.run(), name=f"frames of shard {link.shard}")

    @contextmanager
    def open(self, parent: ParentId, cursor: str = "") -> Iterator[Mailbox]:
        """A mailbox for the frames of `parent` behind `cursor`; another one that is open for it here gives way."""
        if earlier := self._mailboxes.get(parent):
            earlier.supersede()
        mailbox = Mailbox(parent, cursor, self._capacity, self._links[shard_of(parent, len(self._links))])
        self._mailboxes[parent] = mailbox
        try:
            yield mailbox
        finally:
            self._fell_behind += mailbox.fell_behind
            if self._mailboxes.get(parent) is mailbox:
                del self._mailboxes[parent]

    def deliver(self, frame: Frame) -> None:
        mailbox = self._mailboxes.get(frame.parent)
        if mailbox is not None and mailbox.deliver(frame):
            self._relayed += 1
        else:
            self._dropped += 1

    def outstanding(self, shard: int) -> Mapping[ParentId, str]:
        shards = len(self._links)
        return {
            parent: mailbox.cursor
            for parent, mailbox in self._mailboxes.items()
            if mailbox.announced and not mailbox.ended and shard_of(parent, shards) == shard
        }

    def owned_by(self, owner: ShardStatus) -> None:
        """A shard's owner, as far as anybody knows."""
        if owner.shard < len(self._links):
            self._links[owner.shard].owned_by(owner)

    def readiness(self) -> Readiness:
        down = [str(link.shard) for link in self._links if not link.connected]
        if down or not self._links:
            return Readiness(False, f"connecting to the detokenizer of shard {', '.join(down)}")
        return Readiness(True)

    def statistics(self) -> dict[str, object]:
        return {
            "mailboxes": len(self._mailboxes),
            "frames_relayed": self._relayed,
            "frames_dropped": self._dropped,
            "fell_behind": self._fell_behind,
            "shard": {str(link.shard): link.statistics() for link in self._links},
        }
