"""How a kernel is compared with its reference."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

CPU = torch.device("cpu")
# The interpreter cuts where a GPU rounds, so one rounding is a whole unit in the last place.
ONE_ROUNDING = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float64: 0.0}


def in_float64(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, in memory of their own."""
    return {name: _copy(value) for name, value in inputs.items()}


def _copy(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.double() if value.is_floating_point() else value.clone()


def in_half(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """bfloat16 becomes float16: in `tl.dot` the interpreter would multiply the bit patterns of bfloat16."""
    return {
        name: value.half() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value
        for name, value in inputs.items()
    }


def assert_agrees(got: Tensor, want: Tensor, absolute: float = 0.1, roundings: int = 1) -> None:
    """`absolute` is in roundings of 1: sums of terms that cancel need a whole one."""
    if not got.is_floating_point():
        assert torch.equal(got, want.to(got.dtype))
        return
    tol = ONE_ROUNDING[got.dtype] * roundings
    torch.testing.assert_close(got.double(), want.double(), rtol=tol, atol=tol * absolute)


def framed(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(a tensor, a view that leaves out its first and last row): all NaN, or -7 where there is no NaN."""
    fill = float("nan") if dtype.is_floating_point else -7
    whole = torch.full((shape[0] + 2, *shape[1:]), fill, dtype=dtype)
    return whole, whole[1:-1]


def frame_is_whole(whole: Tensor) -> bool:
    guards = whole[[0, -1]]
    return bool(guards.isnan().all() if whole.is_floating_point() else (guards == -7).all())
