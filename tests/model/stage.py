"""The processes of one schedule: started, watched, killed and frozen; what they ask of the world around them.

`World` adds clients, the play and its judgement.
"""

import asyncio
import random
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from services.engine.trials import DEATHS
from shared.bus import Fenced
from tests.model.client import make_client
from tests.model.faults import Faults, Scenario
from tests.model.loop import Process, VirtualLoop
from tests.model.programs import Gateway, run_detokenizer, run_engine
from tests.model.server import Server, Violation
from tests.model.web import App, Connection
from tests.model.wire import Fate, Wire
from tests.model.worker import POISON, SimWorker

if TYPE_CHECKING:
    from tests.model.world import World

START_S = 1_000_000.0
COPIES = 15  # of the server's data, for rollbacks


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


class Stage:
    def __init__(self, seed: int, scenario: Scenario, log: bool = False) -> None:
        self.dice = random.Random(seed)
        self.loop = VirtualLoop(random.Random(seed + 1), START_S)
        self.scenario = scenario
        self.log: list[str] | None = [] if log else None
        self.shards = self.dice.choice((1, 2))
        self.cards = self.dice.choice(scenario.cards)
        self.redis = self.process("redis")
        mortal = bool(scenario.at) or not {"drain", "cancel"}.issuperset(scenario.faults)
        self.server = Server(lambda: int(self.loop.time() * 1000), mortal)
        self.sites: dict[str, App] = {}
        self.connections: list[tuple[Connection, str]] = []
        self.lives: list[Life] = []
        self.copies: deque[dict[str, Any]] = deque(maxlen=COPIES)
        self.wires: list[tuple[Process, Wire]] = []
        self.calm = False
        self.over = False  # nothing is judged any more, and nobody dies
        self.faults = Faults(cast("World", self), scenario)
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
        self._tried = 0  # deaths while a suspect ran

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
        return SimWorker(card, lambda: step_s * self.dice.uniform(0.5, 1.5), lambda: self._die(process))

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
        if not process.alive or process is self.redis or self.over:
            return
        self.note("***", process.name, "is killed")
        process.alive = False
        if life := self.life_of(process):
            life.gone.set()
        self._disconnect(process)

    def _die(self, process: Process) -> None:
        """Of poison: a suspect may do that twice, as each time is counted before it begins (PROTOCOL 11)."""
        held = process.parts["Ledger"]._held.values()
        poison = [one for one in held if one.request.prompt[0] == POISON]
        if process.alive and any(one.request.deaths >= DEATHS for one in poison):
            self._tried += 1
            if self._tried > 2 and not self.over:
                self.wrong(Violation("a suspect has killed a third engine"))
        self.kill(process)

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
            for client in self.clients:  # what nobody submits again, nobody can answer
                client.may_fail |= client.tried and client.parent not in copy["_submitted"]
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


def _only(error: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_only(one, kind) for one in error.exceptions)
    return isinstance(error, kind)
