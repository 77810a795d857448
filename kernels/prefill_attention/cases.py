"""The configurations of prefill_attention: each model's heads, block size and window, in both sizes of tile.

Of a mixed batch: every third row decodes, the others bring a third of their tokens on top of what is cached.
"""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from torch import Tensor

from kernels._case import ARCHS, Case, Outputs, Size, Source, nbytes, ragged
from kernels._shapes import SHAPES, Shape
from kernels.prefill_attention import kernel, reference


def _counts(size: Size) -> list[int]:
    return [1 if row % 3 == 0 else -(-length // 3) for row, length in enumerate(ragged(size))]


def _case(shape: Shape, arch: int, queries: int) -> Case:
    tile = kernel.choose_tile(arch, queries)

    def launch(**given: Any) -> Outputs:
        return (kernel.prefill_attention(**given, tile=tile),)

    def ref(**given: Any) -> Outputs:
        return (reference.prefill_attention(**given),)

    def inputs(size: Size, source: Source) -> dict[str, Any]:
        counts, width = _counts(size), -(-size.context // shape.block)
        firsts = [0, *accumulate(counts)]
        starts = [length - count for length, count in zip(ragged(size), counts, strict=True)]
        return {
            "q": source.normal(firsts[-1], shape.heads, shape.dim, dtype=shape.dtype),
            "cache": source.normal(size.rows * width, shape.block, 2, shape.kv_heads, shape.dim, dtype=shape.dtype),
            "tables": source.shuffled(size.rows * width).view(size.rows, width),
            "rows": source.shuffled(size.rows),
            "firsts": source.given(firsts),
            "starts": source.given(starts),
            "scale": shape.dim**-0.5,
            "window": shape.window and min(shape.window, size.context // 2),
        }

    def seen(a: Mapping[str, Any]) -> int:
        """Pairs of a query and a key that it sees."""
        size = Size(len(a["rows"]), a["tables"].shape[1] * shape.block)
        window = a["window"] or 1 << 30
        pairs = 0
        for length, count in zip(ragged(size), _counts(size), strict=True):
            pairs += sum(min(position + 1, window) for position in range(length - count, length))
        return pairs

    def moved(a: Mapping[str, Any]) -> int:
        q: Tensor = a["q"]
        keys = sum(ragged(Size(len(a["rows"]), a["tables"].shape[1] * shape.block)))
        return 2 * nbytes(q) + keys * 2 * shape.kv_heads * shape.dim * shape.dtype.itemsize

    name = f"prefill_attention-{tile[0]}x{tile[1]}-{shape.name}"
    archs = tuple(one for one in ARCHS if kernel.choose_tile(one, queries) == tile)
    return Case(name, launch, ref, inputs, moved, lambda a: 4 * seen(a) * shape.heads * shape.dim, archs)


CASES = tuple(_case(shape, arch, queries) for shape in SHAPES for arch in (80, 90) for queries in (64, 128))
