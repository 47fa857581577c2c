"""Build lifecycle: from coadds, or three surveys, to a published HiPS."""
