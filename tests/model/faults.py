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
    cards: tuple[int, ...] = (1, 2)  # kinds of them, which may draw other tokens after the same prefix
    lasting: tuple[str, ...] = ()  # kinds of processes that are never killed
    clients: tuple[int, ...] = (2, 3, 4)
    tokens: tuple[int, ...] = (1, 4, 8, 12)  # the longest of an answer
    at: tuple[str, ...] = ()  # verbs at which faults strike, and at no others; "verb=kind" names the fault too
    slow: bool = True  # messages may take long, and what somebody asked who has gone may yet be done
    hand_over_s: float = 0.0  # within which what a drained engine held must have moved on; 0 does not ask
    trim_s: float = 0.0  # after which token streams have forgotten what was written, but for its last
    cancel_s: float = 0.0  # within which a cancelled request must have ended, once it is on an engine


SCENARIOS = {
    "all": Scenario(),
    "owners": Scenario(("crash", "double", "lease", "freeze", "net"), budget=8, chance=0.04, tokens=(8, 12, 24)),
    "nets": Scenario(("net", "net", "crash"), budget=8, chance=0.04),
    # What nobody remembers any more may be computed anew; where it may differ, owners must live.
    "rollback": Scenario((*ALL, *("rollback",) * 4), budget=4, cards=(1,)),
    "rollback_ties": Scenario(
        ("rollback", "rollback", "freeze", "net", "crash"), budget=4, cards=(2,), lasting=("detokenizer",)
    ),
    "poison": Scenario(("poison", "freeze", "net"), budget=2),
    # Each of these makes one race likely.
    "false_deaths": Scenario(
        (), budget=16, chance=0.5, tokens=(40,), cards=(2,), at=("snapshot=lease", "bury=crash", "move=crash")
    ),
    "late_moves": Scenario(("net", "net", "crash"), budget=8, chance=0.3, at=("move", "settle", "append")),
    "burials": Scenario(("crash",), budget=6, chance=0.3, tokens=(12, 24), cards=(2,), at=("bury", "move", "append")),
    "suspects": Scenario(("poison", "net"), budget=8, chance=0.4, at=("append",)),
    "deliveries": Scenario(("net",), budget=6, chance=0.3, at=("take",)),
    "readers": Scenario(("cut", "crash"), budget=8, chance=0.4, at=("settle",)),
    "takeovers": Scenario(
        (), budget=12, chance=0.2, tokens=(24,), cards=(2,), at=("append=crash", "read=crash", "birth=crash")
    ),
    "drains": Scenario(("drain",), budget=6, chance=0.03, tokens=(8, 24), slow=False, hand_over_s=1.5),
    "cancels": Scenario(
        ("cancel",),
        budget=4,
        chance=0.05,
        engines=1,
        clients=(4, 6),
        tokens=(24, 40),
        slow=False,
        cancel_s=1.5,
        trim_s=4.0,
    ),
}


class Faults:
    def __init__(self, world: "World", scenario: Scenario) -> None:
        self._world = world
        self._kinds = [kind for kind in scenario.faults if kind != "poison"]  # as often as they are named
        self._at = {
            verb: [kind] if kind else self._kinds for verb, _, kind in (one.partition("=") for one in scenario.at)
        }
        self._budget = world.dice.randint(1, scenario.budget) if self._kinds or self._at else 0
        self._chance = scenario.chance
        self._lasting = scenario.lasting

    @property
    def spent(self) -> bool:
        return self._budget <= 0 and all(client.ended for client in self._world.clients)

    def before(self, process: Process, verb: str) -> Fate:
        """A command is about to go out. Returns what becomes of it."""
        if not self._strikes(verb):
            return ""
        kind = self._world.dice.choice(self._at.get(verb, self._kinds))
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
            self._do(self._world.dice.choice(self._at.get(verb, self._kinds)), process)

    async def run(self) -> None:
        """Between commands."""
        while not self._world.calm:
            await asyncio.sleep(TICK_S)
            if self._budget > 0 and self._kinds and self._world.flip(0.02):
                self._do(self._world.dice.choice(self._kinds), self._world.redis)

    def _strikes(self, verb: str) -> bool:
        if self._budget <= 0 or self._world.calm:
            return False
        if self._at:
            return verb in self._at and self._world.flip(self._chance)
        return bool(self._kinds) and self._world.flip(self._chance if verb in DECIDING else self._chance / 8)

    def _do(self, kind: str, process: Process) -> None:
        """`process` is the nearest victim."""
        world, dice = self._world, self._world.dice
        if process is world.redis or (not self._at and dice.random() < 0.4):
            life = world.some(dice.choice(("engine", "engine", "detokenizer", "detokenizer", "gateway")))
            if life is None:
                return
            process = life.process
        self._budget -= 1
        match kind:
            case "crash":
                life = world.life_of(process)
                if life is None or life.kind not in self._lasting:
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
