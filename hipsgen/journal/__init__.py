"""What is done: records of blocks, the lease on an output, what changed since."""
