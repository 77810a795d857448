"""What stands in the place of a rule when it is taken away: each the smallest change that no longer keeps it."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from services.detokenizer.owner import Owner
from services.detokenizer.sessions import News, Sessions
from services.detokenizer.trimming import Trimming
from services.detokenizer.undertaker import Undertaker
from services.engine.ledger import Ledger
from services.engine.outbox import Outbox
from services.engine.trials import Trials
from services.gateway.replies import Mailbox
from shared.bus import BusDown, Entry, Executor, Fenced, Moved, StreamId, Version
from shared.messages import Finished, Tokens
from tests.model.server import Server


async def nothing(*_: Any, **__: Any) -> None:
    return None


# ---- 1: ids are the fence
async def boot_again(self: Server, engine: str, above: int = 0) -> Executor:
    return Executor(engine, 1)


append = Outbox._append


async def append_once(self: Outbox, shard: int, entry: int, records: Any) -> None:
    with suppress(BusDown):
        await self._bus.append(self._executor, shard, entry, records)


async def append_deaf(self: Outbox, shard: int, entry: int, records: Any) -> None:
    with suppress(Fenced):
        await append(self, shard, entry, records)


# ---- 2: engines write token streams only
async def append_and_settle(self: Outbox, shard: int, entry: int, records: Any) -> None:
    await append(self, shard, entry, records)
    for record in records:
        if isinstance(record, Finished):
            await self._bus.drop_request(record.id)  # type: ignore[attr-defined]


# ---- 3: owners compare and set
def owned_by_all(self: Server, shard: int, version: Version) -> bool:
    self._check()
    self._versions[shard] = Version(version.nonce, version.counter + 1)
    return True


# ---- 4: submitting
async def submit(self: Server, parent: str, requests: Any) -> bool:
    self._submitted.clear()
    return await _server_submit(self, parent, requests)


_server_submit = Server.submit


# ---- 5: settling
async def settle(self: Server, shard: int, version: Version, settled: Any) -> Version:
    for one in settled if self._own(shard, version) else ():
        if one.entry:
            self._drop(one.entry)
    return self._versions[shard]


# ---- 6: the dead
async def no_fence(self: Server, executor: str, shard: int) -> StreamId | None:
    return None


async def unread(self: Owner, executor: str, at: StreamId) -> None:
    return None


_server_move = Server.move


async def move_bare(self: Server, shard: int, version: Version, moved: Any, dropped: Any = ()) -> Version:
    bare = [Moved(one.entry, replace(one.request, output=())) for one in moved]
    return await _server_move(self, shard, version, bare, dropped)


# ---- 7: leaving
async def leave_as_dead(self: Server, executor: Executor, shards: int) -> None:
    for shard in range(shards):
        self._end(str(executor), shard, drained=False)
    self._engines.pop(str(executor), None)
    await self._notify()


# ---- 8: acceptance
def bound_loosely(self: Sessions, id: str, attempt: int, offset: int, executor: str, news: News) -> Any:
    session = self._sessions.get(id)
    if session is None or session.end:
        return None
    if offset > len(session.ids):
        news.gaps.add(executor)
        return None
    return session


consume = Sessions._consume


def overlooking(self: Sessions, executor: str, at: StreamId, record: Any, news: News) -> None:
    """Nobody's rule, but a reader's mistake that rule 8 makes good: it overlooks some tokens at first."""
    seen = self.__dict__.setdefault("_overlooked", set())
    if isinstance(record, Tokens) and at.minor % 3 == 0 and (executor, at, record.id) not in seen:
        seen.add((executor, at, record.id))
        return
    consume(self, executor, at, record, news)


start = Sessions._start


def start_any(self: Sessions, executor: str, at: StreamId, entry: Entry, request: Any, news: News) -> None:
    """An older attempt takes the session back."""
    session = self._sessions.get(request.id)
    if session is not None and not session.end:
        session.attempt, session.executor = request.attempt, None
    start(self, executor, at, entry, request, news)


# ---- 9: reconcile
def take_again(self: Ledger, delivery: Any) -> Any:
    self._taken.discard(delivery.entry)
    return _ledger_take(self, delivery)


_ledger_take = Ledger.take


async def held_nothing(self: Server, executor: Executor) -> list[Any]:
    return []


def known_alive(self: Undertaker, snapshot: Any) -> list[str]:
    return sorted(snapshot.executors)


# ---- 10: the bus came back older
def forget_all(self: Owner) -> None:
    """Begins anew like any new owner, and asserts nothing."""
    self._sessions._sessions.clear()
    self._sessions._groups.clear()
    rewind(self)


rewind = Owner._rewind


# ---- 11: poison
async def with_others(self: Trials, requests: Any) -> None:
    for request in requests:
        await self._events.send(self._submit(request))


async def try_unsaid(self: Trials, request: Any) -> None:
    """Its `Started` is not on the bus when its first step begins."""
    await self._events.send(self._submit(request))
    await self._ledger.until(lambda: self._ledger.published(request.id, tokens=1))


# ---- 13: trimming
async def trim_above(self: Trimming, read: Any) -> None:
    """As if what was read were written down, and nothing is."""
    for session in self._sessions.unsettled():
        if session.executor in read and session.started and not session.end:
            session.started = read[session.executor]


async def forget_checkpoints(self: Server, requests: Any) -> list[Any]:
    return []


_server_trim = Server.trim


async def trim_all(self: Server, shard: int, below: Any) -> None:
    await _server_trim(self, shard, {name: StreamId(2**60, 0) for name in below})


async def trim_read(self: Trimming, read: Any) -> None:
    """Up to where this owner has read, whatever is unsettled."""
    await self._patience.ask(self._bus.trim, self._shard, {name: at for name, at in read.items() if at.major})


# ---- 15: attach
_deliver = Mailbox.deliver


def deliver_any(self: Mailbox, frame: Any) -> bool:
    return _deliver(self, frame._replace(after=None))
