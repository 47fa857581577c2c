"""A build that was killed at random times gives the same survey as an uninterrupted one."""

from pathlib import Path

import pytest

from tests.torture.scenes import scene


@pytest.mark.parametrize(("engine", "kills", "width"), [("threads", 8, 512), ("processes", 5, 64)])
def test_a_killed_build_ends_as_if_it_had_not_been(
    engine: str, kills: int, width: int, tmp_path: Path
):
    """`make torture` has hundreds of them."""
    campaign = scene(tmp_path, engine, 11, width)
    outcome = campaign.run(kills, seed=5)
    assert outcome.wrong == []
    assert sum(outcome.killed.values()) >= kills
