"""`python -m hipsgen`."""

from hipsgen.cli import main

main()
