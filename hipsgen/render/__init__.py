"""Rendering of the tiles of a block from the pixels of its coadds."""
