"""What the loops of a CPU compute with: numbers of two widths, e^x, and the inner part of a matrix product."""

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels._loops import helper

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


@intrinsic
def widen(context, x):
    """float32 of an element: of the bits of a bfloat16, or as it is."""

    def generate(codegen, builder, signature, values):
        if signature.args[0] == types.float32:
            return values[0]
        return builder.bitcast(builder.shl(builder.zext(values[0], _I32), ir.Constant(_I32, 16)), _F32)

    return types.float32(x), generate


@intrinsic
def narrow(context, x, like):
    """A float32 as the kind of element that `like` is; to the nearest, a tie to the even one."""

    def generate(codegen, builder, signature, values):
        if signature.return_type == types.float32:
            return values[0]
        bits = builder.bitcast(values[0], _I32)
        odd = builder.and_(builder.lshr(bits, ir.Constant(_I32, 16)), ir.Constant(_I32, 1))
        rounded = builder.add(bits, builder.add(odd, ir.Constant(_I32, 0x7FFF)))
        return builder.trunc(builder.lshr(rounded, ir.Constant(_I32, 16)), ir.IntType(16))

    return like(types.float32, like), generate


@intrinsic
def _bits(context, x):
    return types.int32(types.float32), lambda codegen, builder, signature, values: builder.bitcast(values[0], _I32)


@intrinsic
def of_bits(context, bits):
    """The float32 of these bits, as int32."""

    def generate(codegen, builder, signature, values):
        return builder.bitcast(values[0], _F32)

    return types.float32(types.int32), generate


@intrinsic
def larger(context, a, b):
    """The maximum of two float32; Numba's own minds NaN, and so keeps a loop of them from becoming vectors."""

    def generate(codegen, builder, signature, values):
        maximum = builder.module.declare_intrinsic("llvm.maxnum", [_F32], ir.FunctionType(_F32, [_F32, _F32]))
        return builder.call(maximum, values, fastmath=("nnan", "nsz"))

    return types.float32(types.float32, types.float32), generate


@helper
def exp(x):
    """e^x of a float32 to 5 ulp, without a call, so that a loop of them becomes vectors. Below -87 it is that of -87.

    x = n log 2 + f with |f| <= log(2) / 2, and e^f by its Taylor polynomial.
    """
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    f = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)  # log 2 in two parts (Cody, Waite 1980)
    p = np.float32(1 / 5040)
    for factor in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        p = p * f + np.float32(factor)
    return p * of_bits((np.int32(n) + np.int32(127)) << np.int32(23))  # 2^n by its exponent


@helper
def log(x):
    """Natural logarithm of a positive, normal float32 to 2 ulp, near 1 too; as in `_math`, which has it for Triton.

    x = 2^e (1 + f) with 1 + f near 1, and log(1 + f) = 2 artanh(f / (2 + f)) by its series.
    """
    bits = _bits(x)
    e = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    f = of_bits(bits - (e << np.int32(23))) - np.float32(1)  # in [sqrt(1/2) - 1, sqrt(2) - 1)
    s = f / (f + np.float32(2))
    z = s * s
    tail = z * (np.float32(1 / 3) + z * (np.float32(1 / 5) + z * (np.float32(1 / 7) + z * np.float32(1 / 9))))
    return np.float32(e) * np.float32(0.6931471805599453) + (np.float32(2) * s + np.float32(2) * s * tail)


def _ask(builder, place):
    """Ask for the cache line that `place` points into: for reading, into every level, of data."""
    line = builder.bitcast(place, ir.IntType(8).as_pointer())
    name, shape = "llvm.prefetch.p0", ir.FunctionType(ir.VoidType(), [line.type, _I32, _I32, _I32])
    function = builder.module.globals.get(name) or ir.Function(builder.module, shape, name)
    builder.call(function, [line, *(ir.Constant(_I32, flag) for flag in (0, 3, 1))])


@intrinsic
def prefetch(context, array, index):
    """Ask for the cache line that holds `array[index]`, of one dimension."""

    def generate(codegen, builder, signature, values):
        kind = signature.args[0]
        data = codegen.make_array(kind)(codegen, builder, values[0]).data
        _ask(builder, builder.gep(data, [values[1]]))
        return codegen.get_dummy_value()

    return types.void(array, types.intp), generate


# Of a vector of float32, and how many vectors a core holds: AVX-512, else AVX2.
LANES, REGISTERS = (16, 32) if torch.backends.cpu.get_cpu_capability() == "AVX512" else (8, 16)
PAIRED = REGISTERS == 16  # bfloat16 is widened two by two; of AVX-512 that was not measured


def _many(numbers, kind=_I32):
    return ir.Constant(ir.VectorType(kind, len(numbers)), numbers)


def _splat(builder, x, lanes):
    lane = builder.insert_element(ir.Constant(ir.VectorType(_F32, lanes), ir.Undefined), x, ir.Constant(_I32, 0))
    return builder.shuffle_vector(lane, lane, _many([0] * lanes))


def _wide(builder, place, lanes):
    """Vector of float32 of as many bfloat16."""
    bits = builder.load(builder.bitcast(place, ir.VectorType(ir.IntType(16), lanes).as_pointer()), align=2)
    bits = builder.shl(builder.zext(bits, ir.VectorType(_I32, lanes)), _many([16] * lanes))
    return builder.bitcast(bits, ir.VectorType(_F32, lanes))


def _wide_pair(builder, place, lanes):
    """Two vectors of twice as many bfloat16, those at even places and those at odd ones: a shift and a mask, where in
    their order each vector takes a move across the lanes and a shift."""
    both = builder.load(builder.bitcast(place, ir.VectorType(_I32, lanes).as_pointer()), align=2)
    vector = ir.VectorType(_F32, lanes)
    even = builder.bitcast(builder.shl(both, _many([16] * lanes)), vector)
    return even, builder.bitcast(builder.and_(both, _many([0xFFFF0000] * lanes)), vector)


def _apart(builder, vectors):
    """Of neighbouring vectors: the elements at even places, and those at odd ones."""
    lanes = vectors[0].type.count
    places = range(2 * lanes)
    return [builder.shuffle_vector(*vectors, _many([*places[odd::2]])) for odd in (0, 1)]


def _together(builder, vectors):
    """What `_apart` has taken apart."""
    lanes = vectors[0].type.count
    places = [place for lane in range(lanes) for place in (lane, lanes + lane)]
    return [builder.shuffle_vector(*vectors, _many(part)) for part in (places[:lanes], places[lanes:])]


def _by_pairs(builder, change, vectors):
    return [one for i in range(0, len(vectors), 2) for one in change(builder, vectors[i : i + 2])]


@intrinsic(prefer_literal=True)
def multiply(context, c, c_stride, a, a_stride, b, b_stride, inner, rows, columns, parts, adds, soon):
    """c [rows, columns] = a [rows, inner] b [inner, columns], or += if `adds`; c and a float32, b any kind of element.

    The inner loop of a matrix product: what is summed stays in registers (Goto, van de Geijn: "Anatomy of
    High-Performance Matrix Multiplication", 2008). `rows`, `columns` and `parts` are constants. Each sum is made in
    `parts` parts, of every so many products, as an addition must wait for the one before; `inner` is a multiple. What
    will be read like b next, `soon`, is asked for meanwhile, unless it is None.
    """
    width, parts_of = columns.literal_value, parts.literal_value
    lanes = LANES if width % LANES == 0 else width
    tile = [(row, column) for row in range(rows.literal_value) for column in range(0, width, lanes)]
    vector = ir.VectorType(_F32, lanes)

    def generate(codegen, builder, signature, values):
        data = {}
        for name, place in (("c", 0), ("a", 2), ("b", 4), ("soon", 11)):
            kind = signature.args[place]
            if kind == types.none:
                continue
            data[name] = codegen.make_array(kind)(codegen, builder, values[place]).data
        c_stride, a_stride, b_stride, inner, adds = (values[place] for place in (1, 3, 5, 6, 10))
        zero, step = ir.Constant(_I64, 0), ir.Constant(_I64, parts_of)
        halves = signature.args[4].dtype != types.float32
        paired = halves and PAIRED and width % (2 * lanes) == 0  # then sums are of columns at even and at odd places

        def at(stride, row, column):
            return builder.add(builder.mul(stride, row), ir.Constant(_I64, column))

        def place_of(name, index):
            return builder.bitcast(builder.gep(data[name], [index]), vector.as_pointer())

        def line_of_b(row):
            """All columns of a row, as vectors."""
            places = [builder.gep(data["b"], [at(b_stride, row, column)]) for column in range(0, width, lanes)]
            if paired:
                return [one for place in places[::2] for one in _wide_pair(builder, place, lanes)]
            if halves:
                return [_wide(builder, place, lanes) for place in places]
            return [builder.load(builder.bitcast(place, vector.as_pointer()), align=4) for place in places]

        targets = [place_of("c", at(c_stride, ir.Constant(_I64, row), column)) for row, column in tile]
        nothing = ir.Constant(vector, [0.0] * lanes)
        with builder.if_else(adds) as (then, otherwise):
            with then:
                before = [builder.load(target, align=4) for target in targets]
                before = _by_pairs(builder, _apart, before) if paired else before
                loaded = builder.block
            with otherwise:
                fresh = builder.block
        firsts = [builder.phi(vector) for _ in tile]
        for first, value in zip(firsts, before, strict=True):
            first.add_incoming(value, loaded)
            first.add_incoming(nothing, fresh)
        above, body, end = builder.block, builder.append_basic_block("step"), builder.append_basic_block("end")
        builder.branch(body)
        builder.position_at_end(body)
        k, sums = builder.phi(_I64), [[builder.phi(vector) for _ in tile] for _ in range(parts_of)]
        later: list[list[ir.Instruction]] = []
        for part, of in enumerate(sums):
            row_of_b = builder.add(k, ir.Constant(_I64, part))
            for column in range(0, width, 32 if halves else 16) if "soon" in data else ():
                _ask(builder, builder.gep(data["soon"], [at(b_stride, row_of_b, column)]))
            right = line_of_b(row_of_b)
            left = []
            for row in range(rows.literal_value):
                index = builder.add(builder.mul(a_stride, ir.Constant(_I64, row)), row_of_b)
                left.append(_splat(builder, builder.load(builder.gep(data["a"], [index]), align=4), lanes))
            products = [builder.fmul(x, y, flags=["contract"]) for x in left for y in right]
            later.append([builder.fadd(x, y, flags=["contract"]) for x, y in zip(of, products, strict=True)])
        following = builder.add(k, step)
        k.add_incoming(zero, above)
        k.add_incoming(following, body)
        for part, of in enumerate(sums):
            for total, first, more in zip(of, firsts, later[part], strict=True):
                total.add_incoming(nothing if part else first, above)
                total.add_incoming(more, body)
        builder.cbranch(builder.icmp_signed("<", following, inner), body, end)
        builder.position_at_end(end)
        totals = later[0]
        for more in later[1:]:
            totals = [builder.fadd(x, y) for x, y in zip(totals, more, strict=True)]
        for target, total in zip(targets, _by_pairs(builder, _together, totals) if paired else totals, strict=True):
            builder.store(total, target, align=4)
        return codegen.get_dummy_value()

    intp = types.intp
    return types.void(c, intp, a, intp, b, intp, intp, rows, columns, parts, types.boolean, soon), generate
