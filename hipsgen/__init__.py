"""hipsgen: from coadded sky images to a HiPS survey."""

__version__ = "0.1.0"
