"""Docstrings of the public API: in numpydoc's form, and with examples that run."""

import doctest
from pathlib import Path

import pytest
from numpydoc.validate import validate

import hipsgen
import hipsgen.api
from tests.finished.make import write_coadd

# summaries may be longer than numpydoc's; See Also is for pages, not for every function; a class
# documents its parameters as attributes
LEFT_OUT = {"ES01", "SA01", "GL01", "GL02", "GL03", "SS05", "SS06", "RT03", "RT05", "PR01", "EX01"}
FUNCTIONS = [name for name in hipsgen.__all__ if name.islower()]
METHODS = [
    "hipsgen.Survey.cutout",
    "hipsgen.Survey.coadds_at",
    "hipsgen.Survey.tile",
    "hipsgen.CoaddList.save",
    "hipsgen.CoaddList.to_table",
]
FUNCTION_NAMES = [f"hipsgen.api.{name}" for name in FUNCTIONS]
CLASS_NAMES = [f"hipsgen.{name}" for name in hipsgen.__all__ if not name.islower()]


@pytest.mark.parametrize("name", [*FUNCTION_NAMES, *METHODS, *CLASS_NAMES])
def test_docstrings_are_of_numpydoc(name: str) -> None:
    found = validate(name)["errors"]
    wrong = [(code, text) for code, text in found if code not in LEFT_OUT]
    assert not wrong


@pytest.mark.parametrize("name", FUNCTION_NAMES)
def test_functions_document_parameters_result_and_errors(name: str) -> None:
    text = validate(name)["docstring"]
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"\n{section}\n{'-' * len(section)}\n" in text, section


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the functions of the module, in one folder, as a reader would run them."""
    monkeypatch.chdir(tmp_path)
    Path("coadds").mkdir()
    for number, band in enumerate("gri"):
        for k, lon in enumerate((40.0, 60.0)):
            write_coadd(tmp_path / "coadds" / f"{band}{k}.fits", band, lon, 10 * number + k)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    order = ("find_coadds", "plan", "build", "build_color", "check", "open_survey")
    finder = doctest.DocTestFinder(recurse=False)
    for name in order:
        for test in finder.find(getattr(hipsgen.api, name), name, globs={}):
            assert test.examples
            runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("name", [name for name in hipsgen.__all__ if not name.islower()])
def test_public_classes_have_precise_types(name: str) -> None:
    members = {
        member: value
        for kind in getattr(hipsgen, name).__mro__
        if kind.__module__.startswith("hipsgen")
        for member, value in vars(kind).items()
        if not member.startswith("_")
    }
    for member, value in members.items():
        function = getattr(value, "fget", None) or getattr(value, "func", None) or value
        annotations = str(getattr(function, "__annotations__", {}))
        # numpy's own spelling of an array of any shape
        precise = annotations.replace("ndarray[tuple[typing.Any, ...]", "ndarray[shape")
        assert "Any" not in precise, f"{name}.{member}: {annotations}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_have_precise_types(name: str) -> None:
    assert "typing.Any" not in str(getattr(hipsgen, name).__annotations__)
