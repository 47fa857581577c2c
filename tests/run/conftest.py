import pytest


@pytest.fixture
def small_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A survey's own page has two small files, for tests that meet every call of every build."""
    files = {"index.html": b"<html></html>", "page/a.js": b"//"}
    monkeypatch.setattr("hipsgen.run.publish.page_files", lambda: iter(files.items()))
