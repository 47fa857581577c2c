"""The planted faults of `python -m tests.mutants`: their places exist."""

from collections import Counter

from tests.docs.pages import ROOT
from tests.mutants import FAULTS


def test_each_fragment_is_in_its_module_once() -> None:
    found = Counter(
        {f.fragment: (ROOT / f.module).read_text("utf-8").count(f.fragment) for f in FAULTS}
    )
    assert found == Counter(f.fragment for f in FAULTS)
