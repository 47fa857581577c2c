"""Tests of the numbers: hipsgen.sky."""

from hypothesis import settings

# the same examples on every run, and no deadline: compiling a kernel takes seconds
SEEDED = settings(derandomize=True, deadline=None, max_examples=60)
