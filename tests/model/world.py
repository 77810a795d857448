"""One schedule: processes under supervisors, clients, faults, and the judgement of what came of it.

Chaos comes first: clients call, and things go wrong as long as the budget lasts. Then all is calm: whatever died is
started again, and everything must come to rest within REST_S of virtual time.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from services.gateway.replies import Mailbox
from shared.bus import BusDown, Fenced
from tests.model.client import Client, describe, make_client
from tests.model.faults import Faults, Scenario
from tests.model.loop import Process, VirtualLoop
from tests.model.programs import Gateway, run_detokenizer, run_engine
from tests.model.server import Server, Violation
from tests.model.web import App, Connection
from tests.model.wire import Fate, Wire
from tests.model.worker import SimWorker

START_S = 1_000_000.0
CHAOS_S, REST_S, LOOK_S = 6.0, 60.0, 0.5
COPY_S, COPIES = 0.1, 15  # of the server's data, for rollbacks
Work = Callable[[Process, asyncio.Event], Coroutine[Any, Any, None]]


@dataclass(eq=False)
class Life:
    """One process that runs, and how to stop it."""

    process: Process
    kind: str
    number: int
    stop: asyncio.Event
    task: asyncio.Task[None]
    gone: asyncio.Event
    gateway: Gateway | None = None


class World:
    def __init__(self, seed: int, scenario: Scenario, log: bool = False) -> None:
        self.dice = random.Random(seed)
        self.loop = VirtualLoop(random.Random(seed + 1), START_S)
        self.scenario = scenario
        self.log: list[str] | None = [] if log else None
        self.shards = self.dice.choice((1, 2))
        self.cards = self.dice.choice((1, 2))
        self.redis = self.process("redis")
        mortal = not {"drain", "cancel"}.issuperset(scenario.faults)
        self.server = Server(lambda: int(self.loop.time() * 1000), mortal)
        self.sites: dict[str, App] = {}
        self.connections: list[tuple[Connection, str]] = []
        self.lives: list[Life] = []
        self.copies: deque[dict[str, Any]] = deque(maxlen=COPIES)
        self.wires: list[tuple[Process, Wire]] = []
        self.calm = False
        self.faults = Faults(self, scenario)
        poison = "poison" in scenario.faults
        self.clients = [
            make_client(self.dice, 10 + i, self.shards, self.cards, scenario.tokens, poison and i == 0)
            for i in range(self.dice.choice(scenario.clients))
        ]
        self.left_s: dict[str, float] = {}  # executors that were drained, and when they exited
        self._slow = scenario.slow and self.dice.random() < 0.5
        self._violation: BaseException | None = None
        self._broken = asyncio.Event()
        self._tokens = 0

    # ---- what programs, wires and HTTP ask
    def process(self, name: str) -> Process:
        process = Process(name, self)
        self.loop.add(process)
        return process

    def wire(self, process: Process) -> Any:
        wire = Wire(self, process)
        self.wires.append((process, wire))
        return wire.bus

    def site(self, app: App) -> int:
        port = 1000 + len(self.sites)
        self.sites[f"http://127.0.0.1:{port}"] = app
        return port

    def worker(self, process: Process) -> SimWorker:
        step_s = self.dice.choice((0.02, 0.1, 0.25))
        card = self.dice.randrange(self.cards)
        return SimWorker(card, lambda: step_s * self.dice.uniform(0.5, 1.5), lambda: self.kill(process))

    def nonce(self) -> str:
        self._tokens += 1
        return f"nonce{self._tokens}"

    def delay(self) -> float:
        """Of one message."""
        roll = self.dice.random()
        return 0.001 if roll < 0.7 else self.dice.uniform(0.001, 0.05) if roll < 0.95 or not self._slow else 0.4 * roll

    def flip(self, chance: float) -> bool:
        return self.dice.random() < chance

    def lingers(self) -> bool:
        """Does the server yet do what was asked by somebody who does not wait any more?"""
        return self.scenario.slow and self.flip(0.5)

    def before(self, process: Process, verb: str) -> Fate:
        return self.faults.before(process, verb)

    def after(self, process: Process, verb: str) -> None:
        self.faults.after(process, verb)

    def note(self, *what: object) -> None:
        if self.log is not None:
            self.log.append(f"{self.loop.time() - START_S:8.3f}  " + " ".join(str(one) for one in what))

    def wrong(self, error: BaseException) -> None:
        if self._violation is None:
            self.note("!!!", error)
            self._violation = error
            self._broken.set()

    # ---- processes
    def life_of(self, process: Process) -> Life | None:
        return next((life for life in self.lives if life.process is process), None)

    def some(self, kind: str) -> Life | None:
        able = [life for life in self.lives if life.kind == kind and life.process.alive]
        return self.dice.choice(able) if able else None

    def kill(self, process: Process) -> None:
        """kill -9: it runs no more; its connections break, as the kernel closes them."""
        if not process.alive or process is self.redis:
            return
        self.note("***", process.name, "is killed")
        process.alive = False
        if life := self.life_of(process):
            life.gone.set()
        self._disconnect(process)

    def _disconnect(self, process: Process) -> None:
        for owner, wire in self.wires:
            if owner is process and not self.lingers():  # else the server does not notice at once
                wire.cut()
        for connection, base in list(self.connections):
            app = self.sites.get(base)
            if connection.client is process or (app and app.process is process):
                connection.break_off()

    def freeze(self, process: Process, for_s: float) -> None:
        self.note("***", process.name, f"is frozen for {for_s:.2f} s")
        process.frozen_until = max(process.frozen_until, self.loop.time() + for_s)

    def restart_redis(self, copy: dict[str, Any] | None = None) -> None:
        """All connections break; with a copy, what came after it is lost."""
        self.note("*** redis restarts", "with an older copy" if copy is not None else "")
        for _, wire in self.wires:
            wire.cut()
        if copy is None:
            self.server.restart()
        else:
            self.server.roll_back(copy)
            for client in self.clients:  # what was told in the lost seconds may be known to nobody any more
                client.may_fail = True
            self.copies.clear()

    def start(self, kind: str, number: int, name: str) -> Life:
        self.note("***", name, "starts")
        process = self.process(name)
        process.weight = self.dice.choice((0.3, 1.0, 1.0, 3.0))
        stop, gone = asyncio.Event(), asyncio.Event()
        gateway = process.context.run(Gateway, process) if kind == "gateway" else None
        work = self._work(kind, number, process, stop, gateway)
        life = Life(
            process, kind, number, stop, self.loop.start(process, self._watched(work, gone, process)), gone, gateway
        )
        self.lives.append(life)
        return life

    def _work(
        self, kind: str, number: int, process: Process, stop: asyncio.Event, gateway: Gateway | None
    ) -> Coroutine[Any, Any, None]:
        if gateway is not None:
            return gateway.run()
        if kind == "engine":
            return run_engine(process, f"gpu{number}", stop)
        return run_detokenizer(process, number, stop)

    async def _watched(self, work: Coroutine[Any, Any, None], gone: asyncio.Event, process: Process) -> None:
        """A process ends by itself when it was asked to, is fenced, or is retired; all else is a crash."""
        name = process.name
        try:
            await work
            self.note("***", name, "exits")
            if status := process.parts.get("Status"):
                self.left_s[status._status.name] = self.loop.time()
        except SystemExit:
            self.note("***", name, "is retired and exits")
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if _only(error, Fenced):
                self.note("***", name, "is fenced and exits")
            else:
                self.wrong(error)
        finally:
            gone.set()

    async def keep(self, kind: str, number: int, first_s: float) -> None:
        """As a supervisor: started again whenever it has ended."""
        count = 0
        await asyncio.sleep(first_s)
        while True:
            count += 1
            life = self.start(kind, number, f"{kind}{number}.{count}")
            await life.gone.wait()
            self._leave(life)
            await asyncio.sleep(self.dice.choice((0.05, 1.0, 4.0)) if not self.calm else 0.05)

    async def double(self, shard: int) -> None:
        """A second owner for a shard, which nobody starts again."""
        life = self.start("detokenizer", shard, f"double{shard}")
        await life.gone.wait()
        self._leave(life)

    def _leave(self, life: Life) -> None:
        life.process.alive = False
        self.lives.remove(life)
        self._disconnect(life.process)

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
            gone = asyncio.ensure_future(life.gone.wait(), loop=self.loop)
            limit_s = None if self.calm else self.dice.choice((1.0, 5.0, None))
            await asyncio.wait([task, gone], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            open_[0] = False
            if not task.done():
                task.cancel()
            elif not task.cancelled() and (error := task.exception()) is not None:
                if not isinstance(error, BusDown):
                    self.wrong(error)
            await asyncio.sleep(self.dice.choice((0.01, 0.3)))

    async def _relay(self, gateway: Gateway, client: Client, open_: list[bool]) -> None:
        """What a gateway's handlers do for one connection of this client."""
        replies = gateway.replies
        if client.tried:
            with replies.follow(client.parent, client.cursor) as mailbox:
                await self._submit(gateway, client)
                await mailbox.attach()
                await self._hand_over(mailbox, client, open_)
        else:
            with replies.open(client.parent) as mailbox:
                await self._submit(gateway, client)
                await mailbox.announce()
                await self._hand_over(mailbox, client, open_)

    async def _submit(self, gateway: Gateway, client: Client) -> None:
        """Until a gateway has said that it is done, each one does it again (PROTOCOL 4)."""
        if not client.submitted:
            client.tried = True
            await gateway.bus.submit(client.parent, client.as_of(gateway.name))
            client.submitted = True

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
            self.copies.append(self.server.copy())
            await asyncio.sleep(COPY_S)

    async def _close(self) -> None:
        """Nobody is judged any more: all tasks are cancelled, and no command is answered."""
        self.log = None
        self.server.down = True
        self._violation = self._violation or None
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


def _only(error: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_only(one, kind) for one in error.exceptions)
    return isinstance(error, kind)


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(f"{type(one).__name__}: {_words(one)}" for one in error.exceptions)
    return str(error)
