"""The files of a HiPS survey: tiles, properties, coverage, provenance, and their storage."""
