"""Tests of the numbers: hipsgen.sky."""

import numpy as np
from hypothesis import settings

from hipsgen.sky import resample
from tests import naive

# the same examples on every run, and no deadline: compiling a kernel takes seconds
SEEDED = settings(derandomize=True, deadline=None, max_examples=60)


def weights_of(interpolation: str) -> naive.Weights:
    """The weights with which the kernels sample."""
    polynomials = resample.polynomials(interpolation).astype(float)
    return lambda fraction: [np.polynomial.Polynomial(p)(fraction) for p in polynomials]
