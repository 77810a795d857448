"""Rounds of the same load on each system in turn: A B A B. Both are resident, one of them is loaded.

Started anew for each round, they would spend far more time on starting than on work. What an idle system takes from
the other is measured (`idle_share`): about a hundredth of a core.
"""

import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.vs_vllm.load import Figures, Load, run
from bench.vs_vllm.systems import System, peer, sluice

IDLE_S = 5.0
FEWEST_ROUNDS_OF_CLIENTS = 2  # each client asks at least so often


@dataclass(frozen=True, slots=True)
class Round:
    """`fault` says why it does not count. CPU is what the system's processes took, by kind."""

    figures: Figures
    cpu_ms_per_token: Mapping[str, float]
    fault: str


@dataclass(frozen=True, slots=True)
class Case:
    """One load on one model, and the rounds of each system by name, in the order in which they were run."""

    load: Load
    rounds: Mapping[str, Sequence[Round]]

    def counted(self, name: str) -> list[Round]:
        return [one for one in self.rounds[name] if not one.fault]


@dataclass(frozen=True, slots=True)
class Footprint:
    version: str
    start_s: float
    idle_share: float  # CPU seconds a second
    pss_bytes: int  # after all rounds


@dataclass(frozen=True, slots=True)
class Compared:
    """All of one model."""

    footprints: Mapping[str, Footprint]
    cases: Sequence[Case]


@dataclass(frozen=True, slots=True)
class Settings:
    tool: Path | None  # runs the peer; None: Sluice alone
    generator: Path | None  # a tool whose generator loads both; None: ours does
    engine_args: str
    peer_args: Sequence[str]
    rounds: int
    round_s: float  # about how long one should take
    loads: Sequence[Load]  # what is asked; how many requests is found out
    same_rate: float = 0.0  # then so much of the requests a second that the slower system has answered; 0: not that


async def compared(name: str, model: Path, folder: Path, settings: Settings) -> Compared:
    """`name` is the model's, for the lines of progress; logs go to `folder`."""
    async with both(model, folder, settings) as systems:
        idle = {system.name: await system.idle_share(IDLE_S) for system in systems}
        seeds = iter(range(1, sys.maxsize))
        cases = [await _case(name, load, systems, model, seeds, settings) for load in settings.loads]
        rate = rate_of_both(cases) * settings.same_rate if len(systems) > 1 else 0.0
        if rate:
            load = replace(settings.loads[0], requests=0, clients=0, rate=rate)
            cases.append(await _case(name, load, systems, model, seeds, settings))
        footprints = {
            system.name: Footprint(system.version, system.start_s, idle[system.name], system.pss_bytes())
            for system in systems
        }
    return Compared(footprints, cases)


async def _case(
    name: str, load: Load, systems: Sequence[System], model: Path, seeds: Iterator[int], settings: Settings
) -> Case:
    sized = await _sized(load, systems, model, next(seeds), settings)
    rounds: dict[str, list[Round]] = {system.name: [] for system in systems}
    for turn in range(settings.rounds):
        seed = next(seeds)
        for system in systems:
            one = await loaded(system, systems, sized, model, seed, settings.generator)
            rounds[system.name].append(one)
            say(f"{name}, {shown(sized)}, round {turn + 1} of {settings.rounds}, {line(system, one)}")
    return Case(sized, rounds)


def rate_of_both(cases: Sequence[Case]) -> float:
    """Requests a second that each system has answered under the load that suits it best; 0 if one has none to count."""
    best: dict[str, float] = {}
    for case in cases:
        for name in case.rounds:
            rates = (one.figures.requests / one.figures.seconds for one in case.counted(name))
            best[name] = max(best.get(name, 0.0), *rates, 0.0)
    return min(best.values(), default=0.0)


@asynccontextmanager
async def both(model: Path, folder: Path, settings: Settings) -> AsyncIterator[list[System]]:
    """Sluice, and the peer if there is one; started one after the other."""
    async with AsyncExitStack() as stack:
        systems = [await stack.enter_async_context(sluice(model, folder / "sluice", settings.engine_args))]
        if settings.tool:
            systems.append(await stack.enter_async_context(peer(settings.tool, model, folder, settings.peer_args)))
        for system in systems:
            say(f"{f'{system.name} {system.version}'.strip()} is ready after {system.start_s:.1f} s")
        yield systems


async def loaded(
    system: System, systems: Sequence[System], load: Load, model: Path, seed: int, generator: Path | None
) -> Round:
    """Once all of them are at rest."""
    for each in systems:
        await each.rest()
    before = system.cpu_seconds()
    figures = await run(load, system.url, model, seed, generator)
    after = system.cpu_seconds()
    cpu = {kind: 1000 * (after[kind] - before.get(kind, 0.0)) / max(1, figures.tokens) for kind in after}
    return Round(figures, cpu, figures.fault(load))


async def _sized(load: Load, systems: Sequence[System], model: Path, seed: int, settings: Settings) -> Load:
    """The load with as many requests as make a round last `round_s`, on the average system. That warms up each."""
    few = load.requests if load.rate is None else _at_least(load.rate * settings.round_s / 2)
    brief = replace(load, requests=few)
    warm = [await loaded(system, systems, brief, model, seed, settings.generator) for system in systems]
    for system, one in zip(systems, warm, strict=True):
        say(f"warming up, {shown(load)}, {line(system, one)}")
    if load.rate is not None:
        return replace(load, requests=_at_least(load.rate * settings.round_s))
    requests_per_s = sum(one.figures.tokens_per_s for one in warm) / len(warm) / load.tokens_out
    turns = round(requests_per_s * settings.round_s / load.clients)
    return replace(load, requests=load.clients * max(FEWEST_ROUNDS_OF_CLIENTS, turns))


def _at_least(requests: float) -> int:
    return max(2, round(requests))


def shown(load: Load) -> str:
    """In a word or two, without how many requests."""
    if load.rate is not None:
        return f"{load.rate:.3g} requests/s"
    return f"{load.clients} client{'s' if load.clients > 1 else ''}"


def line(system: System, one: Round) -> str:
    figures, cpu = one.figures, sum(one.cpu_ms_per_token.values())
    fault = f"; DOES NOT COUNT: {one.fault}" if one.fault else ""
    return (
        f"{system.name}: {figures.requests:,} requests in {figures.seconds:.1f} s, {figures.tokens_per_s:,.0f} tok/s, "
        f"TTFT {figures.ttft_ms:,.0f} ms, TPOT {figures.tpot_ms:.1f} ms, {cpu:.2f} ms CPU/token{fault}"
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
