"""Powers, logarithms and normal numbers whose every bit is the same on every processor.

IEEE 754 fixes the result of + - * / and of the square root to the last bit. It leaves exp, log, pow, sin and their like
open, and numpy and BLAS take other code for them on a processor with AVX-512 than on one without, with other last bits.
So what a data set stores of mocks, of binned spectra and as text is computed with the five operations above and with
the functions of this file, which use nothing else.
"""

import math

import numpy as np

LN_10 = 2.302585092994046
_LOG2_10 = 3.321928094887362
_LOG10_2 = 0.301029995663157, 8.241712586023572e-13  # whose sum is log10(2); a whole number times the first is exact
_EXP = [1 / math.factorial(n) for n in range(13, -1, -1)]  # Taylor series of exp
_ATANH = [1 / n for n in range(23, 0, -2)]  # of atanh(s) / s in s squared


def exp10(x) -> np.ndarray:
    """10 to the power of `x`, a float or an array, to a relative 3e-16."""
    power = np.rint(x * _LOG2_10)  # 10**x = 2**power * e**rest
    rest = ((x - power * _LOG10_2[0]) - power * _LOG10_2[1]) * LN_10
    result = _EXP[0]
    for coefficient in _EXP[1:]:
        result = result * rest + coefficient
    return np.ldexp(result, power.astype(np.int64))


def exp(x) -> np.ndarray:
    """The exponential function of `x`, a float or an array; its relative error grows with the size of `x`."""
    return exp10(x / LN_10)


def gaussian(x) -> np.ndarray:
    """A Gaussian of height 1 at `x` sigma from its centre."""
    return exp(-0.5 * x * x)


def log10(x) -> np.ndarray:
    """Logarithm to base 10 of `x`, a float or an array above 0."""
    mantissa, power = np.frexp(x)  # from 0.5 to 1
    small = mantissa < 0.7
    mantissa, power = np.where(small, 2 * mantissa, mantissa), power - small
    ratio = (mantissa - 1) / (mantissa + 1)
    square, series = ratio * ratio, 0.0
    for coefficient in _ATANH:
        series = series * square + coefficient
    return power * _LOG10_2[0] + (power * _LOG10_2[1] + 2 / LN_10 * ratio * series)


def arcsinh(x) -> np.ndarray:
    """Inverse hyperbolic sine of an array `x`."""
    size = np.abs(x)
    return np.copysign(LN_10 * log10(size + np.sqrt(size * size + 1)), x)


def normal(rng, mean=0.0, sigma=1.0, size=None) -> np.ndarray:
    """Normally distributed numbers from a numpy Generator, in steps of 1e-5 sigma.

    One in 3,700 of numpy's own is computed by the C library's logarithm, so its last bits depend on the machine.
    """
    return mean + sigma * np.round(rng.standard_normal(size), 5)
