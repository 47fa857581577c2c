"""Profiles of Hypothesis: number of examples, chosen by HYPOTHESIS_PROFILE (default: dev).

dev is for the desk, ci for `make test` and wherever CI is set, nightly for a search at leisure,
which has other examples each time.
"""

import os

from hypothesis import settings

EXAMPLES = {"dev": 20, "ci": 100, "nightly": 500}


def load() -> None:
    """Register the profiles and load the one that the environment asks for."""
    for name, count in EXAMPLES.items():
        # no deadline: compiling a kernel takes seconds
        seeded = name != "nightly"
        settings.register_profile(name, max_examples=count, deadline=None, derandomize=seeded)
    wanted = os.environ.get("HYPOTHESIS_PROFILE")
    settings.load_profile(wanted or ("ci" if os.environ.get("CI") else "dev"))


def examples(times: float) -> settings:
    """Return settings with a multiple of the profile's number of examples."""
    return settings(max_examples=max(1, round(times * settings().max_examples)))
