"""Planning of a survey: options, recipe, jobs, a sample of the coadds, and blocks of work."""
