"""A small form of the campaign `python -m tests.damage`."""

from pathlib import Path

from tests.damage.campaign import campaign


def test_builds_with_damaged_files_keep_the_undamaged_image(tmp_path: Path):
    outcome = campaign(2, 1, tmp_path)
    assert not outcome.wrong, outcome.wrong
