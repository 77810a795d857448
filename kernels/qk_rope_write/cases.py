"""The configurations of qk_rope_write: each model's heads, with its norm or without."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kernels._case import Case, Outputs, Size, Source, nbytes
from kernels._shapes import SHAPES, Shape
from kernels.qk_rope_write import kernel, reference
from kernels.rope import rope_table


def _launch(cache: Tensor, **given: Any) -> Outputs:
    return kernel.qk_rope_write(cache=cache, **given), cache


def _reference(cache: Tensor, **given: Any) -> Outputs:
    return reference.qk_rope_write(cache=cache, **given), cache


def _case(shape: Shape) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        heads, dim, dtype = shape.heads + shape.kv_heads, shape.dim, shape.dtype
        blocks = -(-size.rows * 2 // shape.block)
        turns = torch.linspace(1, 0.001, dim // 2, device=source.device)
        return {
            "qkv": source.normal(size.rows, (heads + shape.kv_heads) * dim, dtype=dtype),
            "cache": source.normal(blocks, shape.block, 2, shape.kv_heads, dim, dtype=dtype),
            "table": rope_table(turns, size.context, dtype),
            "positions": source.integers(0, size.context, size.rows),
            "slots": source.shuffled(blocks * shape.block)[: size.rows].long(),
            "weight": source.normal(heads, dim, dtype=dtype) if shape.qk_norm else None,
            "eps": 1e-6,
        }

    def moved(a: Mapping[str, Any]) -> int:
        return 2 * nbytes(a["qkv"], a["table"][: len(a["qkv"])]) - nbytes(a["table"][: len(a["qkv"])])

    return Case(f"qk_rope_write-{shape.name}", _launch, _reference, inputs, moved)


CASES = tuple(_case(shape) for shape in SHAPES)
