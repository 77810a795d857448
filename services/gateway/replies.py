"""The one owner of who waits for which frames.

A mailbox follows one reader; any number may read the same stream, each where it stands. It takes a frame only if its
reader stands where the frame goes on (`Frame.after`), so a frame that comes twice, or from an old connection, is
dropped. A reader too slow for its mailbox falls behind: what is queued is dropped, and once it has taken what it was
writing, one merged frame "after k" is asked for.

A relay that waits for frames need not be woken for each: what its client has room for is poured to it at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from services.gateway.fanout import shard_of
from services.gateway.link import Link
from shared.frames import Frame, Reader, parent_of
from shared.messages import ShardStatus
from shared.ops import Readiness
from shared.types import ParentId

Pour = Callable[[Frame], bool]  # writes a frame at once; False if it cannot, or the frame is none to be written so


class Mailbox:
    """The frames on their way to one reader, in order. `Replies` delivers, one relay receives."""

    def __init__(self, reader: Reader, cursor: str, capacity: int, link: Link) -> None:
        self.reader = reader
        self.parent = parent_of(reader)
        self.ended = False  # the last frame is here
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
        self._pour: Pour | None = None  # of a relay that waits; then no frame is queued
        self._poured_s = 0.0  # when that took a frame last

    def deliver(self, frame: Frame) -> bool:
        """Was it taken?"""
        if self.ended or self._behind or frame.after not in (None, self.cursor):
            return False
        if self._pour is not None and not self._frames and self._pour(frame):
            self.cursor = self._taken = frame.cursor
            self._poured_s = time.monotonic()
            return True
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
            await self._link.attach({self.reader: self.cursor})

    async def attach(self) -> None:
        """Ask for a stream that is on the bus already."""
        self.announced = True
        await self._link.attach({self.reader: self.cursor})

    async def receive(self, silence_s: float | None = None, pour: Pour | None = None) -> Frame | None:
        """The next frame; None after `silence_s` without one. What `pour` takes while this waits is not returned."""
        if self._frames:
            return self._take()
        self._pour, self._poured_s = pour, time.monotonic()
        try:
            while silence_s is None or (left_s := self._poured_s + silence_s - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if silence_s is None else left_s):
                        return await self._wait()
            return None
        finally:
            self._pour = None

    async def _wait(self) -> Frame:
        while True:
            self._news.clear()
            if self._frames:
                return self._take()
            if self._behind:
                await self._ask()
            else:
                await self._news.wait()

    async def _ask(self) -> None:
        self._behind = False  # before the answer can come
        try:
            await self._link.attach({self.reader: self.cursor})
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
    """Implements `link.Receiver` for all shards."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._links: Sequence[Link] = ()
        self._mailboxes: dict[Reader, Mailbox] = {}
        self._followers = 0  # so far
        self._relayed = 0
        self._dropped = 0
        self._fell_behind = 0

    async def run(self, links: Sequence[Link]) -> None:
        """Keep the connections of all shards, for ever; `links[shard]` is that shard's."""
        self._links = links
        async with asyncio.TaskGroup() as tasks:
            for link in links:
                tasks.create_task(link.run(), name=f"frames of shard {link.shard}")
                tasks.create_task(link.tell_leaving(), name=f"leaving shard {link.shard}")

    @contextmanager
    def open(self, parent: ParentId) -> Iterator[Mailbox]:
        """A mailbox for the frames of `parent`, for the client whose request it is."""
        with self._opened(parent, "") as mailbox:
            yield mailbox

    @contextmanager
    def follow(self, parent: ParentId, cursor: str = "") -> Iterator[Mailbox]:
        """One more, for somebody who stands at `cursor`."""
        self._followers += 1
        with self._opened(f"{parent}~{self._followers}", cursor) as mailbox:
            yield mailbox

    @contextmanager
    def _opened(self, reader: Reader, cursor: str) -> Iterator[Mailbox]:
        link = self._link(parent_of(reader))
        mailbox = self._mailboxes[reader] = Mailbox(reader, cursor, self._capacity, link)
        try:
            yield mailbox
        finally:
            del self._mailboxes[reader]
            self._fell_behind += mailbox.fell_behind
            if not mailbox.ended:
                link.leave(reader)

    def followed(self, parent: ParentId) -> bool:
        """Does anybody beside the request's own client read it here?"""
        return any(mailbox.parent == parent != reader for reader, mailbox in self._mailboxes.items())

    def deliver(self, frame: Frame) -> None:
        """To whom it is for; the detokenizer hears of a reader that is not here, or not any more."""
        reader = frame.reader or frame.parent
        mailbox = self._mailboxes.get(reader)
        if mailbox is not None and mailbox.deliver(frame):
            self._relayed += 1
            return
        self._dropped += 1
        if mailbox is None and not frame.last:
            self._link(frame.parent).leave(reader)

    def outstanding(self, shard: int) -> Mapping[Reader, str]:
        return {
            reader: mailbox.cursor
            for reader, mailbox in self._mailboxes.items()
            if mailbox.announced and not mailbox.ended and self._link(mailbox.parent).shard == shard
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

    def _link(self, parent: ParentId) -> Link:
        return self._links[shard_of(parent, len(self._links))]
