"""What was measured as figures: medians, ratios and their range; as an aligned table; as one JSON object."""

import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch

from bench.vs_vllm.rounds import Case, Compared, Footprint, Round, Settings, shown
from bench.vs_vllm.systems import PEER, SLUICE

KNOBS = ("VLLM_CPU_", "OMP_")  # variables that change how fast a system is
ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20
HUGE = 99  # as a ratio: the other is next to nothing
FIGURES: Mapping[str, tuple[str, Callable[[Round], float]]] = {  # how it is written, and where it is found
    "output tokens / s": (",.0f", lambda one: one.figures.tokens_per_s),
    "frames / token": (".3f", lambda one: one.figures.frames_per_token),
    "TTFT median, ms": (",.1f", lambda one: one.figures.ttft_ms),
    "TTFT p99, ms": (",.1f", lambda one: one.figures.ttft_p99_ms),
    "TPOT median, ms": (",.2f", lambda one: one.figures.tpot_ms),
    "ITL median, ms": (",.2f", lambda one: one.figures.itl_ms),
    "ITL p99, ms": (",.2f", lambda one: one.figures.itl_p99_ms),
    "CPU ms / token": (".3f", lambda one: sum(one.cpu_ms_per_token.values())),
}
FOOTPRINTS: Mapping[str, tuple[str, Callable[[Footprint], float]]] = {
    "start to ready, s": (".1f", lambda one: one.start_s),
    "idle CPU, % of a core": (".1f", lambda one: 100 * one.idle_share),
    "resident after load (PSS), MiB": (",.0f", lambda one: one.pss_bytes / MIB),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure of both systems. Medians of the rounds that count, None where there are none."""

    sluice: float | None
    peer: float | None
    spread: tuple[float, float] | None  # the least and the greatest ratio of neighbouring rounds

    @property
    def ratio(self) -> float | None:
        """Of the medians; above 1 is more of it for Sluice."""
        return self.sluice / self.peer if self.sluice is not None and self.peer else None


def pair(case: Case, figure: Callable[[Round], float]) -> Pair:
    ours, theirs = (
        _middle(map(figure, case.counted(name))) if name in case.rounds else None for name in (SLUICE, PEER)
    )
    neighbours = zip(case.rounds[SLUICE], case.rounds.get(PEER, ()), strict=False)
    ratios = [figure(a) / figure(b) for a, b in neighbours if not (a.fault or b.fault) and figure(b)]
    return Pair(ours, theirs, (min(ratios), max(ratios)) if ratios else None)


def _middle(values: Iterator[float] | Sequence[float]) -> float | None:
    found = list(values)
    return median(found) if found else None


def table(models: Mapping[str, Compared]) -> Iterator[str]:
    yield f"{'':44}{SLUICE:>12}{PEER:>12}{'ratio':>9}   {'range of neighbours':20}".rstrip()
    for name, of in models.items():
        yield from ("", f"model {name}")
        for label, (form, figure) in FOOTPRINTS.items():
            ours, theirs = (figure(of.footprints[one]) if one in of.footprints else None for one in (SLUICE, PEER))
            yield row(label, form, Pair(ours, theirs, None))
        for case in of.cases:
            size = f"{case.load.requests} x {case.load.tokens_in} in, {case.load.tokens_out} out"
            yield from ("", f"model {name}, {shown(case.load)}: {size}")
            yield from case_rows(case)


def case_rows(case: Case) -> Iterator[str]:
    for label, (form, figure) in FIGURES.items():
        yield row(label, form, pair(case, figure))
    for name, rounds in case.rounds.items():
        for kind in rounds[0].cpu_ms_per_token:
            value = _middle(one.cpu_ms_per_token[kind] for one in case.counted(name))
            if value:
                yield row(f"  {kind}", ".3f", Pair(value, None, None) if name == SLUICE else Pair(None, value, None))
        if faulty := len(rounds) - len(case.counted(name)):
            yield f"  {name}: {faulty} of {len(rounds)} rounds DO NOT COUNT"


def row(label: str, form: str, of: Pair) -> str:
    ours, theirs = ("-" if value is None else format(value, form) for value in (of.sluice, of.peer))
    ratio = "-" if of.ratio is None else times(of.ratio)
    spread = " to ".join(map(times, of.spread)) if of.spread else ""
    return f"  {label:42}{ours:>12}{theirs:>12}{ratio:>9}   {spread}".rstrip()


def times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < HUGE else f">{HUGE}"


def document(models: Mapping[str, Compared], settings: Settings) -> dict[str, object]:
    """Everything, each round included."""
    return {
        "machine": machine(),
        "generator": "peer" if settings.generator else "ours",
        "rounds": settings.rounds,
        "engine_args": settings.engine_args,
        "environment": {name: value for name, value in os.environ.items() if name.startswith(KNOBS)},
        "peer_args": list(settings.peer_args),
        "models": {
            name: {
                "systems": {system: asdict(footprint) for system, footprint in of.footprints.items()},
                "cases": [_case(case) for case in of.cases],
            }
            for name, of in models.items()
        },
    }


def _case(case: Case) -> dict[str, object]:
    pairs = {label: pair(case, figure) for label, (_, figure) in FIGURES.items()}
    return {
        "load": asdict(case.load),
        "medians": {label: asdict(of) | {"ratio": of.ratio} for label, of in pairs.items()},
        "rounds": {name: [asdict(one) for one in rounds] for name, rounds in case.rounds.items()},
    }


def machine() -> dict[str, object]:
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _commit() -> str:
    """With a + if something has been changed since; nothing outside a checkout."""
    told = subprocess.run(("git", "describe", "--always", "--dirty=+", "--abbrev=12"), cwd=ROOT, capture_output=True)
    return told.stdout.decode().strip()
