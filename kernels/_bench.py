"""What a kernel reaches of the card: GB/s or TFLOP/s, and the share of what the same card copies or multiplies.

Every case runs at FULL size, and what takes longer, its traffic or its arithmetic, is its roof. Between two runs as
much is written as the L2 cache holds, so nothing is found in it that a step would not. On a CPU, which runs the kernels
in Triton's interpreter, the same code goes by the wall clock: the figures mean nothing then, but all of it has run.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from kernels._case import FULL, Case, Size, Source

RUNS, WARM = 30, 5
FLUSH = 1 << 30  # bytes; no card's L2 is larger, and while they are written the host enqueues all that is measured


class Roofs(NamedTuple):
    copy: float  # bytes per second, read and write counted
    product: float  # bf16 operations per second


@dataclass(frozen=True, slots=True)
class Measurement:
    name: str
    microseconds: float  # the median
    gbps: float  # 1e9 bytes per second that must at least be moved
    tflops: float  # 0 where arithmetic is not counted
    share_of_roof: float  # of the time that the roofs leave, 0 to 1

    def __str__(self) -> str:
        rates = f"{self.gbps:8.1f} GB/s {self.tflops:8.1f} TFLOP/s"
        return f"{self.name:42} {self.microseconds:9.1f} us {rates} {self.share_of_roof:6.1%} of the roofline"


def seconds(run: Callable[[], Any], device: torch.device, runs: int = RUNS) -> float:
    """Median of `runs`, after a few that do not count: by CUDA events, on a CPU by the clock and without warming up."""
    if device.type == "cpu":
        return statistics.median(_by_the_clock(run) for _ in range(runs))
    flush = torch.empty(FLUSH, dtype=torch.int8, device=device)
    taken: list[float] = []
    for turn in range(WARM + runs):
        flush.zero_()
        begin, end = (torch.Event(device, enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        if turn >= WARM:
            taken.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(taken)


def _by_the_clock(run: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def ceilings(device: torch.device, *, copied: int = 1 << 30, side: int = 8192) -> Roofs:
    """What the card itself reaches: a copy of `copied` bytes, a bf16 product of two square matrices."""
    source = torch.empty(copied, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    a = torch.randn(side, side, dtype=torch.bfloat16, device=device)
    rate = 2 * copied / seconds(lambda: target.copy_(source), device)
    return Roofs(rate, 2 * side**3 / seconds(lambda: a @ a, device))


def measure(case: Case, device: torch.device, roofs: Roofs, *, size: Size = FULL, runs: int = RUNS) -> Measurement:
    """`roofs` are the card's, as `ceilings` finds them. Inputs are made before the clock runs."""
    inputs = case.inputs(size, Source(device))
    moved, flops = case.moved(inputs), case.flops(inputs) if case.flops else 0
    taken = seconds(lambda: case.launch(**inputs), device, runs)
    least = max(moved / roofs.copy, flops / roofs.product)
    return Measurement(case.name, taken * 1e6, moved / taken / 1e9, flops / taken / 1e12, least / taken)


def used_on(cases: tuple[Case, ...], device: torch.device) -> tuple[Case, ...]:
    """Those for the card at hand, or for the newest one before it; all of them on a CPU."""
    if device.type == "cpu":
        return cases
    major, minor = torch.cuda.get_device_capability(device)
    arch = max((arch for case in cases for arch in case.archs if arch <= 10 * major + minor), default=None)
    return tuple(case for case in cases if arch in case.archs)


def the_card() -> tuple[torch.device, Roofs] | None:
    """The GPU at hand and its ceilings, both said; None, said too, if there is none."""
    if not torch.cuda.is_available():
        print("bench: needs a GPU; without one, see python -m tools.kernels_check")
        return None
    device = torch.device("cuda")
    roofs = ceilings(device)
    name = torch.cuda.get_device_name(device)
    print(f"{name}: {roofs.copy / 1e9:.0f} GB/s, {roofs.product / 1e12:.0f} TFLOP/s, both measured")
    return device, roofs


def main(cases: tuple[Case, ...]) -> int:
    found = the_card()
    if found is None:
        return 2
    device, roofs = found
    for case in used_on(cases, device):
        print(measure(case, device, roofs), flush=True)
    return 0
