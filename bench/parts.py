"""The benches that `python -m bench` runs, in order: how each is called, how long it takes, what it leaves behind."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench import figures
from bench.figures import Reader, Row

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One module of bench. `{out}` in its flags is the folder for what it writes; `quick` comes behind `flags`."""

    name: str
    flags: str
    quick: str = ""
    minutes: float
    quick_minutes: float
    file: str  # its figures, in the folder
    read: Reader
    paired: bool = False  # with a peer it takes twice as long

    def command(self, out: Path, *, quick: bool) -> list[str]:
        flags = f"{self.flags} {self.quick if quick else ''}".split()
        return [sys.executable, "-m", f"bench.{self.name}", *(flag.format(out=out) for flag in flags)]

    def about(self, *, quick: bool, peer: bool) -> float:
        """Minutes."""
        return (self.quick_minutes if quick else self.minutes) * (2 if self.paired and peer else 1)


PARTS = (
    Part(
        name="vs_vllm",
        flags="--same-rate 0.6 --out {out}/bench-vs-vllm.json",
        quick="--models 6m --rounds 1 --round-s 5",
        minutes=8,
        quick_minutes=1,
        file="bench-vs-vllm.json",
        read=figures.vs_vllm,
        paired=True,
    ),
    Part(
        name="front_end",
        flags="--out {out}/front-end.json --plots {out}",
        quick="--quick",
        minutes=5,
        quick_minutes=1,
        file="front-end.json",
        read=figures.front_end,
    ),
    Part(
        name="growth",
        flags="--out {out}/growth.png",
        quick="--quick",
        minutes=3,
        quick_minutes=0.5,
        file="growth.json",
        read=figures.growth,
    ),
    Part(
        name="counted_work",
        flags="--out {out}/counted-work.json",
        minutes=0.2,
        quick_minutes=0.2,
        file="counted-work.json",
        read=figures.counted_work,
    ),
    Part(
        name="planning",
        flags="--out {out}/planning.json",
        quick="--steps 60",
        minutes=0.5,
        quick_minutes=0.3,
        file="planning.json",
        read=figures.planning,
    ),
    Part(
        name="ablation",
        flags="--out {out}/ablation.png",
        quick="--tokens 24 --repeat 1",
        minutes=3,
        quick_minutes=1,
        file="ablation.json",
        read=figures.ablation,
    ),
    Part(
        name="tracing",
        flags="--out {out}/tracing.json",
        quick="--repeat 2",
        minutes=2,
        quick_minutes=0.7,
        file="tracing.json",
        read=figures.tracing,
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a part; `fault` is empty if it ended well."""

    name: str
    rows: Sequence[Row]
    fault: str


def ran(part: Part, out: Path, *, quick: bool) -> Outcome:
    """Run it, its output on our stderr, and read what it has written. Figures of an earlier run are removed first."""
    (out / part.file).unlink(missing_ok=True)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    command = part.command(out, quick=quick)
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sys.stderr.fileno()) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:  # it was interrupted too, and ends its own processes
            process.wait()
            raise
    return collected(part, status, out / part.file)


def collected(part: Part, status: int, path: Path) -> Outcome:
    """A part that failed may have figures all the same, and one that ended well may have none."""
    fault = f"exit status {status}" if status else ""
    try:
        rows = list(part.read(orjson.loads(path.read_bytes())))
    except FileNotFoundError:
        return Outcome(part.name, [], fault or f"exit status 0, but no {path.name}")
    except (KeyError, TypeError, ValueError) as error:
        return Outcome(part.name, [], f"exit status {status}, and {path.name} cannot be read: {error!r}")
    return Outcome(part.name, rows, fault)
