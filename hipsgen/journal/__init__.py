"""What is already built: records of blocks, the lease on an output folder, and changes since."""
