"""Coadds: finding them in a Butler or in FITS files, and reading their pixels."""
