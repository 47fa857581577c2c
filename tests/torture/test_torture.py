"""Killed at random instants, a build ends as if it had not been."""

from pathlib import Path

import pytest

from tests.run.test_build import images
from tests.torture.campaign import Campaign


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_killed_build_ends_as_if_it_had_not_been(engine: str, tmp_path: Path):
    images(tmp_path / "in")
    campaign = Campaign(tmp_path / "in", tmp_path / "out", engine, ("--order", "10"))
    outcome = campaign.run(kills=8, seed=5)
    assert outcome.wrong == []
    assert sum(outcome.killed.values()) >= 8
