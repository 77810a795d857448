"""What goes wrong in a schedule: kinds of faults, when they strike, and whom.

Each command on the bus may be the moment, before it goes out or before its reply is heard; those that decide something
are chosen more often. Between commands something may happen too.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.model.loop import Process
from tests.model.wire import Fate

if TYPE_CHECKING:
    from tests.model.world import World

ALL = ("crash", "freeze", "net", "lease", "drain", "cancel", "double", "restart", "pause", "cut")
DECIDING = frozenset(
    (
        "submit",
        "birth",
        "append",
        "leave",
        "held",
        "claim",
        "settle",
        "move",
        "fence",
        "bury",
        "trim",
        "outcome",
        "cancel",
    )
)
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Scenario:
    """What may go wrong, and how often at most."""

    faults: tuple[str, ...] = ALL
    budget: int = 5
    chance: float = 0.015  # of a fault at a command that decides something
    engines: int = 2
    clients: tuple[int, ...] = (2, 3, 4)
    tokens: tuple[int, ...] = (1, 4, 8, 12)  # the longest of an answer
    slow: bool = True  # messages may take long, and what somebody asked who has gone may yet be done
    hand_over_s: float = 0.0  # within which what a drained engine held must have moved on; 0 does not ask
    cancel_s: float = 0.0  # within which a cancelled request must have ended, once it is on an engine


SCENARIOS = {
    "all": Scenario(),
    "owners": Scenario(("crash", "double", "lease", "freeze", "net"), budget=8, chance=0.04, tokens=(8, 12, 24)),
    "nets": Scenario(("net", "net", "crash"), budget=8, chance=0.04),
    "rollback": Scenario((*ALL, *("rollback",) * 4), budget=4),
    "poison": Scenario(("poison", "freeze", "net"), budget=2),
    "drains": Scenario(("drain",), budget=6, chance=0.03, tokens=(8, 24), slow=False, hand_over_s=1.5),
    "cancels": Scenario(
        ("cancel",), budget=4, chance=0.05, engines=1, clients=(4, 6), tokens=(24, 40), slow=False, cancel_s=1.5
    ),
}


class Faults:
    def __init__(self, world: "World", scenario: Scenario) -> None:
        self._world = world
        self._kinds = [kind for kind in scenario.faults if kind != "poison"]  # as often as they are named
        self._budget = world.dice.randint(1, scenario.budget) if self._kinds else 0
        self._chance = scenario.chance

    @property
    def spent(self) -> bool:
        return self._budget <= 0 and all(client.ended for client in self._world.clients)

    def before(self, process: Process, verb: str) -> Fate:
        """A command is about to go out. Returns what becomes of it."""
        if not self._strikes(verb):
            return ""
        kind = self._world.dice.choice(self._kinds)
        if kind != "net":
            self._do(kind, process)
            return ""
        self._budget -= 1
        fates: tuple[Fate, ...] = ("dropped", "unheard", "late")
        fate = self._world.dice.choice(fates)
        self._world.note("***", process.name, verb, "is", fate)
        return fate

    def after(self, process: Process, verb: str) -> None:
        """A reply has come and is about to be heard."""
        if self._strikes(verb):
            self._do(self._world.dice.choice(self._kinds), process)

    async def run(self) -> None:
        """Between commands."""
        while not self._world.calm:
            await asyncio.sleep(TICK_S)
            if self._budget > 0 and self._kinds and self._world.flip(0.02):
                self._do(self._world.dice.choice(self._kinds), self._world.redis)

    def _strikes(self, verb: str) -> bool:
        if self._budget <= 0 or self._world.calm or not self._kinds:
            return False
        return self._world.flip(self._chance if verb in DECIDING else self._chance / 8)

    def _do(self, kind: str, process: Process) -> None:
        """`process` is the nearest victim."""
        world, dice = self._world, self._world.dice
        if process is world.redis or dice.random() < 0.4:
            life = world.some(dice.choice(("engine", "engine", "detokenizer", "detokenizer", "gateway")))
            if life is None:
                return
            process = life.process
        self._budget -= 1
        match kind:
            case "crash":
                world.kill(process)
            case "freeze":
                world.freeze(process, dice.choice((0.3, 2.0, 4.0, 9.0)))
            case "lease":
                if leases := world.server.leases():
                    name = dice.choice(leases)
                    world.note("*** the lease of", name, "expires")
                    world.server.expire(name)
            case "drain":
                if life := world.some("engine"):
                    world.note("*** SIGTERM to", life.process.name)
                    life.stop.set()
            case "cancel":
                if clients := [client for client in world.clients if not client.ended]:
                    world.cancel(dice.choice(clients))
            case "double":
                shard = dice.randrange(world.shards)
                world.note("*** a second owner for shard", shard)
                world.spawn(world.double(shard))
            case "restart":
                world.restart_redis()
            case "pause":
                world.freeze(world.redis, dice.choice((0.5, 3.0, 5.0)))
            case "cut":
                if world.connections:
                    world.note("*** a gateway's connection is cut")
                    dice.choice(world.connections)[0].break_off()
            case "rollback":
                if world.copies:
                    world.restart_redis(dice.choice(list(world.copies)))
