"""Tests of the numbers: hipsgen.sky."""

import numpy as np

from hipsgen.sky import resample
from tests import naive
from tests.profiles import examples

SEEDED = examples(0.6)


def weights_of(interpolation: str) -> naive.Weights:
    """The weights with which the kernels sample."""
    polynomials = resample.polynomials(interpolation).astype(float)
    return lambda fraction: [np.polynomial.Polynomial(p)(fraction) for p in polynomials]
