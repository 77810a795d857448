"""What the loops of a CPU compute with: numbers of two widths, e^x, and the inner part of a matrix product."""

import numpy as np
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
def _float(context, bits):
    return types.float32(types.int32), lambda codegen, builder, signature, values: builder.bitcast(values[0], _F32)


@intrinsic
def larger(context, a, b):
    """The maximum of two float32; Numba's own minds NaN, and so keeps a loop of them from becoming vectors."""

    def generate(codegen, builder, signature, values):
        maximum = builder.module.declare_intrinsic("llvm.maxnum", [_F32], ir.FunctionType(_F32, [_F32, _F32]))
        return builder.call(maximum, values, fastmath=("nnan", "nsz"))

    return types.float32(types.float32, types.float32), generate


@helper
def exp(x):
    """e^x of a float32 to 2 ulp, without a call, so that a loop of them becomes vectors. Below -87 it is that of -87.

    x = n log 2 + f with |f| <= log(2) / 2, and e^f by its Taylor polynomial.
    """
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    f = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)  # log 2 in two parts (Cody, Waite 1980)
    p = np.float32(1 / 5040)
    for factor in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        p = p * f + np.float32(factor)
    return p * _float((np.int32(n) + np.int32(127)) << np.int32(23))  # 2^n by its exponent


@helper
def log(x):
    """Natural logarithm of a positive, normal float32 to 2 ulp, near 1 too; as in `_math`, which has it for Triton.

    x = 2^e (1 + f) with 1 + f near 1, and log(1 + f) = 2 artanh(f / (2 + f)) by its series.
    """
    bits = _bits(x)
    e = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    f = _float(bits - (e << np.int32(23))) - np.float32(1)  # in [sqrt(1/2) - 1, sqrt(2) - 1)
    s = f / (f + np.float32(2))
    z = s * s
    tail = z * (np.float32(1 / 3) + z * (np.float32(1 / 5) + z * (np.float32(1 / 7) + z * np.float32(1 / 9))))
    return np.float32(e) * np.float32(0.6931471805599453) + (np.float32(2) * s + np.float32(2) * s * tail)


@intrinsic
def prefetch(context, array, index):
    """Ask for the cache line that holds `array[index]`, of one dimension."""

    def generate(codegen, builder, signature, values):
        kind = signature.args[0]
        data = codegen.make_array(kind)(codegen, builder, values[0]).data
        line = builder.bitcast(builder.gep(data, [values[1]]), ir.IntType(8).as_pointer())
        name, flags = "llvm.prefetch.p0", (0, 3, 1)  # for reading, into every level, of data
        shape = ir.FunctionType(ir.VoidType(), [line.type, _I32, _I32, _I32])
        function = builder.module.globals.get(name) or ir.Function(builder.module, shape, name)
        builder.call(function, [line, *(ir.Constant(_I32, flag) for flag in flags)])
        return codegen.get_dummy_value()

    return types.void(array, types.intp), generate


ROWS, COLUMNS = 8, 32  # of what `multiply` makes at once: in registers as 8 x 2 vectors of 16 lanes
_VECTOR = ir.VectorType(_F32, 16)


@intrinsic
def multiply(context, c, c_stride, a, a_stride, b, b_stride, inner, adds):
    """c [ROWS, COLUMNS] = a [ROWS, inner] b [inner, COLUMNS], or += if `adds`; float32, in arrays of one dimension.

    The inner loop of a matrix product: what is summed stays in registers (Goto, van de Geijn: "Anatomy of
    High-Performance Matrix Multiplication", 2008). Vectors of 16 are whatever the machine has for them.
    """

    def generate(codegen, builder, signature, values):
        data = {}
        for name, place in (("c", 0), ("a", 2), ("b", 4)):
            kind = signature.args[place]
            data[name] = codegen.make_array(kind)(codegen, builder, values[place]).data
        c_stride, a_stride, b_stride, inner, adds = (values[place] for place in (1, 3, 5, 6, 7))
        zero, one = ir.Constant(_I64, 0), ir.Constant(_I64, 1)

        def vector_at(base, index):
            return builder.bitcast(builder.gep(data[base], [index]), _VECTOR.as_pointer())

        def places():
            for row in range(ROWS):
                start = builder.mul(c_stride, ir.Constant(_I64, row))
                for column in range(0, COLUMNS, 16):
                    yield vector_at("c", builder.add(start, ir.Constant(_I64, column)))

        targets = list(places())
        nothing = ir.Constant(_VECTOR, [0.0] * 16)
        with builder.if_else(adds) as (then, otherwise):
            with then:
                before = [builder.load(target, align=4) for target in targets]
                loaded = builder.block
            with otherwise:
                fresh = builder.block
        sums = []
        for value in before:
            phi = builder.phi(_VECTOR)
            phi.add_incoming(value, loaded)
            phi.add_incoming(nothing, fresh)
            sums.append(phi)
        above = builder.block
        step, end = builder.append_basic_block("step"), builder.append_basic_block("end")
        builder.cbranch(builder.icmp_signed("<", zero, inner), step, end)
        builder.position_at_end(step)
        k, totals = builder.phi(_I64), [builder.phi(_VECTOR) for _ in sums]
        row_of_b = builder.mul(k, b_stride)
        columns = range(0, COLUMNS, 16)
        right = [builder.load(vector_at("b", builder.add(row_of_b, ir.Constant(_I64, at))), align=4) for at in columns]
        summed: list[ir.Instruction] = []
        for row in range(ROWS):
            at = builder.add(builder.mul(a_stride, ir.Constant(_I64, row)), k)
            left = builder.load(builder.gep(data["a"], [at]), align=4)
            lane = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), left, ir.Constant(_I32, 0))
            left = builder.shuffle_vector(lane, lane, ir.Constant(ir.VectorType(_I32, 16), [0] * 16))
            for vector in right:
                product = builder.fmul(left, vector, flags=["contract"])
                summed.append(builder.fadd(totals[len(summed)], product, flags=["contract"]))
        following = builder.add(k, one)
        k.add_incoming(zero, above)
        k.add_incoming(following, step)
        for total, first, later in zip(totals, sums, summed, strict=True):
            total.add_incoming(first, above)
            total.add_incoming(later, step)
        builder.cbranch(builder.icmp_signed("<", following, inner), step, end)
        builder.position_at_end(end)
        results = [builder.phi(_VECTOR) for _ in targets]
        for target, result, first, later in zip(targets, results, sums, summed, strict=True):
            result.add_incoming(first, above)
            result.add_incoming(later, step)
            builder.store(result, target, align=4)
        return codegen.get_dummy_value()

    intp, flag = types.intp, types.boolean
    return types.void(c, intp, a, intp, b, intp, intp, flag), generate
