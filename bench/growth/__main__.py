"""How the cost of a step grows with what an engine, a bus, a detokenizer and a gateway hold.

python -m bench.growth            a table, and with --out a JSON and a picture; under 3 minutes
python -m bench.growth --quick    fewer sizes and steps; under 30 seconds

Each line ends with the power of the size that it follows. The exit status is 1 if one grows faster than it should.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from bench.growth import engine, fleet, streams
from bench.growth.picture import draw
from bench.growth.series import Sweep, shown

WIDTH = 30


@dataclass(frozen=True, slots=True)
class Plan:
    """One sweep: what makes it, at which sizes and for how many steps, whole and quick."""

    measure: Callable[[Sequence[int], int], Sweep]
    sizes: tuple[int, ...]
    steps: int
    quick: tuple[int, ...]
    quick_steps: int


PLANS = {
    "rows": Plan(engine.rows, (1, 4, 16, 64, 256, 1024), 96, (16, 64, 256), 32),
    "context": Plan(engine.context, (128, 512, 2048, 8192, 32768, 131072), 96, (128, 2048, 32768), 32),
    "queue": Plan(engine.queue, (0, 100, 1000, 10_000, 100_000), 96, (100, 1000, 10_000), 32),
    "engines": Plan(fleet.engines, (1, 2, 4, 8), 250, (1, 2, 4), 100),
    "streams": Plan(streams.detokenizer, (1, 4, 16, 64, 256, 1024), 32, (16, 64, 256), 16),
    "clients": Plan(streams.gateway, (1, 4, 16, 64, 256, 1024), 32, (16, 64, 256), 16),
}


def report(sweep: Sweep) -> Iterator[str]:
    yield f"\n{sweep.name} ({sweep.about}); ms of CPU time a step, to be {sweep.expected}"
    yield f"{'':<{WIDTH}}" + "".join(f"{size:>10,}" for size in sweep.sizes) + f"{'growth':>10}"
    for line, costs in sweep.lines.items():
        cells = "".join(f"{cost:>10.3f}" for cost in costs)
        yield f"{line:<{WIDTH}}{cells}{shown(sweep.exponent(line)):>10}  {sweep.word(line)}"


def document(sweeps: Sequence[Sweep]) -> dict[str, object]:
    machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    growth = [{line: {"exponent": one.exponent(line), "word": one.word(line)} for line in one.lines} for one in sweeps]
    told = [asdict(one) | {"growth": grown} for one, grown in zip(sweeps, growth, strict=True)]
    return {"machine": machine, "unit": "milliseconds of CPU time per step, medians", "sweeps": told}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 30 seconds")
    parser.add_argument("--only", choices=tuple(PLANS), nargs="+", default=tuple(PLANS), help="these sweeps")
    parser.add_argument("--out", type=Path, help="a PNG; the figures go beside it, as JSON")
    arguments = parser.parse_args()
    if arguments.out and arguments.out.suffix != ".png":
        parser.error(f"--out must end with .png, not {arguments.out}")
    sweeps: list[Sweep] = []
    for name in arguments.only:
        print(name, file=sys.stderr, flush=True)
        plan = PLANS[name]
        sizes, steps = (plan.quick, plan.quick_steps) if arguments.quick else (plan.sizes, plan.steps)
        sweeps.append(plan.measure(sizes, steps))
        print(*report(sweeps[-1]), sep="\n", flush=True)
    if arguments.out:
        told = document(sweeps)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        about = f"Medians, Python {platform.python_version()}. In brackets: the power of the size that a line follows"
        draw(sweeps, about, arguments.out)
    worse = [f"{sweep.name}: {', '.join(sweep.worse)}" for sweep in sweeps if sweep.worse]
    print("\nnothing grows faster than it should" if not worse else "\nfaster than it should: " + "; ".join(worse))
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
