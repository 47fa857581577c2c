"""`python -m tests.torture KILLS`: as many kills as asked for, with threads and with processes."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.run.test_build import images
from tests.torture.campaign import Campaign

_ENGINES = ("threads", "processes")


def main() -> int:
    """Print how it goes; 1 when something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--order", default="10")
    asked = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        images(Path(scratch, "in"))
        for engine in _ENGINES:
            options = ("--order", asked.order)
            campaign = Campaign(Path(scratch, "in"), Path(scratch, engine), engine, options)
            outcome = campaign.run(asked.kills // len(_ENGINES), asked.seed, lambda t: print(t))
            print(f"{engine}: {outcome}", *outcome.wrong, sep="\n")
            wrong += len(outcome.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
