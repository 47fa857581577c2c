"""The coadds of a survey: provenance, pixels, statistics."""
