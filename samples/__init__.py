"""A small, faithful sample Butler repository of Rubin-like coadds, made without the LSST stack.

`python -m samples REPO` from a checkout. Nothing in `hipsgen` or `viewer` imports this package.
"""
