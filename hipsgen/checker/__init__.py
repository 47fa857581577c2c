"""Check a survey: conformance to the HiPS standard, consistency, agreement with its coadds."""
