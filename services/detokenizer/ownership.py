"""What this process may do to its shard for as long as it is the owner (PROTOCOL 3).

Every transaction moves the shard's version on, so they go one at a time; whoever must decide from what it has just seen
holds `alone` over both, and nothing of ours comes between. Somebody else's write shows as Retired. After a restart of
the bus, which may have come back older, all raises Rewound until the shard is claimed again (PROTOCOL 10).
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import islice

from services.detokenizer.entries import Entries
from services.detokenizer.patience import Patience
from shared.bus import PAGE, Bus, Entry, Moved, Retired, Rewound, Settled, Snapshot, Version
from shared.messages import Checkpoint


class Ownership:
    """`instance` names this process; each claim has a nonce of its own."""

    def __init__(self, bus: Bus, patience: Patience, shard: int, instance: str, shards: int) -> None:
        self.alone = asyncio.Lock()
        self.entries = Entries()
        self.nobodys: dict[Entry, None] = {}  # entries that no owner may have; the first shard's sees to them
        self._bus = bus
        self._patience = patience
        self._shard, self._shards = shard, shards
        self._instance = instance
        self._claims = 0
        self._memory = ""
        self._version = Version("", 0)

    @property
    def claimed(self) -> bool:
        return bool(self._version.nonce)

    async def claim(self) -> float:
        """Become the owner; nothing that was seen before counts. Returns for how many seconds the bus has run; one that
        no owner has ever known has forgotten nothing, whenever it was started."""
        page = await self._patience.ask(self._bus.snapshot, self._shard)
        self._memory = page.memory
        self._claims += 1
        nonce = f"{self._instance}.{self._claims}"
        self._version = await self._patience.ask(self._bus.claim, self._shard, nonce)
        self.entries.clear()
        self.nobodys.clear()
        return page.uptime_s if page.version.nonce else math.inf

    async def snapshot(self) -> Snapshot:
        """All entries of the shard without their prompts, and who holds which. Raises Retired, Rewound."""
        while True:
            page = await self._patience.ask(self._bus.snapshot, self._shard, self.entries.read)
            if page.memory != self._memory:
                raise Rewound
            if page.version.nonce != self._version.nonce:
                raise Retired(f"shard {self._shard} belongs to {page.version.nonce!r} now")
            self.entries.learn(page)
            self._see(page)
            if page.complete:
                break
        ours = {entry: executor for entry, executor in page.pending.items() if entry in self.entries.all}
        return replace(page, entries=self.entries.all, pending=ours)

    async def settle(self, settled: Sequence[Settled]) -> None:
        """With `alone` held. Raises Retired, Rewound."""
        await self._write(self._bus.settle, settled)
        self.entries.drop(one.entry for one in settled if one.entry)

    async def move(self, moved: Sequence[Moved], dropped: Sequence[Entry] = ()) -> None:
        """With `alone` held since the snapshot that this was decided from. Raises Retired, Rewound."""
        await self._write(self._bus.move, moved, dropped)
        self.entries.drop([*(one.entry for one in moved), *dropped])

    async def discard(self) -> None:
        """What is nobody's, with `alone` held. Raises Retired, Rewound."""
        entries = list(islice(self.nobodys, PAGE))
        await self._write(self._bus.discard, entries)
        for entry in entries:
            self.nobodys.pop(entry, None)

    def _see(self, page: Snapshot) -> None:
        if self._shard == 0:
            of = page.elsewhere.items()
            self.nobodys |= {entry: None for entry, shard in of if shard is None or shard >= self._shards}

    async def checkpoint(self, saved: Sequence[Checkpoint]) -> None:
        """With `alone` held. Raises Retired, Rewound."""
        await self._write(self._bus.checkpoint, saved)

    async def _write(self, verb: Callable[..., Awaitable[Version]], *what: object) -> None:
        try:
            self._version = await self._patience.ask(verb, self._shard, self._version, *what)
        except Retired:
            if await self._patience.ask(self._bus.memory) != self._memory:
                raise Rewound from None
            raise
