"""One schedule: processes under supervisors, clients, faults, and the judgement of what came of it.

Chaos comes first: clients call, and things go wrong as long as the budget lasts. Then all is calm: whatever died is
started again, and everything must come to rest within REST_S of virtual time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from services.gateway.replies import Mailbox
from shared.bus import BusDown
from tests.model.client import Client, describe
from tests.model.programs import Gateway
from tests.model.server import Violation
from tests.model.stage import START_S, Life, Stage

CHAOS_S, REST_S, LOOK_S = 6.0, 60.0, 0.5
COPY_S = 0.1


class World(Stage):
    # ---- clients
    async def call(self, client: Client, at_s: float) -> None:
        """Until it has its answer, at one gateway after the other."""
        await asyncio.sleep(at_s)
        while not client.ended:
            life = self.some("gateway")
            if life is None or life.gateway is None:
                await asyncio.sleep(0.1)
                continue
            open_ = [True]
            task = self.loop.start(life.process, self._relay(life.gateway, client, open_))
            gone = self.loop.start(self.loop.outside, life.gone.wait())
            limit_s = None if self.calm else self.dice.choice((1.0, 5.0, None))
            await asyncio.wait([task, gone], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            open_[0] = False
            if not task.done():
                task.cancel()
            elif not task.cancelled() and not isinstance(error := task.exception(), BusDown | None):
                self.wrong(error)
            await asyncio.sleep(self.dice.choice((0.01, 0.3)))

    async def _relay(self, gateway: Gateway, client: Client, open_: list[bool]) -> None:
        """What a gateway's handlers do for one connection of this client."""
        replies = gateway.replies
        if not client.tried:
            client.tried = True
            with replies.open(client.parent) as mailbox:
                await self._submit(gateway, client, mailbox, mailbox.announce, open_)
            return
        with replies.follow(client.parent, client.cursor) as mailbox:
            if not client.submitted:
                await self._submit(gateway, client, mailbox, mailbox.attach, open_)
            else:
                await mailbox.attach()
                await self._hand_over(mailbox, client, open_)

    async def _submit(
        self, gateway: Gateway, client: Client, mailbox: Mailbox, tell: Callable[[], Awaitable[None]], open_: list[bool]
    ) -> None:
        """Until a gateway has said that it is done, each one does it again (PROTOCOL 4). The one that has done it does
        it again whenever the bus was started anew (PROTOCOL 10); those who only read know no prompt."""

        async def submit() -> None:
            await gateway.bus.submit(client.parent, client.as_of(gateway.name))
            client.submitted, client.may_fail = True, client.poison

        await submit()
        await tell()
        with gateway.submissions.hold(client.parent, submit):
            await self._hand_over(mailbox, client, open_)

    async def _hand_over(self, mailbox: Mailbox, client: Client, open_: list[bool]) -> None:
        while (frame := await mailbox.receive()) is not None and open_[0]:
            client.receive(frame)
            self.note(client.parent, "has", client.texts, client.finishes, client.ended)
            if frame.last:
                return

    def cancel(self, client: Client) -> None:
        """Through any gateway, as often as it takes."""
        client.asked = True
        self.note("***", client.parent, "cancels")
        self.spawn(self._cancel(client))

    async def _cancel(self, client: Client) -> None:
        while not client.ended:
            life = self.some("gateway")
            if life is not None and life.gateway is not None and client.submitted:
                task = self.loop.start(life.process, _quietly(life.gateway.bus.cancel(client.parent, "client")))
                await asyncio.wait([task], timeout=1.0)
                if task.done() and not task.cancelled() and task.result():
                    client.heard_s = self.loop.time()
                    return
            await asyncio.sleep(0.2)

    # ---- the schedule
    def run(self) -> str:
        """What is wrong with this schedule; "" if nothing is."""
        asyncio.set_event_loop(self.loop)
        loggers = [logging.getLogger(name) for name in ("sluice", "services")] if self.log is not None else []
        handler = _Notes(self)
        for logger in loggers:
            logger.addHandler(handler)
        for client in self.clients:
            self.note(describe(client))
        try:
            self.loop.run_until_complete(self._play())
            self.loop.run_until_complete(self._close())
        finally:
            for logger in loggers:
                logger.removeHandler(handler)
            asyncio.set_event_loop(None)
            self.loop.close()
        return f"{type(self._violation).__name__}: {_words(self._violation)}" if self._violation else ""

    async def _play(self) -> None:
        dice = self.dice
        for number in range(self.scenario.engines):
            self.spawn(self.keep("engine", number, dice.choice((0.0, 0.0, 1.0))))
        for shard in range(self.shards):
            self.spawn(self.keep("detokenizer", shard, dice.choice((0.0, 0.0, 1.0))))
        for number in range(dice.choice((1, 2))):
            self.spawn(self.keep("gateway", number, 0.0))
        for client in self.clients:
            self.spawn(self.call(client, dice.uniform(0.0, CHAOS_S / 2)))
        self.spawn(self.faults.run())
        if "rollback" in self.scenario.faults:
            self.spawn(self._keep_copies())
        end_s = self.loop.time() + CHAOS_S + REST_S
        unrest = "nothing was looked at"
        while not self._broken.is_set():
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._broken.wait()
            except TimeoutError:
                pass
            if not self.calm and (self.faults.spent or self.loop.time() > end_s - REST_S):
                self.note("*** all is calm from here")
                self.calm = True
            self._judge_delays()
            unrest = self.unrest() if self.calm else "chaos"
            if not unrest:
                return
            if self.loop.time() > end_s:
                self.wrong(Violation(f"no rest: {unrest}"))

    def _judge_delays(self) -> None:
        """Where nothing else goes wrong, some things are done at once."""
        now_s, scenario, server = self.loop.time(), self.scenario, self.server
        for entry, owner in server.pending().items() if scenario.hand_over_s else ():
            since_s = max(self.left_s.get(owner, now_s), server.given_ms[entry] / 1000, START_S + 2.0)
            if now_s - since_s > scenario.hand_over_s:
                self.wrong(Violation(f"{owner} has left, and {server.request_at(entry)} still waits for it"))
        if scenario.trim_s and (long := server.long(int((now_s - scenario.trim_s) * 1000))):
            self.wrong(Violation(f"the streams of {long} grow"))
        for client in self.clients if scenario.cancel_s else ():
            for request in client.requests:
                since_s = max(client.heard_s or now_s, server.started_ms.get(request.id, 10**12) / 1000, START_S + 2.0)
                if request.id not in server.ends and now_s - since_s > scenario.cancel_s:
                    self.wrong(Violation(f"{request.id} was cancelled, and runs on"))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that no process does."""
        self.loop.start(self.loop.outside, self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self.wrong(error)

    async def _keep_copies(self) -> None:
        while not self.calm:
            if self.server.owned(self.shards):  # a bus that never had an owner has nobody who could miss anything
                self.copies.append(self.server.copy())
            await asyncio.sleep(COPY_S)

    async def _close(self) -> None:
        """Nobody is judged any more: all tasks are cancelled, and no command is answered."""
        self.log = None
        self.over = self.server.down = True
        self.loop.bury()
        keep, me = self._violation, asyncio.current_task()
        while tasks := [task for task in asyncio.all_tasks(self.loop) if task is not me]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=5.0)
        self._violation = keep

    # ---- rest
    def unrest(self) -> str:
        """What has not come to its end; "" if all has."""
        if waiting := [client.parent for client in self.clients if not client.ended]:
            return f"waiting for ever: {waiting}"
        frozen = [life.process.name for life in self.lives if life.process.frozen_until > self.loop.time()]
        if frozen or not self.lives:
            return f"still frozen: {frozen}"
        alive = set(self.server.leases())
        return self.server.unrest(alive) or next(filter(None, map(self._inside, self.lives)), "")

    def _inside(self, life: Life) -> str:
        """What a process still holds."""
        parts, name = life.process.parts, life.process.name
        if "Owner" in parts:
            unsettled = [one.request.id for one in parts["Sessions"].unsettled()]
            return f"{name} has not settled {unsettled}" if unsettled else ""
        if "Scheduler" in parts:
            held = parts["Ledger"].statistics()["held"]
            if held or not parts["Scheduler"].idle:
                return f"{name} still holds {held} requests"
            parts["Scheduler"].check()
        return ""


class _Notes(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.note("   ", record.name, record.getMessage())


async def _quietly(work: Any) -> bool:
    try:
        await work
        return True
    except BusDown:
        return False


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(f"{type(one).__name__}: {_words(one)}" for one in error.exceptions)
    return str(error)
