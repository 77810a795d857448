"""One wave: clients read, a fault strikes, and what they were told is held against the calm run."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from redis import exceptions

from tests.chaos.cases import Case
from tests.chaos.cast import MODEL, Actor, Cast, Metrics
from tests.chaos.clients import Complaint, Crowd, Told
from tests.chaos.scenarios import MOVED, OUTAGES, RECONNECTED, RESUMED, STALLED, Scenario
from tests.chaos.store import Store

BEGUN = 20  # tokens that every client has been told when the fault strikes
PATIENCE_S = 120.0  # for a whole wave
REST_S = 20.0  # after which nothing may be left over
STALL_S = 1.0  # a pause that no calm client sees
COUNTED = {
    MOVED: re.compile(r"_undertaker_moved"),
    RECONNECTED: re.compile(r"_shard_\d+_connections"),
    OUTAGES: re.compile(r"_bus_failures"),  # as the detokenizers saw them
}

Counts = dict[Actor, tuple[int, Metrics]]  # the birth, and what it had counted


@dataclass(frozen=True, slots=True)
class Report:
    name: str
    requests: int
    unfinished: int  # streams, when the fault struck
    evidence: dict[str, int]  # that it bit
    pauses_s: tuple[float, ...]  # the longest of each client, the shortest first
    took_s: float
    complaints: tuple[str, ...]

    def __str__(self) -> str:
        middle, most = self.pauses_s[len(self.pauses_s) // 2], self.pauses_s[-1]
        bit = ", ".join(f"{count} {name}" for name, count in self.evidence.items() if count)
        verdict = "ok  " if not self.complaints else "FAIL"
        return (
            f"{verdict} {self.name:<40} {self.took_s:5.1f} s {self.requests:4} answers {self.unfinished:3} struck  "
            f"pause {self.pauses_s[0]:4.1f} {middle:4.1f} {most:4.1f} s  {bit}"
        )


async def calm(cast: Cast, cases: Sequence[Case]) -> list[Told]:
    """What every client is told when nothing is done to anybody."""
    await cast.ready()
    crowd = Crowd(cast.http, cast.doors, cases, MODEL)
    crowd.last_round = True
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        for index in range(len(cases)):
            tasks.create_task(crowd.client(index))
    wrong = [told.client for told in crowd.told if told.tokens != cases[told.client].tokens]
    assert not wrong and not crowd.breaks, f"not a calm run: clients {wrong}, {crowd.breaks} breaks"
    return sorted(crowd.told, key=lambda told: told.client)


async def perform(
    cast: Cast, scenario: Scenario, cases: Sequence[Case], calmly: Sequence[Told], dice: Random
) -> Report:
    """One wave under `scenario`: clients ask again and again until the fault is over, then for what is open."""
    began_s = time.monotonic()
    await cast.ready()
    before = await _count(cast)
    crowd = Crowd(cast.http, cast.doors, cases, MODEL)
    complaints: list[str] = []
    unfinished = 0
    try:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as wave:
            tending = wave.create_task(cast.tend())
            async with asyncio.TaskGroup() as clients:
                for index in range(len(cases)):
                    clients.create_task(crowd.client(index))
                await crowd.reached(BEGUN)
                unfinished = crowd.unfinished
                await scenario.strike(cast, dice)
                crowd.last_round = True
            tending.cancel()
        await cast.ready()
        complaints += await _leftovers(cast)
    except* Complaint as group:
        complaints += map(str, leaves(group))
    except* TimeoutError:
        open_ = [f"client {told.client} at token {told.tokens}" for told in crowd.told if not told.done]
        complaints.append(f"not done in time: {', '.join(open_) or 'the processes are not ready'}")
    after = await _count(cast)
    evidence = {name: _gained(before, after, pattern) for name, pattern in COUNTED.items()}
    evidence |= {RESUMED: crowd.resumes, STALLED: sum(pause > STALL_S for pause in crowd.pauses_s)}
    complaints += [f"did not bite: no {name}" for name in scenario.needs if not evidence[name]]
    if not scenario.deadly:
        complaints += [f"{one.name} has ended" for one, (birth, _) in after.items() if birth != before[one][0]]
    if 2 * unfinished < len(cases):
        complaints.append(f"did not bite: {unfinished} streams were unfinished")
    if (worst_s := max(crowd.pauses_s)) > scenario.worst_s:
        complaints.append(f"a client waited {worst_s:.1f} s, and {scenario.worst_s:g} s are allowed")
    for told in crowd.told:
        if told.done:
            complaints += differences(told, calmly[told.client])
    pauses = tuple(sorted(crowd.pauses_s))
    took_s = time.monotonic() - began_s
    return Report(scenario.name, len(crowd.told), unfinished, evidence, pauses, took_s, tuple(complaints))


def differences(told: Told, calmly: Told) -> list[str]:
    """Token for token: both stood at many offsets, and the text up to each of them must be the same."""
    who = f"client {told.client}"
    for offset in sorted(told.lengths.keys() & calmly.lengths.keys()):
        mine, theirs = told.text[: told.lengths[offset]], calmly.text[: calmly.lengths[offset]]
        if mine != theirs:
            return [f"{who}: other text at token {offset}: {mine[-40:]!r}, not {theirs[-40:]!r}"]
    if (told.text, told.tokens, told.finish) != (calmly.text, calmly.tokens, calmly.finish):
        return [f"{who}: {told.tokens} tokens and {told.finish!r}, not {calmly.tokens} and {calmly.finish!r}"]
    return []


def leaves(group: BaseExceptionGroup[Complaint]) -> list[Complaint]:
    """The errors in a group of groups."""
    found: list[Complaint] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _leftovers(cast: Cast) -> list[str]:
    """What is left over although nobody waits for it any more, once there was time to tidy up."""
    deadline_s = time.monotonic() + REST_S
    async with Store(cast) as store:
        while True:
            try:
                found = await store.leftovers()
            except exceptions.RedisError as error:
                found = [f"Redis does not answer: {error}"]
            for detokenizer in cast.detokenizers:
                if live := (await cast.metrics(detokenizer)).get("sluice_detokenizer_sessions_live", -1.0):
                    found.append(f"{live:g} sessions of {detokenizer.name} are live")
            if not found or time.monotonic() > deadline_s:
                return [f"left over: {one}" for one in found]
            await asyncio.sleep(0.2)


async def _count(cast: Cast) -> Counts:
    return {actor: (actor.births, await cast.metrics(actor)) for actor in cast.services}


def _gained(before: Counts, after: Counts, pattern: re.Pattern[str]) -> int:
    """By how much the counters of that name grew; a process that was born meanwhile has counted from nothing."""
    total = 0.0
    for actor, (birth, metrics) in after.items():
        earlier = before[actor][1] if before[actor][0] == birth else {}
        total += sum(value - earlier.get(name, 0.0) for name, value in metrics.items() if pattern.search(name))
    return int(total)
