"""What this process may do to its shard for as long as it is the owner (PROTOCOL 3).

Every transaction moves the shard's version on, so they go one at a time; whoever must decide from what it has just seen
holds `alone` over both, and nothing of ours comes between. Somebody else's write shows as Retired.
"""

import asyncio
from collections.abc import Sequence

from services.detokenizer.patience import Patience
from shared.bus import Bus, Moved, Retired, Settled, Snapshot, Version


class Ownership:
    def __init__(self, bus: Bus, patience: Patience, shard: int, nonce: str) -> None:
        self.alone = asyncio.Lock()
        self._bus = bus
        self._patience = patience
        self._shard = shard
        self._nonce = nonce
        self._version: Version | None = None

    @property
    def claimed(self) -> bool:
        return self._version is not None

    async def claim(self) -> None:
        self._version = await self._patience.ask(self._bus.claim, self._shard, self._nonce)

    async def snapshot(self) -> Snapshot:
        """Raises Retired if somebody else owns the shard by now."""
        snapshot = await self._patience.ask(self._bus.snapshot, self._shard)
        if snapshot.version.nonce != self._nonce:
            raise Retired(f"shard {self._shard} belongs to {snapshot.version.nonce!r} now")
        return snapshot

    async def settle(self, settled: Sequence[Settled]) -> None:
        """With `alone` held. Raises Retired."""
        assert self._version is not None
        self._version = await self._patience.ask(self._bus.settle, self._shard, self._version, settled)

    async def move(self, moved: Sequence[Moved]) -> None:
        """With `alone` held since the snapshot that this was decided from. Raises Retired."""
        assert self._version is not None
        self._version = await self._patience.ask(self._bus.move, self._shard, self._version, moved)
