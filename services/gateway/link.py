"""The connection to the owner of one shard: frames come in, cursors go out (PROTOCOL 15).

Whenever it connects it lists who reads and where each reader stands, so a broken connection costs nothing but time. Who
has left is told until it was heard. It follows the shard to a new owner at once, even if the old connection still looks
alive.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Protocol

import aiohttp

from shared.frames import Attach, Frame, Reader, decode_frames, encode_attach, written_ms
from shared.messages import ShardStatus

log = logging.getLogger(__name__)

CONNECT_S = 3.0
ATTACH_S = 5.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0
MOST_LEFT = 10_000  # readers to tell of; only a shard that is gone for long can have so many
MAX_LINE_BYTES = 256 * 1024 * 1024  # of one event: the catch-up frames of all that a gateway has open
BROKEN = (aiohttp.ClientError, OSError, ValueError, TypeError)  # OSError: timeouts too; the last two: no event of ours


class Receiver(Protocol):
    """Whom a shard's frames are for."""

    def outstanding(self, shard: int) -> Mapping[Reader, str]:
        """Who reads, and the cursor each has reached."""
        ...

    def deliver(self, frame: Frame) -> None: ...


class Lines:
    """Chunks of bytes to whole lines, whatever their length up to MAX_LINE_BYTES."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes. Raises ValueError for one that is too long."""
        first, *rest = chunk.split(b"\n")
        self._parts.append(first)
        self._held += len(first)
        if self._held > MAX_LINE_BYTES:
            raise ValueError(f"an event of more than {MAX_LINE_BYTES} bytes")
        if not rest:
            return []
        lines = [b"".join(self._parts), *rest[:-1]]
        self._parts, self._held = [rest[-1]], len(rest[-1])
        return lines


class Link:
    """`heard` is told when each event was written, unix ms."""

    def __init__(
        self,
        shard: int,
        gateway: str,
        token: str,
        http: aiohttp.ClientSession,
        receiver: Receiver,
        heard: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.shard = shard
        self.connected = False
        self.connections = 0  # so far; who was registered before the newest may have been missed by it
        self._gateway = gateway
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = http
        self._receiver = receiver
        self._heard = heard
        self._written_ms: float | None = None  # the event whose line comes next
        self._owner: ShardStatus | None = None
        self._scope: asyncio.Timeout | None = None
        self._left: dict[Reader, None] = {}  # not told yet, the oldest first
        self._leaving = asyncio.Event()
        self._events = 0
        self._failing = False

    async def run(self) -> None:
        """Connect and follow, for ever."""
        wait_s = FIRST_WAIT_S
        while True:
            if self._owner is None:
                await self._until_interrupted(asyncio.sleep(LONGEST_WAIT_S))
                continue
            events = self._events
            if await self._until_interrupted(self._follow(self._owner)):
                continue
            wait_s = FIRST_WAIT_S if self._events > events else min(wait_s * 2, LONGEST_WAIT_S)
            await self._until_interrupted(asyncio.sleep(wait_s))

    def owned_by(self, owner: ShardStatus) -> None:
        """The shard has this owner; if that is news, the connection moves there."""
        if owner != self._owner:
            self._owner = owner
            self._interrupt()

    async def attach(self, cursors: Mapping[Reader, str], left: Sequence[Reader] = ()) -> bool:
        """Ask for what lies behind these cursors, tell who has left. If that fails, the next connection asks for
        everything. Was it heard?"""
        if not self.connected or self._owner is None:
            return False
        try:
            await self._post_attach(self._owner, cursors, left)
        except BROKEN as error:
            log.warning("shard %d: attaching failed (%r); connecting anew", self.shard, error)
            self._interrupt()
            return False
        return True

    def leave(self, reader: Reader) -> None:
        """Nobody takes this reader's frames any more."""
        self._left[reader] = None
        if len(self._left) > MOST_LEFT:
            del self._left[next(iter(self._left))]
        self._leaving.set()

    async def tell_leaving(self) -> None:
        """Tell the owner who has left, for ever."""
        while True:
            await self._leaving.wait()
            self._leaving.clear()
            left = tuple(self._left)
            if await self.attach({}, left):
                for reader in left:
                    self._left.pop(reader, None)
            else:
                await asyncio.sleep(LONGEST_WAIT_S)
                self._leaving.set()

    def statistics(self) -> dict[str, int]:
        return {"connected": self.connected, "connections": self.connections, "events": self._events}

    async def _follow(self, owner: ShardStatus) -> None:
        """One connection, until it breaks."""
        listed = dict(self._receiver.outstanding(self.shard))
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        try:
            async with self._http.post(
                f"{owner.url}/frames", data=self._body(listed), headers=self._headers, timeout=timeout
            ) as response:
                response.raise_for_status()
                self.connected, self._failing = True, False
                self.connections += 1
                log.info("shard %d: connected to %s", self.shard, owner.url)
                await self._catch_up(owner, listed)
                lines = Lines()
                async for chunk in response.content.iter_any():
                    self._events += 1
                    for line in lines.feed(chunk):
                        self._take(line)
            log.warning("shard %d: %s closed the connection", self.shard, owner.url)
        except BROKEN as error:
            level = logging.DEBUG if self._failing else logging.WARNING  # once is enough
            log.log(level, "shard %d: no frames from %s: %r", self.shard, owner.url, error)
            self._failing = True
        finally:
            self.connected = False

    def _take(self, line: bytes) -> None:
        if (at_ms := written_ms(line)) is not None:
            self._written_ms = at_ms
            return
        for frame in decode_frames(line):
            self._receiver.deliver(frame)
        if line and self._written_ms is not None:
            self._heard(self._written_ms)
            self._written_ms = None

    async def _catch_up(self, owner: ShardStatus, listed: Mapping[Reader, str]) -> None:
        """Ask for what was submitted while the connection came about."""
        outstanding = self._receiver.outstanding(self.shard)
        missed = {reader: cursor for reader, cursor in outstanding.items() if reader not in listed}
        if missed:
            await self._post_attach(owner, missed)

    async def _post_attach(
        self, owner: ShardStatus, cursors: Mapping[Reader, str], left: Sequence[Reader] = ()
    ) -> None:
        timeout = aiohttp.ClientTimeout(total=ATTACH_S)
        async with self._http.post(
            f"{owner.url}/attach", data=self._body(cursors, left), headers=self._headers, timeout=timeout
        ) as response:
            response.raise_for_status()

    def _body(self, cursors: Mapping[Reader, str], left: Sequence[Reader] = ()) -> bytes:
        return encode_attach(Attach(self._gateway, dict(cursors), tuple(left)))

    async def _until_interrupted(self, work: Coroutine[None, None, None]) -> bool:
        """Was `work` interrupted?"""
        try:
            async with asyncio.timeout(None) as self._scope:
                await work
        except TimeoutError:
            return True
        finally:
            self._scope = None
        return False

    def _interrupt(self) -> None:
        """End what `run` is at, so that it looks again."""
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())
