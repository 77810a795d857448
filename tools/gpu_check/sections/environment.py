"""The card, the versions, and what the card itself reaches: the ceilings that all other figures are a share of.

Read: the best of a sum, a product of a matrix and a vector, and a dot product, over buffers far larger than the cache;
where the copy moves more bytes in a second than all of these read, the copy is the ceiling. Matmul: the best of three
square products of random bfloat16 numbers (zeros run faster).
"""

import importlib.metadata
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from tools.gpu_check.ceiling import Roofs
from tools.gpu_check.job import Job

BUFFERS, DRY_BUFFERS = (1 << 30, 4 << 30), (1 << 16, 1 << 17)  # bytes
SIDES, DRY_SIDES = (4096, 8192, 16384), (32, 64)
RUNS = 15
PACKAGES = ("torch", "triton", "transformers", "numpy", "safetensors", "redis", "orjson", "aiohttp", "uvloop")


def run(job: Job) -> None:
    job.row("card", job.card.describe())
    job.row("versions", {name: _version(name) for name in PACKAGES} | {"cuda": torch.version.cuda or "none"})
    job.row("machine", {"cores": len(os.sched_getaffinity(0)), "GiB in use on the card": job.card.memory()})
    measure(job)


def roofs(job: Job) -> Roofs:
    """As the section `environment` found them in this run; measured now if it was left out."""
    found = tuple(job.known("environment", name, rate) for name, rate in (("read", "GB/s"), ("matmul", "TFLOP/s")))
    if found[0] is None or found[1] is None:
        return measure(job)
    return Roofs(found[0] * 1e9, found[1] * 1e12)


def measure(job: Job) -> Roofs:
    """Told as three rows."""
    buffers = DRY_BUFFERS if job.settings.dry else BUFFERS
    copied, copy_name = max((_rate(job, run, moved), name) for name, run, moved in _copies(job, buffers))
    job.row("copy", {"GB/s": copied / 1e9}, f"read and written bytes, {copy_name}")
    read, read_name = max((_rate(job, run, moved), name) for name, run, moved in _reads(job, buffers))
    if read < copied:
        read, read_name = copied, f"the copy; the best that only reads is {read_name} with {read / 1e9:.0f} GB/s"
    job.row("read", {"GB/s": read / 1e9}, read_name)
    sides = DRY_SIDES if job.settings.dry else SIDES
    product, side = max((_rate(job, run, 2 * side**3), side) for side, run in _products(job, sides))
    job.row("matmul", {"TFLOP/s": product / 1e12}, f"bfloat16, {side} x {side} x {side}, random numbers")
    job.say(f"copy {copied / 1e9:.0f} GB/s, read {read / 1e9:.0f} GB/s, matmul {product / 1e12:.1f} TFLOP/s")
    return Roofs(read, product)


Timed = tuple[str, Callable[[], Any], int]  # a name, what to run, bytes moved


def _rate(job: Job, run: Callable[[], Any], amount: int) -> float:
    return amount / job.card.seconds(run, RUNS)


def _copies(job: Job, buffers: tuple[int, ...]) -> Iterator[Timed]:
    for size in buffers:
        source = torch.ones(size, dtype=torch.uint8, device=job.card.device)
        target = torch.empty_like(source)
        yield f"{size >> 20} MiB", partial(target.copy_, source), 2 * size


def _reads(job: Job, buffers: tuple[int, ...]) -> Iterator[Timed]:
    """torch's own kernels; what each writes is next to nothing."""
    for size in buffers:
        mib, numbers = f"{size >> 20} MiB", torch.randn(size // 4, device=job.card.device)
        half = numbers.view(torch.bfloat16)
        wide, vector = half.view(-1, 4096), torch.ones(4096, dtype=torch.bfloat16, device=job.card.device)
        first, second = numbers.chunk(2)
        yield f"sum of float32, {mib}", numbers.sum, size
        yield f"matrix of bfloat16 by vector, {mib}", partial(wide.mv, vector), size
        yield f"dot product of float32, {mib}", partial(first.dot, second), size


def _products(job: Job, sides: tuple[int, ...]) -> Iterator[tuple[int, Callable[[], Any]]]:
    for side in sides:
        a, b = (torch.randn(side, side, device=job.card.device, dtype=torch.bfloat16) for _ in range(2))
        yield side, partial(torch.matmul, a, b)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not there"
