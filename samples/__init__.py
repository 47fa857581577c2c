"""A small, realistic sample Butler repository of Rubin-like coadds, made without the LSST stack.

Run `python -m samples REPO` from a checkout. `hipsgen` and `viewer` do not import this package.
"""
