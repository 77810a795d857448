"""What several kernels compute with: an exact logarithm, and the order of float32 numbers as integers."""

import triton
import triton.language as tl


@triton.jit
def log(x):
    """Natural logarithm of a positive, normal float32 to 2 ulp, near 1 too, where the GPU's own loses all its digits.

    x = 2^e (1 + f) with 1 + f near 1, and log(1 + f) = 2 artanh(f / (2 + f)) by its series.
    """
    bits = x.to(tl.int32, bitcast=True)
    e = (bits - 0x3F3504F3) >> 23
    f = (bits - (e << 23)).to(tl.float32, bitcast=True) - 1.0  # in [sqrt(1/2) - 1, sqrt(2) - 1)
    s = tl.math.div_rn(f, f + 2.0)
    z = s * s
    tail = z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0))))
    return e.to(tl.float32) * 0.6931471805599453 + (2.0 * s + 2.0 * s * tail)


@triton.jit
def ordered(x):
    """int32 that orders as the float32 x does; its own inverse on the bits."""
    bits = x.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def unordered(key):
    return (key ^ ((key >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)
