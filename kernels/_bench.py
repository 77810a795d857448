"""What a kernel reaches of the card: GB/s or TFLOP/s, and the share of what the same card copies or multiplies.

Every case runs at FULL size: a case whose arithmetic takes longer than its traffic is measured in TFLOP/s, the others
in GB/s. Between two runs as much is written as the L2 cache holds, so nothing is found in it that a step would not.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch

from kernels._case import FULL, Case, Source

RUNS, WARM = 30, 5
FLUSH = 256 << 20  # bytes; no card's L2 is larger


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Median of RUNS runs, by CUDA events."""
    flush = torch.empty(FLUSH, dtype=torch.int8, device=device)
    taken: list[float] = []
    for turn in range(WARM + RUNS):
        flush.zero_()
        begin, end = (torch.Event(device, enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        if turn >= WARM:
            taken.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(taken)


def ceilings(device: torch.device) -> tuple[float, float]:
    """(bytes per second of a copy, read and write counted; operations per second of a bf16 product)."""
    source = torch.empty(1 << 30, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    a = torch.randn(8192, 8192, dtype=torch.bfloat16, device=device)
    copied = 2 * source.numel() / seconds(lambda: target.copy_(source), device)
    return copied, 2 * 8192**3 / seconds(lambda: a @ a, device)


def measure(case: Case, device: torch.device, roofs: tuple[float, float]) -> str:
    """One line."""
    inputs = case.inputs(FULL, Source(device))
    moved, flops = case.moved(inputs), case.flops(inputs) if case.flops else 0
    taken = seconds(lambda: case.launch(**inputs), device)
    least = max(moved / roofs[0], flops / roofs[1])
    rate = (
        f"{flops / taken / 1e12:8.1f} TFLOP/s" if flops / roofs[1] == least else f"{moved / taken / 1e9:8.1f} GB/s   "
    )
    return f"{case.name:42} {taken * 1e6:9.1f} us {rate} {least / taken:6.1%} of the roofline"


def main(cases: tuple[Case, ...]) -> int:
    if not torch.cuda.is_available():
        print("bench: needs a GPU; without one, see python -m tools.kernels_check")
        return 2
    device = torch.device("cuda")
    major, minor = torch.cuda.get_device_capability(device)
    arch = max((arch for case in cases for arch in case.archs if arch <= 10 * major + minor), default=None)
    roofs = ceilings(device)
    print(
        f"{torch.cuda.get_device_name(device)}: {roofs[0] / 1e9:.0f} GB/s, {roofs[1] / 1e12:.0f} TFLOP/s, both measured"
    )
    for case in cases:
        if arch in case.archs:
            print(measure(case, device, roofs), flush=True)
    return 0
