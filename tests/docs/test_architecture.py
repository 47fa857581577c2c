"""ARCHITECTURE.md names modules that exist, and every module of hipsgen."""

import re

from tests.docs.pages import ROOT

TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"[\w.*-]+(?:/[\w.*-]+)*\.(?:py|js)\b", TEXT))
PARENTS = (ROOT, ROOT / "hipsgen")


def test_modules_that_are_named_exist() -> None:
    missing = {name for name in NAMED if not any((p / name).is_file() for p in PARENTS)}
    assert not missing


def test_every_module_of_hipsgen_is_named() -> None:
    package = ROOT / "hipsgen"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    assert {name for name in modules if not name.endswith("__init__.py")} <= NAMED


def test_folders_that_are_named_exist() -> None:
    folders = set(re.findall(r"`((?:tests|docs|viewer)/[\w/]+?)/?`", TEXT))
    assert folders
    assert {name for name in folders if not (ROOT / name).is_dir()} == set()
