"""Where coadds come from."""
