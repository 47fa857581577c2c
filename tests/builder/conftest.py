import pytest


@pytest.fixture
def small_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a small page and a coarse preview, for tests that intercept every call of a build."""
    files = {"index.html": b"<html></html>", "page/a.js": b"//"}
    monkeypatch.setattr("hipsgen.builder.publish.page_files", lambda: iter(files.items()))
    monkeypatch.setattr("hipsgen.survey.preview._OVERSAMPLING", 1)
