"""One survey or several, from their coadds to the last file: the life of a build."""
