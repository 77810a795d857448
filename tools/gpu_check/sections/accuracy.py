"""Every configuration of one kernel on the card against its reference in float64, on random inputs of a middle size.

Two bounds: the error's norm over the reference's, and the largest single error over the reference's root mean square,
so that one wrong element among many is seen. Whole numbers must be equal. Memory that a launcher takes for its outputs
holds NaN before, so what is never written shows.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kernels._bench import used_on
from kernels._case import Case, Size, Source
from tools.gpu_check.job import Failed, Job
from tools.gpu_check.report import Value

MIDDLE, DRY = Size(96, 700), Size(3, 33)
# Of (the norm, the largest single one), by the outputs' dtype: a few roundings of it.
BOUNDS = {torch.float32: (2e-5, 2e-3), torch.float16: (2e-3, 0.05), torch.bfloat16: (1e-2, 0.2)}
POISON = (1 << 28, 1 << 19, 1 << 15)  # bytes: of each kind of block that torch's allocator keeps


def run(job: Job) -> None:
    cases = used_on(importlib.import_module(f"kernels.{job.part}.cases").CASES, job.card.device)
    if job.settings.dry:  # the interpreter is slow, and multiplies bfloat16 wrongly
        cases = tuple(case for case in cases if case.name.endswith("-small"))
    wrong = []
    for case in cases:
        figures = compare(case, DRY if job.settings.dry else MIDDLE, job.card.device)
        job.row(case.name, figures)
        if not figures["agrees"]:
            wrong.append(case.name)
    job.say(f"{job.part}: {len(cases) - len(wrong)} of {len(cases)} configurations agree")
    if wrong:
        raise Failed(f"does not agree with float64: {', '.join(wrong)}")


def compare(case: Case, size: Size, device: torch.device) -> dict[str, Value]:
    inputs = case.inputs(size, Source(device))
    wanted = case.reference(**in_float64(inputs))
    _poison(device)
    got = case.launch(**inputs)
    errors = [error(one, other) for one, other in zip(got, wanted, strict=True)]
    return {
        "agrees": all(agrees for _, _, agrees in errors),
        "relative error": max(norm for norm, _, _ in errors),
        "largest error": max(largest for _, largest, _ in errors),
    }


def error(got: Tensor, wanted: Tensor) -> tuple[float, float, bool]:
    """(of the norm, of the largest single one, whether both are within bounds); of whole numbers the share that
    differs, twice."""
    if not got.is_floating_point():
        share = float((got != wanted.to(got.dtype)).double().mean()) if got.numel() else 0.0
        return share, share, share == 0.0
    exact, found = wanted.double(), got.double()
    hidden = exact.isinf() & (exact == found)  # what is masked out is so in both
    apart = torch.where(hidden, 0.0, found - exact)
    exact = torch.where(hidden, 0.0, exact)
    scale = float(exact.norm()) or 1.0
    norm = float(apart.norm()) / scale
    largest = float(apart.abs().max()) / (scale / exact.numel() ** 0.5) if apart.numel() else 0.0
    most, most_single = BOUNDS[got.dtype]
    return norm, largest, norm <= most and largest <= most_single  # NaN is neither


def in_float64(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The same values in memory of their own: launchers change some of theirs in place."""

    def copied(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.double() if value.is_floating_point() else value.clone()

    return {name: copied(value) for name, value in inputs.items()}


def _poison(device: torch.device) -> None:
    """Freed at once, and given to whoever asks next."""
    for size in POISON:
        torch.full((size // 4,), float("nan"), device=device)
