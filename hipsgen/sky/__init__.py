"""Numbers only: arrays in, arrays out; no files, no network."""
