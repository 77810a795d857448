"""What a step costs in work that can be counted: calls, bytes, writes, commands.

python -m bench.counted_work                    the table, beside the budgets that tests/unit/work holds it to
python -m bench.counted_work --renew            make what is counted now the budgets, with some headroom
python -m bench.counted_work --where engine     which functions are called how often in a step of 64
"""

import argparse
import json
import math
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.rigs.detokenizer import detokenizer_rig
from bench.rigs.engine import engine_rig
from bench.rigs.gateway import gateway_rig
from bench.rigs.still import run
from bench.tally import FIRST, Tally, name_of, retained, tallied

SIZES = (1, 64, 256)  # requests that run, streams, clients
BUDGETS = Path(__file__).parents[1] / "tests" / "unit" / "work" / "budgets.json"
HEADROOM, OLDER = 1.05, 1.07
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
STEPS = 16  # even; each request begins a block in them
RECORD, RECORDS = 64, 1  # tokens of the longer records, and how many of them
TOP = 40
KEPT = "memory blocks kept per step"
Counts = dict[str, float]
Table = dict[str, dict[str, float]]  # "service: what is counted" -> size -> count


async def engine(running: int, tally: Tally) -> Counts:
    async with engine_rig(running, 2 * STEPS) as rig:
        bus, worker = rig.bus, rig.worker
        before = bus.verbs, bus.link.commands, bus.link.bytes, worker.bytes
        await tallied(tally, rig.step, STEPS)
        after = bus.verbs, bus.link.commands, bus.link.bytes, worker.bytes
        verbs, commands, written, sent = ((b - a) / STEPS for a, b in zip(before, after, strict=True))
        return {
            "calls per step": tally.total / STEPS,
            KEPT: await retained(rig.step, STEPS),
            "bytes to the worker per step": sent,
            "bytes on the bus per step": written,
            "bus verbs per step": verbs,
            "Redis commands per step": commands,
        }


async def detokenizer(streams: int, tally: Tally) -> Counts:
    async with detokenizer_rig(streams) as rig:
        entries, more = ([rig.entry(1) for _ in range(steps)] for steps in (STEPS, STEPS + FIRST))
        before = rig.meter.bytes, rig.meter.writes, rig.bus.link.commands
        await tallied(tally, one_by_one(rig.step, entries), STEPS)
        after = rig.meter.bytes, rig.meter.writes, rig.bus.link.commands
        written, writes, commands = ((b - a) / STEPS for a, b in zip(before, after, strict=True))
        kept = await retained(one_by_one(rig.step, more), STEPS)
    long = Tally()
    async with detokenizer_rig(streams, RECORD) as rig:
        records = [rig.entry(RECORD) for _ in range(RECORDS)]
        await tallied(long, one_by_one(rig.step, records), RECORDS)
    return {
        "calls per step": tally.total / STEPS,
        "calls per token": tally.total / STEPS / streams,
        f"calls per record of {RECORD} tokens": long.total / RECORDS / streams,
        KEPT: kept,
        "bytes to the gateway per step": written,
        "writes to the gateway per step": writes,
        "Redis commands per step": commands,
    }


async def gateway(clients: int, tally: Tally) -> Counts:
    async with gateway_rig(clients) as rig:
        events, more = ([rig.event() for _ in range(steps)] for steps in (STEPS, STEPS + FIRST))
        before = rig.meter.bytes, rig.meter.writes
        await tallied(tally, one_by_one(rig.step, events), STEPS)
        after = rig.meter.bytes, rig.meter.writes
        written, writes = ((b - a) / STEPS / clients for a, b in zip(before, after, strict=True))
        return {
            "calls per frame": tally.total / STEPS / clients,
            KEPT: await retained(one_by_one(rig.step, more), STEPS),
            "bytes per client and step": written,
            "writes per client and step": writes,
        }


SERVICES = {"engine": engine, "detokenizer": detokenizer, "gateway": gateway}


def one_by_one(step: Callable[[bytes], Awaitable[None]], inputs: list[bytes]) -> Callable[[], Awaitable[None]]:
    """A step without arguments, which takes one of these after the other; they were made before anything counts."""
    left = iter(inputs)
    return lambda: step(next(left))


def counted() -> Table:
    table: Table = {}
    for service, count in SERVICES.items():
        for size in SIZES:
            for what, value in run(count(size, Tally())).items():
                table.setdefault(f"{service}: {what}", {})[str(size)] = value
    return table


@dataclass(frozen=True, slots=True)
class Budgets:
    """`at_most` for what was counted on that Python. Newer ones call a little less, older ones up to OLDER more."""

    python: str
    at_most: Table

    def allowed(self, what: str, size: str) -> float:
        older = tuple(map(int, PYTHON.split("."))) < tuple(map(int, self.python.split(".")))
        return self.at_most[what][size] * (OLDER if older else 1.0)

    def broken(self, table: Table) -> Iterator[str]:
        """One line for each counter that is above its budget. KeyError for one that has none."""
        for what, sizes in table.items():
            for size, count in sizes.items():
                if count > (allowed := self.allowed(what, size)):
                    yield f"{what}, at {size}: {count:,.2f}, and the budget is {allowed:,.2f}"


def read() -> Budgets:
    return Budgets(**json.loads(BUDGETS.read_text(encoding="utf-8")))


def write(table: Table) -> None:
    """A line for each counter."""
    lines = [f"    {json.dumps(what)}: {json.dumps(_budgets(what, sizes))}" for what, sizes in table.items()]
    at_most = ",\n".join(lines)
    BUDGETS.write_text(f'{{\n  "python": "{PYTHON}",\n  "at_most": {{\n{at_most}\n  }}\n}}\n', encoding="utf-8")


def _budgets(what: str, counts: Counts) -> Counts:
    """Of the allocator's blocks one or two are chance; all else is the same each time."""
    chance = 2.0 if what.endswith(KEPT) else 0.0
    return {size: math.ceil((count * HEADROOM + chance) * 10) / 10 for size, count in counts.items()}


def report(table: Table, at_most: Table) -> Iterator[str]:
    yield f"{'':<52}" + "".join(f"{size:>12}{'at most':>11}" for size in SIZES)
    for what, sizes in table.items():
        of = at_most.get(what, {})
        yield f"{what:<52}" + "".join(
            f"{count:>12,.2f}{of.get(size, math.nan):>11,.1f}" for size, count in sizes.items()
        )


def document(table: Table, budgets: Budgets) -> dict[str, object]:
    """What was counted, and how much of it is allowed on this Python."""
    told = {
        what: {size: {"count": count, "at_most": budgets.allowed(what, size)} for size, count in sizes.items()}
        for what, sizes in table.items()
    }
    return {"machine": {"python": PYTHON}, "counters": told}


def where(service: str, size: int) -> Iterator[str]:
    tally = Tally()
    run(SERVICES[service](size, tally))
    yield f"{tally.total / STEPS:10,.1f}  calls in a step of {size}"
    for function, calls in tally.calls.most_common(TOP):
        yield f"{calls / STEPS:10,.1f}  {name_of(function)}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.counted_work", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--renew", action="store_true", help=f"make the budgets {HEADROOM - 1:.0%} more than this")
    parser.add_argument("--where", choices=tuple(SERVICES), help="list its most called functions instead")
    parser.add_argument("--out", type=Path, help="write counts and budgets to this file, as JSON")
    parser.add_argument("--size", type=int, choices=SIZES, default=SIZES[1], help="for --where")
    arguments = parser.parse_args()
    if arguments.where:
        print("\n".join(where(arguments.where, arguments.size)))
        return 0
    table = counted()
    if arguments.renew:
        write(table)
    budgets = read()
    print("\n".join(report(table, budgets.at_most)))
    print(*budgets.broken(table), sep="\n")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_bytes(orjson.dumps(document(table, budgets), option=orjson.OPT_INDENT_2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
