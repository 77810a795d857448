"""The configurations of decode_attention: each model's heads, block size and window, over rows of ragged lengths."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kernels._case import Case, Outputs, Size, Source, ragged
from kernels._shapes import SHAPES, Shape
from kernels.decode_attention import kernel, reference

SMS = 132  # of an H100 or H200: the part count is chosen once, from the card


def _launch(
    q: Tensor, cache: Tensor, tables: Tensor, rows: Tensor, lengths: Tensor, scale: float, window: int | None
) -> Outputs:
    programs = 3 * SMS // cache.shape[3] if q.device.type != "cpu" else 5
    scratch = kernel.decode_scratch(programs, q.shape[0], q.shape[1], q.shape[2], q.device)
    offsets = kernel.plan_decode(lengths, window)
    return (
        kernel.decode_attention(
            q, cache, tables, rows, lengths, offsets, scale, scratch, programs=programs, window=window
        ),
    )


def _reference(**given: Any) -> Outputs:
    return (reference.decode_attention(**given),)


def _case(shape: Shape) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        width = -(-size.context // shape.block)
        return {
            "q": source.normal(size.rows, shape.heads, shape.dim, dtype=shape.dtype),
            "cache": source.normal(size.rows * width, shape.block, 2, shape.kv_heads, shape.dim, dtype=shape.dtype),
            "tables": source.shuffled(size.rows * width).view(size.rows, width),
            "rows": source.shuffled(size.rows),
            "lengths": source.given(ragged(size)),
            "scale": shape.dim**-0.5,
            "window": shape.window and min(shape.window, size.context // 2),
        }

    def moved(a: Mapping[str, Any]) -> int:
        rows, window = len(a["lengths"]), a["window"] or 1 << 30
        context = a["tables"].shape[1] * shape.block
        keys = sum(min(length, window) for length in ragged(Size(rows, context)))
        return (keys * 2 * shape.kv_heads + 2 * rows * shape.heads) * shape.dim * shape.dtype.itemsize

    return Case(f"decode_attention-{shape.name}", _launch, _reference, inputs, moved)


CASES = tuple(_case(shape) for shape in SHAPES)
