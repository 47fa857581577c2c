"""Killed at random instants, a build ends as if it had not been."""

from pathlib import Path

import pytest

from tests.torture.scenes import scene


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_killed_build_ends_as_if_it_had_not_been(engine: str, tmp_path: Path):
    campaign = scene(tmp_path, engine, order=11)
    outcome = campaign.run(kills=8, seed=5)
    assert outcome.wrong == []
    assert sum(outcome.killed.values()) >= 8
