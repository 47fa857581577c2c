"""Spherical geometry, resampling and tile arithmetic on arrays; no files, no network."""
