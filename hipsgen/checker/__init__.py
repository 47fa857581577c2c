"""Looks over a finished survey: the standard, the survey itself, the coadds it was made of."""
