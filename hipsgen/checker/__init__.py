"""Check a survey against the HiPS standard, against itself and against its coadds."""
