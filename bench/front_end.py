"""What everything but the GPU can carry: gateways, detokenizers, Redis and an engine that only takes a card's time.

python -m bench.front_end           256 and 1,024 streaming clients on 1/1, 2/1 and 2/2 gateways/detokenizers: 5 minutes
python -m bench.front_end --quick   1/1 only: under a minute

First the card is out of reach, and what limits is the rest: the highest rate. Then the card is set to shares of that
rate, and each token tells how old it is (`--sim-words clock`): from the end of its step to the client's socket. In it
is up to 1 ms by which a loop's timer is late to see that end. Processes, clients (`swarm.c`) and all share the
machine's cores, so what carries over to another machine is CPU time: tokens for each second that a core spends in
gateways, detokenizers and Redis. The faster tokens come, the more of them share a frame, and the less each costs.
"""

import argparse
import asyncio
import os
import platform
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import orjson

from bench import front_end_picture
from bench.front_end_run import Layout, Plan, Point, measured
from bench.swarm import Spread

SETS = [Layout(1, 1), Layout(2, 1), Layout(2, 2)]
QUICK = {"sets": [Layout(1, 1)], "loads": [25], "seconds": 2.0, "warm_up": 1.5}
T = TypeVar("T", int, float)


def line(point: Point) -> str:
    heard, load = point.heard, f"{point.load} %" if point.load else "all"
    return (
        f"{point.layout!s:>5} {point.clients:8,} {load:>6} {point.rate:9,.0f} {point.per_core:9,.0f}"
        f" {point.microseconds('gateway'):9.1f} {point.microseconds('detokenizer'):7.1f}"
        f" {point.microseconds('redis'):7.1f} {point.microseconds('engine'):7.1f} {point.frames_per_token:8.2f}"
        f"{_spread(heard.age_ms)}{_spread(heard.ttft_ms)} {heard.failures:6}"
    )


def _spread(spread: Spread) -> str:
    return f" {spread.p50:9,.1f} {spread.p99:9,.1f}" if spread.count else f" {'-':>9} {'-':>9}"


HEAD = f"""{"":21} {"tokens / s":>19} {"CPU us / token":>33} {"frames":>8} {"token age, ms":>19} {"TTFT, ms":>19}
{"g/d":>5} {"clients":>8} {"load":>6} {"wall":>9} {"core":>9} {"gateway":>9} {"detok":>7} {"redis":>7} {"engine":>7} \
{"/token":>8} {"p50":>9} {"p99":>9} {"p50":>9} {"p99":>9} {"failed":>6}"""


def table(points: Sequence[Point]) -> list[str]:
    spent = sum(point.heard.cpu_seconds for point in points) / sum(point.heard.seconds for point in points)
    cores = f"{os.cpu_count()} cores for everything, of which the clients took {spent:.2f}"
    return [HEAD, *map(line, points), cores]


def document(points: Sequence[Point], args: argparse.Namespace) -> dict[str, Any]:
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "system": platform.system()}
    load = {"tokens": args.tokens, "warm_up_s": args.warm_up, "seconds": args.seconds}
    derived = ("rate", "per_core", "frames_per_token")
    rows = [asdict(point) | {name: getattr(point, name) for name in derived} for point in points]
    return {"machine": machine, "load": load, "points": rows}


def layouts(text: str) -> list[Layout]:
    """`1/1,2/1` as gateways/detokenizers."""
    try:
        pairs = [tuple(int(number) for number in part.split("/")) for part in text.split(",")]
    except ValueError:
        pairs = []
    if not pairs or any(len(pair) != 2 or min(pair) < 1 for pair in pairs):
        raise argparse.ArgumentTypeError(f"must be gateways/detokenizers, as in 1/1,2/1, not {text!r}")
    return [Layout(*pair) for pair in pairs]


def numbers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"must be whole numbers above 0, with commas between them, not {text!r}")
    return found


def above_zero(kind: Callable[[str], T]) -> Callable[[str], T]:
    def read(text: str) -> T:
        if not 0 < (value := kind(text)) < 1e6:
            raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
        return value

    return read


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.front_end", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sets", type=layouts, default=[Layout(1, 1), Layout(2, 1), Layout(2, 2)], help="gateways/detokenizers, ..."
    )
    parser.add_argument("--clients", type=numbers, default=[256, 1024], help="streams that are open at once, ...")
    parser.add_argument("--loads", type=numbers, default=[25, 50, 75, 90], help="percent of the highest rate, ...")
    parser.add_argument("--tokens", type=above_zero(int), default=256, help="of an answer")
    parser.add_argument("--seconds", type=above_zero(float), default=3.0, help="that each load is counted")
    parser.add_argument("--warm-up", type=above_zero(float), default=2.0, help="seconds before that")
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    parser.add_argument("--plots", type=Path, default=Path(".run"), help="folder of the two pictures")
    parser.add_argument("--quick", action="store_true", help="other defaults: 1/1, one load, and shorter")
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)
    return parser.parse_args(argv)


async def collected(args: argparse.Namespace) -> list[Point]:
    """All points; each is told on stderr as it comes."""
    print(HEAD, file=sys.stderr)
    plan = Plan(
        layouts=args.sets,
        clients=args.clients,
        loads=args.loads,
        tokens=args.tokens,
        warm_up_s=args.warm_up,
        seconds=args.seconds,
    )
    points = []
    async for point in measured(plan):
        print(line(point), file=sys.stderr, flush=True)
        points.append(point)
    return points


def main() -> int:
    args = arguments(sys.argv[1:])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a file for each client, there and in the gateway
    points = asyncio.run(collected(args))
    for text in table(points):
        print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_bytes(orjson.dumps(document(points, args), option=orjson.OPT_INDENT_2))
    for path in front_end_picture.draw(points, args.plots):
        print(path)
    failed = [point for point in points if point.heard.failures]
    for point in failed:
        print(f"{point.layout}, {point.clients} clients: {point.heard.failure}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
