"""Names that were replaced are not used again, and spelling is American."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# names of version 0.1.0 that were replaced and have no other meaning
REPLACED = frozenset(
    [
        "ButlerCatalogue",
        "SqlCatalogue",
        "open_catalogue",
        "Tally",
        "FileSum",
        "sum_of",
        "Earlier",
        "while_working",
        "made_and_removed",
        "check_room",
        "sweep_top",
        "Translation",
        "look_over",
        "at_a_glance",
        "glancing",
        "unrice",
        "Looker",
        "LocalNames",
        "Desk",
        "Parcel",
        "open_beneath",
        "open_at_once",
        "bring_in",
        "is_in_memory",
        "FlagError",
        "Subject",
        "names_of",
        "with_own",
        "of_planes",
        "build_all_surveys",
        "plan_all",
        "describe_survey",
        "color_of",
        "warm_up",
        "UnfinishedError",
    ]
)
BRITISH = re.compile(
    r"colour|centre|neighbour|catalogue|behaviour|licence|\bgrey|normalis|quantis|organis"
    r"|labelled|artefact|spoilt|\bdiscs?\b|optimis(?!t)|initialis|serialis|recognis|analyse",
    re.I,
)
# stored files or saved links of 0.1.0, or the name of a folder of test data
KEPT = re.compile(
    r"live-colour|[&\" ]colour[=\"]|galactic_centre|--catalogue|/api/catalogues|\bcatalogues\b"
    r"|key=\"catalogue\"|\.pop\(\"catalogue\"\)|get_all_neighbours"
)
EXEMPT = ("tests/docs/test_words.py", "tests/finished/", "requirements/", "docs/", "CHANGELOG.md")


def text_files() -> list[Path]:
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split("\n")
    kinds = (".py", ".js", ".html", ".css", ".md", "Makefile")
    return [
        ROOT / name
        for name in listed
        if name.endswith(kinds) and not name.startswith(EXEMPT) and (ROOT / name).is_file()
    ]


def test_replaced_names_are_gone() -> None:
    pattern = re.compile(rf"\b({'|'.join(REPLACED)})\b")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in text_files()
        if path.suffix == ".py"
        for match in pattern.finditer(path.read_text())
    ]
    assert found == []


def test_the_spelling_is_that_of_the_us() -> None:
    found = []
    for path in text_files():
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if BRITISH.search(KEPT.sub("", line)):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_what_is_kept_hides_nothing_else() -> None:
    assert BRITISH.search(KEPT.sub("", "a colour survey, the catalogue"))
    assert not BRITISH.search(KEPT.sub("", "survey=live-colour&colour=band_i"))
