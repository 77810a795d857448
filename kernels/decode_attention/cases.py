"""The configurations of decode_attention: each model's heads, block size and window, over rows of ragged lengths."""

from collections.abc import Mapping
from typing import Any

import torch

from kernels._case import Case, Outputs, Size, Source, ragged
from kernels._shapes import SHAPES, Shape
from kernels.decode_attention import kernel, reference

SMS = 132  # of an H100 or H200


def programs_on(device: torch.device, kv_heads: int) -> int:
    """Five in the interpreter; as for an H200 where there is no card."""
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        return kernel.choose_programs(card.multi_processor_count, kv_heads, 10 * card.major + card.minor)
    return 5 if device.type == "cpu" else kernel.choose_programs(SMS, kv_heads)


def cut(given: Mapping[str, Any], programs: int, tiling: kernel.Tiling) -> dict[str, Any]:
    """The same launch with its work cut in another way."""
    q, lengths = given["q"], given["lengths"]
    offsets = kernel.plan_decode(lengths, given["window"], keys=tiling.keys)
    scratch = kernel.decode_scratch(programs, q.shape[0], q.shape[1], q.shape[2], q.device)
    return {**given, "offsets": offsets, "scratch": scratch, "programs": programs, "tiling": tiling}


def _launch(**given: Any) -> Outputs:
    return (kernel.decode_attention(**given),)


def _reference(**given: Any) -> Outputs:
    names = ("q", "cache", "tables", "rows", "lengths", "scale", "window")
    return (reference.decode_attention(**{name: given[name] for name in names}),)


def _case(shape: Shape) -> Case:
    def inputs(size: Size, source: Source) -> dict[str, Any]:
        width = -(-size.context // shape.block)
        given = {
            "q": source.normal(size.rows, shape.heads, shape.dim, dtype=shape.dtype),
            "cache": source.normal(size.rows * width, shape.block, 2, shape.kv_heads, shape.dim, dtype=shape.dtype),
            "tables": source.shuffled(size.rows * width).view(size.rows, width),
            "rows": source.shuffled(size.rows),
            "lengths": source.given(ragged(size)),
            "scale": shape.dim**-0.5,
            "window": shape.window and min(shape.window, size.context // 2),
        }
        return cut(given, programs_on(source.device, shape.kv_heads), kernel.choose_tiling(shape.dtype.itemsize))

    def moved(a: Mapping[str, Any]) -> int:
        rows, window = len(a["lengths"]), a["window"] or 1 << 30
        context = a["tables"].shape[1] * shape.block
        keys = sum(min(length, window) for length in ragged(Size(rows, context)))
        return (keys * 2 * shape.kv_heads + 2 * rows * shape.heads) * shape.dim * shape.dtype.itemsize

    return Case(f"decode_attention-{shape.name}", _launch, _reference, inputs, moved)


CASES = tuple(_case(shape) for shape in SHAPES)
