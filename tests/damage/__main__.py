"""`python -m tests.damage ROUNDS`: build surveys from damaged and hostile FITS files."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.damage.campaign import campaign


def main() -> int:
    """Run the campaign, print its outcome, and return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=50)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        outcome = campaign(asked.rounds, asked.seed, Path(scratch))
    print(outcome, *outcome.wrong, sep="\n")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
