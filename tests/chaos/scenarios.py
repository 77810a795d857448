"""What is done to the cast while clients read.

`worst_s` bounds the pause a client may see: what the fault itself takes, then at most a lease, then RECOVERY_S. `needs`
names what must have been counted, or the fault did not bite.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from tests.chaos.cast import Actor, Cast
from tests.chaos.clients import Complaint
from tests.chaos.store import Store

LEASE_S, RECOVERY_S = 3.0, 5.0
ENGINE_EXIT_S = 2.0
EXIT_S = 6.0  # of any other process: its grace time, and its farewells
FENCED_S = 15.0  # in which a zombie must have noticed
PAUSE_S, REDIS_PAUSE_S, HOLD_S = 10.0, 5.0, 4.0

MOVED, RESUMED, RECONNECTED, OUTAGES, STALLED = "hand-overs", "resumes", "reconnections", "outages", "stalled"

Strike = Callable[[Cast, Random], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    strike: Strike
    needs: tuple[str, ...]
    worst_s: float = LEASE_S + RECOVERY_S
    deadly: bool = True  # may a process end? Of a cut connection none does


async def kill(actor: Actor) -> None:
    actor.signal(signal.SIGKILL)
    await actor.ended()


async def leave(actor: Actor, within_s: float) -> None:
    """SIGTERM. Raises Complaint if it takes too long."""
    actor.signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(3 * within_s):
            took_s = await actor.ended()
    except TimeoutError:
        await kill(actor)
        raise Complaint(f"{actor.name} ignores SIGTERM") from None
    if took_s > within_s:
        raise Complaint(f"{actor.name} took {took_s:.1f} s to leave, not {within_s:g}")


# ---- one fault
async def engine_killed(cast: Cast, dice: Random) -> None:
    await kill(await cast.busiest())


async def only_engine_killed(cast: Cast, dice: Random) -> None:
    """The others have left before, so nobody is there until it is started again."""
    last, *others = sorted(cast.engines, key=lambda _: dice.random())
    for engine in others:
        engine.kept = False
        await leave(engine, ENGINE_EXIT_S)
    try:
        await asyncio.sleep(LEASE_S / 2)  # what they held has moved on to the last
        await kill(last)
        await cast.ready()
    finally:
        for engine in others:
            engine.kept = True


async def engine_paused(cast: Cast, dice: Random) -> None:
    """Longer than its lease: what it had runs elsewhere by then, and it must not write a word when it wakes."""
    zombie = await cast.busiest()
    async with Store(cast) as store:
        executor = await store.executor(zombie.name)
        zombie.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(PAUSE_S)
            tops = await store.tops(executor)
        finally:
            zombie.signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(FENCED_S):
                while await store.executor(zombie.name) in (executor, ""):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Complaint(f"the zombie {executor} was not born again in {FENCED_S:g} s") from None
        if (after := await store.tops(executor)) not in (tops, {}):
            raise Complaint(f"the zombie {executor} has written: {tops} became {after}")


async def detokenizers_killed(cast: Cast, dice: Random) -> None:
    await asyncio.gather(*map(kill, cast.detokenizers))


async def gateway_killed(cast: Cast, dice: Random) -> None:
    await kill(dice.choice(cast.gateways))


async def redis_killed(cast: Cast, dice: Random) -> None:
    """Started again with its AOF."""
    await kill(cast.redis)


async def redis_paused(cast: Cast, dice: Random) -> None:
    cast.redis.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(REDIS_PAUSE_S)
    finally:
        cast.redis.signal(signal.SIGCONT)


async def cut(cast: Cast, ends: str) -> None:
    """All connections between these two kinds are reset, twice."""
    count = 0
    for _ in range(2):
        count += sum(proxy.cut() for name, proxy in cast.proxies.items() if between(name, ends))
        await asyncio.sleep(0.5)
    if not count:
        raise Complaint(f"there was no connection between {ends}")


async def held(cast: Cast, ends: str) -> None:
    """Connections between these two kinds stay up and pass nothing on."""
    proxies = [proxy for name, proxy in cast.proxies.items() if between(name, ends)]
    try:
        if not sum(proxy.hold() for proxy in proxies):
            raise Complaint(f"there was no connection between {ends}")
        await asyncio.sleep(HOLD_S)
    finally:
        for proxy in proxies:
            proxy.welcome()


async def refused(cast: Cast, ends: str) -> None:
    """Connections between these two kinds are reset, and none can be made for a while."""
    proxies = [proxy for name, proxy in cast.proxies.items() if between(name, ends)]
    try:
        if not sum(proxy.refuse() for proxy in proxies):
            raise Complaint(f"there was no connection between {ends}")
        await asyncio.sleep(HOLD_S)
    finally:
        for proxy in proxies:
            proxy.welcome()


def between(name: str, ends: str) -> bool:
    """ "engine-0 redis" is between "engine redis", and everything between "all"."""
    return ends == "all" or "".join(c for c in name if c not in "-0123456789").replace("gateways", "gateway") == ends


async def all_cut(cast: Cast, dice: Random) -> None:
    await cut(cast, "all")


async def engine_leaves(cast: Cast, dice: Random) -> None:
    await leave(await cast.busiest(), ENGINE_EXIT_S)


async def gateway_leaves(cast: Cast, dice: Random) -> None:
    await leave(dice.choice(cast.gateways), EXIT_S)


async def rolling_restart(cast: Cast, dice: Random) -> None:
    """Every process in turn, Redis last, each only when all are there again."""
    for actor in [*cast.services, cast.redis]:
        await leave(actor, ENGINE_EXIT_S if actor in cast.engines else EXIT_S)
        await cast.ready()


def together(*strikes: Strike) -> Strike:
    async def all_of_them(cast: Cast, dice: Random) -> None:
        await asyncio.gather(*(strike(cast, dice) for strike in strikes))

    return all_of_them


def on(strike: Callable[[Cast, str], Awaitable[None]], ends: str) -> Strike:
    async def there(cast: Cast, dice: Random) -> None:
        await strike(cast, ends)

    return there


LINKS = ("gateway redis", "engine redis", "detokenizer redis", "gateway detokenizer")
SEEN = {"detokenizer redis": (OUTAGES,), "gateway detokenizer": (RECONNECTED,)}  # the others do not count it
WAITS = {ends: (STALLED,) for ends in LINKS} | {"gateway redis": ()}  # what runs does not need that one
ONE = (
    Scenario("one of two engines is killed", engine_killed, (MOVED,)),
    Scenario("the only engine is killed", only_engine_killed, (MOVED,), LEASE_S + RECOVERY_S + RECOVERY_S),
    Scenario("an engine is paused for 10 s", engine_paused, (MOVED,)),
    Scenario("the detokenizers are killed", detokenizers_killed, (RECONNECTED,)),
    Scenario("a gateway is killed", gateway_killed, (RESUMED,)),
    Scenario("Redis is killed", redis_killed, (OUTAGES,)),
    Scenario("Redis is paused for 5 s", redis_paused, (STALLED,), REDIS_PAUSE_S + LEASE_S + RECOVERY_S),
    Scenario("an engine leaves", engine_leaves, (MOVED,)),
    Scenario("a gateway leaves", gateway_leaves, (RESUMED,)),
    Scenario("every process is renewed in turn", rolling_restart, (MOVED, RESUMED), 2 * (LEASE_S + RECOVERY_S)),
    Scenario("all connections are cut", all_cut, (RECONNECTED,), deadly=False),
    *(Scenario(f"{ends} cut", on(cut, ends), SEEN.get(ends, ()), deadly=False) for ends in LINKS),
    *(Scenario(f"{ends} held", on(held, ends), WAITS[ends], HOLD_S + LEASE_S + RECOVERY_S) for ends in LINKS),
    *(Scenario(f"{ends} refused", on(refused, ends), WAITS[ends], HOLD_S + LEASE_S + RECOVERY_S) for ends in LINKS),
)
TWO_S = REDIS_PAUSE_S + 2 * (LEASE_S + RECOVERY_S)
TWO = (
    Scenario("engine and detokenizers killed", together(engine_killed, detokenizers_killed), (RECONNECTED,), TWO_S),
    Scenario("engine and gateway killed", together(engine_killed, gateway_killed), (MOVED, RESUMED), TWO_S),
    Scenario("engine and Redis killed", together(engine_killed, redis_killed), (MOVED, OUTAGES), TWO_S),
    Scenario("detokenizers and gateway killed", together(detokenizers_killed, gateway_killed), (RESUMED,), TWO_S),
    Scenario("detokenizers and Redis killed", together(detokenizers_killed, redis_killed), (RECONNECTED,), TWO_S),
    Scenario("engine killed, Redis paused", together(engine_killed, redis_paused), (MOVED, STALLED), TWO_S),
    Scenario("engine paused, connections cut", together(engine_paused, all_cut), (MOVED,), TWO_S),
    Scenario("engine paused, Redis paused", together(engine_paused, redis_paused), (MOVED,), TWO_S),
    Scenario("gateway killed, Redis killed", together(gateway_killed, redis_killed), (RESUMED, OUTAGES), TWO_S),
    Scenario("engine leaves, detokenizers killed", together(engine_leaves, detokenizers_killed), (STALLED,), TWO_S),
)
EVERY = ONE + TWO
# Nobody dies: a process grows old enough to show a leak.
PEACEFUL = tuple(scenario for scenario in ONE if scenario.name.split()[-1] in ("cut", "held", "refused"))
IN_SHORT = (
    "one of two engines is killed",
    "engine paused, connections cut",
    "the detokenizers are killed",
    "a gateway is killed",
    "Redis is killed",
)
SHORT = tuple(scenario for scenario in EVERY if scenario.name in IN_SHORT)
assert len(SHORT) == len(IN_SHORT)
