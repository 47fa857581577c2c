"""`python -m tests.torture KILLS`: kill builds of several kinds KILLS times."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.torture.campaign import Campaign
from tests.torture.scenes import color_scene, scene


def main() -> int:
    """Run the campaigns, print their progress, and return 1 if there was an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        campaigns: dict[str, Campaign] = {
            "threads": scene(Path(scratch, "threads"), "threads"),
            "processes": scene(Path(scratch, "processes"), "processes"),
            "three bands and a color": color_scene(Path(scratch, "color")),
        }
        for name, campaign in campaigns.items():
            outcome = campaign.run(-(-asked.kills // len(campaigns)), asked.seed, print)
            print(f"{name}: {outcome}", *outcome.wrong, sep="\n")
            wrong += len(outcome.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
