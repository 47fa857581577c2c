"""Running a build: engines, interrupts and progress reports."""
