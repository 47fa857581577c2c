"""The properties file: what is written is read, comments are none, damage is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.errors import SurveyError
from hipsgen.survey.properties import format_properties, parse_properties
from tests.profiles import examples

keys = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
# a value is one line; white space inside it counts as one blank
values = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: text.split()
)


@examples(2)
@given(st.dictionaries(keys, values, max_size=8))
def test_properties_are_read_as_written(written: dict[str, str]):
    text = format_properties(written)
    assert parse_properties(text) == {k: " ".join(v.split()) for k, v in written.items()}
    assert parse_properties(text.encode("utf-8").decode("utf-8")) == parse_properties(text)


def test_the_order_is_kept_and_empty_values_are_left_out():
    text = format_properties({"b": 1, "a": None, "c": "", "long_key": 2.5, "d": "  "})
    assert text == "b        = 1\nlong_key = 2.5\n"


def test_comments_blank_lines_and_spaces_are_skipped():
    text = (
        "# comment = no\n\n  # another\n \t\nkey=value\n  obs_title   =  a = b # c  \r\nempty =\n"
    )
    assert parse_properties(text) == {"key": "value", "obs_title": "a = b # c", "empty": ""}


def test_a_repeated_key_keeps_its_last_value():
    assert parse_properties("a = 1\nb = 2\na = 3\n") == {"a": "3", "b": "2"}


@pytest.mark.parametrize("line", ["no equals sign", "= no key", "<html>"])
def test_a_line_that_is_none_is_named_by_its_number(line: str):
    with pytest.raises(SurveyError, match="properties line 3 is not 'key = value'") as raised:
        parse_properties(f"# comment\na = 1\n{line}\n")
    assert line in str(raised.value)


def test_properties_may_be_empty():
    assert parse_properties("") == {}
    assert parse_properties(format_properties({})) == {}


SEPARATORS = (
    "\n",
    "\r\n",
    "\r",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1d",
    "\x1e",
    "\x85",
    "\u2028",
    "\u2029",
)


def test_a_value_never_breaks_the_line():
    for separator in SEPARATORS:
        written = {"obs_title": f"one{separator}hips_order = 3{separator}# two"}
        wanted = {"obs_title": "one hips_order = 3 # two"}
        assert parse_properties(format_properties(written)) == wanted


def test_only_line_feeds_and_carriage_returns_end_a_line():
    for separator in SEPARATORS[3:]:
        assert parse_properties(f"a = 1{separator}b = 2\n") == {"a": f"1{separator}b = 2"}
    for separator in SEPARATORS[:3]:
        assert parse_properties(f"a = 1{separator}b = 2{separator}") == {"a": "1", "b": "2"}
