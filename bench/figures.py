"""The figures that matter of each bench, out of the JSON that it writes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.growth.series import MOST

Told = Mapping[str, Any]
OURS, THEIRS = "Sluice", "vLLM"
MIB = 2**20
VERSUS = {  # as bench.vs_vllm.report calls them: what it is, and in what
    "output tokens / s": ("output", "tokens/s"),
    "TTFT median, ms": ("TTFT, median", "ms"),
    "TTFT p99, ms": ("TTFT, p99", "ms"),
    "ITL median, ms": ("ITL, median", "ms"),
    "ITL p99, ms": ("ITL, p99", "ms"),
    "frames / token": ("frames", "per token"),
    "CPU ms / token": ("CPU, all processes", "ms/token"),
}
FOOTPRINT = {
    "start_s": ("start to ready", "s", 1.0),
    "pss_bytes": ("resident after load (PSS)", "MiB", 1 / MIB),
    "idle_share": ("CPU while nobody asks", "% of a core", 100.0),
}
FRONT = ("gateway", "detokenizer", "redis")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `peer` is the same figure of a peer, where there is one."""

    section: str
    figure: str
    value: float
    unit: str
    peer: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.peer if self.peer else None


Reader = Callable[[Told], Iterator[Row]]


def vs_vllm(told: Told) -> Iterator[Row]:
    for model, of in told["models"].items():
        section, systems = f"vs vLLM, {model}", of["systems"]
        for name, (figure, unit, times) in FOOTPRINT.items():
            peer = times * systems[THEIRS][name] if THEIRS in systems else None
            yield Row(section, figure, times * systems[OURS][name], unit, peer)
        for case in of["cases"]:
            clients, rate = case["load"]["clients"], case["load"]["rate"]
            asked = f"{rate:.3g} requests/s" if rate else f"{clients} client{'s' if clients > 1 else ''}"
            yield from _case(f"{section}, {asked}", case)


def _case(section: str, case: Told) -> Iterator[Row]:
    for name, (figure, unit) in VERSUS.items():
        pair = case["medians"][name]
        if pair["sluice"] is not None:
            yield Row(section, figure, pair["sluice"], unit, pair["peer"])
    for system, rounds in case["rounds"].items():
        counted = [one["cpu_ms_per_token"] for one in rounds if not one["fault"]]
        for kind in counted[0] if counted else ():
            if spent := median(one[kind] for one in counted):
                yield Row(section, f"CPU, {system}'s {kind}", spent, "ms/token")
        if faulty := len(rounds) - len(counted):
            yield Row(section, f"{system}'s rounds that do not count", faulty, f"of {len(rounds)}")


def front_end(told: Told) -> Iterator[Row]:
    cases: dict[str, list[Told]] = {}
    for point in told["points"]:
        layout = point["layout"]
        section = f"front end, {layout['gateways']}/{layout['detokenizers']}, {point['clients']:,} clients"
        cases.setdefault(section, []).append(point)
    for section, points in cases.items():
        for point in sorted(points, key=lambda point: point["load"]):
            yield from _rate(section, point) if not point["load"] else _latency(section, point)
            if failures := point["heard"]["failures"]:
                yield Row(section, f"failures at load {point['load']}", failures, "requests")


def _rate(section: str, point: Told) -> Iterator[Row]:
    yield Row(section, "highest rate", point["rate"], "tokens/s")
    yield Row(section, "highest rate of a core", point["per_core"], "tokens/s")
    yield Row(section, "frames", point["frames_per_token"], "per token")
    for kind in FRONT:
        yield Row(section, f"CPU, {kind}", 1e6 * point["cpu"][kind] / max(1, point["heard"]["tokens"]), "us/token")


def _latency(section: str, point: Told) -> Iterator[Row]:
    yield Row(section, f"rate of a core at {point['load']} %", point["per_core"], "tokens/s")
    for name in ("p50", "p99"):
        yield Row(section, f"added latency at {point['load']} %, {name}", point["heard"]["age_ms"][name], "ms")


def growth(told: Told) -> Iterator[Row]:
    """Slopes, with their word; and what the word should be where a line is steeper."""
    for sweep in told["sweeps"]:
        for line, grown in sweep["growth"].items():
            worse = grown["exponent"] > MOST[sweep["expected"]]
            unit = f"slope, {grown['word']}" + (f", NOT {sweep['expected']}" if worse else "")
            yield Row("growth", f"{sweep['name']}: {line}", grown["exponent"], unit)


def counted_work(told: Told) -> Iterator[Row]:
    """Of each counter the size that takes most of its budget."""
    for what, sizes in told["counters"].items():
        shares = {size: 100 * one["count"] / one["at_most"] for size, one in sizes.items()}
        most = max(shares, key=lambda size: shares[size])
        yield Row("counted work", what, shares[most], f"% of its budget, at {most}")


def planning(told: Told) -> Iterator[Row]:
    section = f"planning, {told['rows']} rows"
    for case in told["cases"]:
        name = f"context {case['context']:,}, {case['waiting']:,} wait"
        yield Row(section, name, case["ms"], "ms/step, median")
    yield Row(section, "sent to the device", max(case["most_bytes"] for case in told["cases"]), "bytes/step, most")


def ablation(told: Told) -> Iterator[Row]:
    """The first way is the old one, the last the new one."""
    ways: Sequence[Told] = told["ways"]
    for way in ways:
        name = f"{way['scheduling']}, {way['state']}, {way['detokenizer']}"
        yield Row("ablation", name, way["against_old"], "x the old way's tokens/s")
    for age, way in (("old way", ways[0]), ("new way", ways[-1])):
        found = way["median"]
        yield Row("ablation", f"{age}, device busy", 100 * found["busy_share"], "%")
        yield Row("ablation", f"{age}, CPU of the loop", sum(found["loop_cpu_ms_per_step"].values()), "ms/step")
        yield Row("ablation", f"{age}, sent to the device", found["bytes_per_step"] / 1024, "KiB/step")


def tracing(told: Told) -> Iterator[Row]:
    names = {"throughput": "throughput, on : off", "cpu_per_token": "CPU a token, on : off"}
    for name, figure in names.items():
        ratios = told["on_to_off"][name]
        yield Row("tracing", figure, median(ratios), f"of {len(ratios)}: {min(ratios):.2f} to {max(ratios):.2f}")
