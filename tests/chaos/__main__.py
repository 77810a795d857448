"""The long form: python -m tests.chaos --minutes 30 --seed N

Scenarios in random order, each before any comes again. In the last third nobody is killed, only connections break, so
that each process grows old enough to show a leak. Exit status 0 only if no client had a complaint and memory was flat.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from tests.chaos.cases import load
from tests.chaos.cast import Cast
from tests.chaos.judging import calm, perform
from tests.chaos.memory import Flat
from tests.chaos.scenarios import EVERY, PEACEFUL, Scenario

WARM_S = 120.0  # before memory is looked at: answers are kept for 60 s, and their number must have come to a rest


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def deck(scenarios: Sequence[Scenario], dice: Random) -> Iterator[Scenario]:
    while True:
        yield from dice.sample(scenarios, len(scenarios))


async def play(folder: Path, minutes: float, seed: int) -> int:
    """How many complaints there were."""
    dice, cases, memory, complaints = Random(seed), load(), Flat(), 0
    async with Cast(folder) as cast:
        calmly = await calm(cast, cases)
        began_s = time.monotonic()
        wild, peaceful = deck(EVERY, dice), deck(PEACEFUL, dice)
        while (past := (time.monotonic() - began_s) / (60 * minutes)) < 1:
            scenario = next(wild if past < 2 / 3 else peaceful)
            report = await perform(cast, scenario, cases, calmly, dice)
            say(str(report))
            for complaint in report.complaints:
                say(f"     {complaint}")
            if report.complaints:
                say(cast.logs())
            complaints += len(report.complaints)
            if time.monotonic() - began_s > WARM_S:
                await memory.look(cast)
    say(str(memory))
    for complaint in memory.complaints():
        say(f"FAIL {complaint}")
        complaints += 1
    return complaints


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long [30]")
    parser.add_argument("--seed", type=int, default=None, help="of the dice; a random one if not given")
    args = parser.parse_args()
    seed = secrets.randbits(32) if args.seed is None else args.seed
    with tempfile.TemporaryDirectory(prefix="sluice-chaos-") as folder:
        say(f"seed {seed}, {args.minutes:g} minutes, logs in {folder}")
        complaints = asyncio.run(play(Path(folder), args.minutes, seed))
        say(f"{complaints} complaints; again with: python -m tests.chaos --minutes {args.minutes:g} --seed {seed}")
    return min(complaints, 1)


if __name__ == "__main__":
    sys.exit(main())
