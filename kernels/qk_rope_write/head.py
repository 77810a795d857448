"""One head of a query or key, normed and turned in registers.

Written out, as LLVM makes a chain of additions of a sum whose length it knows, and minds that arrays may overlap.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


@intrinsic(prefer_literal=True)
def turn(context, x, weight, turns, size, eps):
    """x [size], in place: its RMS norm times weight [size], unless that is None, then turned by turns [2 * size], which
    are cosines and signed sines: each half is x cos + (the other half) sin. All of one kind of element; eps float32.
    """
    length = size.literal_value
    lanes = next(lanes for lanes in (16, 8, 4, 2, 1) if length // 2 % lanes == 0)
    count, half = length // lanes, length // 2 // lanes

    def generate(codegen, builder, signature, values):
        kinds = signature.args[:3]
        data = [
            None if kind == types.none else codegen.make_array(kind)(codegen, builder, value).data
            for kind, value in zip(kinds, values[:3], strict=True)
        ]
        lines = _Lines(builder, lanes, halves=kinds[0].dtype != types.float32)
        normed = [lines.load(data[0], part) for part in range(count)]
        if data[1] is not None:
            scale = lines.scale(normed, length, values[4])
            weights = (lines.load(data[1], part) for part in range(count))
            normed = [builder.fmul(builder.fmul(line, scale), by) for line, by in zip(normed, weights, strict=True)]
        for part in range(count):
            kept = builder.fmul(normed[part], lines.load(data[2], part))
            other = builder.fmul(normed[part - half], lines.load(data[2], count + part), flags=["contract"])
            lines.store(data[0], part, builder.fadd(kept, other, flags=["contract"]))
        return codegen.get_dummy_value()

    return types.void(x, weight, turns, size, eps), generate


class _Lines:
    """Vectors of float32, from and to elements that may be the bits of bfloat16."""

    def __init__(self, builder, lanes: int, *, halves: bool) -> None:
        self._builder = builder
        self._lanes = lanes
        self._halves = halves
        self._floats, self._ints = ir.VectorType(_F32, lanes), ir.VectorType(_I32, lanes)
        self._element = ir.VectorType(ir.IntType(16), lanes) if halves else self._floats
        self._align = 2 if halves else 4

    def load(self, data, part: int):
        read = self._builder.load(self._place(data, part), align=self._align)
        if not self._halves:
            return read
        bits = self._builder.shl(self._builder.zext(read, self._ints), self._all(16))
        return self._builder.bitcast(bits, self._floats)

    def store(self, data, part: int, line) -> None:
        """To the nearest, a tie to the even one."""
        builder = self._builder
        if self._halves:
            bits = builder.bitcast(line, self._ints)
            odd = builder.and_(builder.lshr(bits, self._all(16)), self._all(1))
            bits = builder.add(bits, builder.add(odd, self._all(0x7FFF)))
            line = builder.trunc(builder.lshr(bits, self._all(16)), self._element)
        builder.store(line, self._place(data, part), align=self._align)

    def scale(self, lines, length: int, eps):
        """1 / sqrt(mean of squares + eps) in all lanes."""
        builder, total = self._builder, ir.Constant(self._floats, [0.0] * self._lanes)
        for line in lines:
            square = builder.fmul(line, line, flags=["contract"])
            total = builder.fadd(total, square, flags=["contract"])
        name, shape = f"llvm.vector.reduce.fadd.v{self._lanes}f32", ir.FunctionType(_F32, [_F32, self._floats])
        reduce = builder.module.globals.get(name) or ir.Function(builder.module, shape, name)
        squares = builder.call(reduce, [ir.Constant(_F32, 0.0), total], fastmath=("reassoc",))
        mean = builder.fadd(builder.fmul(squares, ir.Constant(_F32, 1 / length)), eps)
        root = builder.call(builder.module.declare_intrinsic("llvm.sqrt", [_F32]), [mean])
        lane = builder.insert_element(
            ir.Constant(self._floats, ir.Undefined), builder.fdiv(ir.Constant(_F32, 1.0), root), ir.Constant(_I32, 0)
        )
        return builder.shuffle_vector(lane, lane, self._all(0))

    def _place(self, data, part: int):
        place = self._builder.gep(data, [ir.Constant(_I64, part * self._lanes)])
        return self._builder.bitcast(place, self._element.as_pointer())

    def _all(self, number: int):
        return ir.Constant(self._ints, [number] * self._lanes)
