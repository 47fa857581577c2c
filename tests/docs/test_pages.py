"""Every code block of the README and of the documentation is run, or says why it is not."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StarField
from tests.docs.pages import ROOT, Session, blocks_of, given_to, name_of, pages

pytestmark = pytest.mark.slow

# a new block that is not run is a decision: change this number with it
BLOCKS_NOT_RUN = 12

WITH_CODE = [page for page in pages() if any(not b.reason for b in blocks_of(page))]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two overlapping FITS images of one band."""
    folder = tmp_path_factory.mktemp("given") / "images"
    folder.mkdir()
    for number, ra in enumerate((150.1, 150.11), start=1):
        field = StarField(ra, 2.2, stars=[(200.2, 310.4, 1000.0), (401.3, 98.7, 500.0)])
        field.write(folder / f"field_{number}.fits", FILTER="r")
    return folder


@pytest.fixture
def give(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], None]:
    """Puts sample data into the folder of a page; the repository as a link, as it is only read."""

    def put(name: str) -> None:
        if name == "repo":
            (tmp_path / name).symlink_to(request.getfixturevalue("sample_repository"))
        else:
            fixture = {"hips": "sample_surveys", "images": "images"}[name]
            shutil.copytree(request.getfixturevalue(fixture), tmp_path / name)

    return put


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_code_runs(page: Path, give: Callable[[str], None], tmp_path: Path) -> None:
    for name in given_to(page):
        give(name)
    with Session(tmp_path) as session:
        for block in blocks_of(page):
            if not block.reason:
                session.run(block)


def test_blocks_that_are_not_run_are_counted() -> None:
    marked = [block for page in pages() for block in blocks_of(page) if block.reason]
    print(*marked, sep="\n")
    assert len(marked) == BLOCKS_NOT_RUN, "\n".join(map(str, marked))


def test_links_of_the_readme_lead_to_files() -> None:
    """Those of the site are checked by its build."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    assert inside
    assert [link for link in inside if not (ROOT / link).is_file()] == []
