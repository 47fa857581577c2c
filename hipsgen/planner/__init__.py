"""What is to be built: options, recipe, jobs, a sample of the coadds, blocks of work."""
