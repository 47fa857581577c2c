"""Annotations: concurrent writers neither lose nor silently overwrite any."""

import json
import multiprocessing
import os
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from hipsgen.survey import paths
from tests.viewer.serving import served
from tests.viewer.small_hips import DEC, RA, make_survey
from viewer.annotations import AnnotationError, Annotations

HERE = {"ra": RA, "dec": DEC}


def append(folder: Path, name: str, letter: str, times: int) -> None:
    """Append a letter to a note several times, as a user would: load, change, save, or retry."""
    flags = Annotations(folder)
    while times:
        seen = next(flag for flag in flags.all() if flag.id == name)
        with suppress(AnnotationError):  # somebody was faster
            flags.change(name, {"version": seen.version, "note": seen.note + letter})
            times -= 1


def test_a_flag_is_kept_changed_and_deleted(tmp_path):
    flags = Annotations(tmp_path)
    assert flags.all() == []
    made = flags.add({**HERE, "note": "a trail", "view": "survey=g", "author": "me"})
    assert flags.all() == [made]
    changed = flags.change(made.id, {"version": 1, "note": "a satellite"})
    assert (changed.version, changed.note, changed.view) == (2, "a satellite", "survey=g")
    assert changed.created == made.created
    with pytest.raises(AnnotationError, match="changed by another user") as stale:
        flags.change(made.id, {"version": 1, "note": "late"})
    assert stale.value.status == 409
    flags.delete(made.id, {"version": 2})
    assert flags.all() == []
    with pytest.raises(AnnotationError, match="no longer exists") as gone:
        flags.change(made.id, {"version": 3, "note": "x"})
    assert gone.value.status == 404
    assert len(list((tmp_path / paths.ANNOTATIONS).iterdir())) == 1


def test_concurrent_changes_by_processes_are_all_kept(tmp_path):
    name = Annotations(tmp_path).add(HERE).id
    spawn = multiprocessing.get_context("spawn")
    people = [spawn.Process(target=append, args=(tmp_path, name, c, 25)) for c in "abcd"]
    for one in people:
        one.start()
    for one in people:
        one.join(60)
        assert one.exitcode == 0
    (flag,) = Annotations(tmp_path).all()
    assert sorted(flag.note) == sorted("abcd" * 25)
    assert flag.version == 101
    assert len(list((tmp_path / paths.ANNOTATIONS).iterdir())) == 1


def test_concurrent_new_flags_of_threads_are_all_kept(tmp_path):
    def add(number: int) -> None:
        for k in range(10):
            Annotations(tmp_path).add({**HERE, "note": f"{number} {k}"})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f.note for f in Annotations(tmp_path).all()} == {
        f"{number} {k}" for number in range(6) for k in range(10)
    }


@pytest.mark.parametrize(
    "words",
    [
        {"ra": 361, "dec": 0}, {"ra": 0, "dec": -91}, {"ra": "1", "dec": 2}, {"dec": 2},
        {"ra": float("nan"), "dec": 2}, {"ra": True, "dec": 2}, {"ra": 10**400, "dec": 0},
        {**HERE, "note": "x" * 2001}, {**HERE, "note": 5}, {**HERE, "view": ["x"]},
    ],
)  # fmt: skip
def test_invalid_content_is_refused(tmp_path, words):
    with pytest.raises(AnnotationError):
        Annotations(tmp_path).add(words)
    assert Annotations(tmp_path).all() == []


def test_files_that_are_not_flags_are_skipped(tmp_path):
    flag = Annotations(tmp_path).add(HERE)
    place = tmp_path / paths.ANNOTATIONS
    (place / f"{'a' * 16}.1.json").write_text("{")
    (place / f"{'b' * 16}.1.json").write_text("[]")
    (place / "readme").write_text("x")
    # nor what would be waited for, or never end
    os.mkfifo(place / f"{'c' * 16}.1.json")
    (place / f"{'d' * 16}.1.json").symlink_to("/dev/zero")
    (place / f"{'e' * 16}.1.json").mkdir()
    assert Annotations(tmp_path).all() == [flag]


@pytest.mark.parametrize(
    "words",
    [
        {"ra": float("nan")}, {"dec": "1"}, {"ra": None}, {"created": 5}, {"note": ["x"]},
        {"version": "1"}, {"version": 2}, {"id": "c" * 16}, {"note": "x" * 2001},
    ],
)  # fmt: skip
def test_an_invalid_edited_flag_does_not_hide_others(tmp_path, words):
    folder = make_survey(tmp_path / "band_g")
    flag, damaged = Annotations(folder).add(HERE), Annotations(folder).add(HERE)
    path = folder / paths.ANNOTATIONS / f"{damaged.id}.1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **words}))
    assert Annotations(folder).all() == [flag]
    with served(tmp_path) as port:
        status, found = Asking(port)("GET")
    assert (status, [one["id"] for one in found["flags"]]) == (200, [flag.id])


def test_deleted_flags_do_not_count_towards_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("viewer.annotations.MAX_ANNOTATIONS", 3)
    flags = Annotations(tmp_path)
    made = [flags.add(HERE) for _ in range(3)]
    with pytest.raises(AnnotationError, match="export and delete some"):
        flags.add(HERE)
    flags.delete(made[0].id, {"version": 1})
    flags.add(HERE)
    with pytest.raises(AnnotationError, match="export and delete some"):
        flags.add(HERE)


class Asking:
    """Send JSON and return the decoded response."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/flags"

    def __call__(self, method: str, path: str = "", words: object = None, kind: str = ""):
        headers = {"content-type": kind or "application/json"}
        data = None if words is None else json.dumps(words).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


def test_flags_over_http(tmp_path):
    make_survey(tmp_path / "band_g")
    with served(tmp_path) as port:
        ask = Asking(port)
        assert ask("GET") == (200, {"flags": [], "read_only": False})
        status, made = ask("POST", words={"survey": "band_g", **HERE, "note": "ü – …"})
        assert (status, made["note"], made["survey"]) == (201, "ü – …", "band_g")
        path = f"/band_g/{made['id']}"
        assert ask("PUT", path, {"version": 1, "note": "b"})[0] == 200
        assert ask("PUT", path, {"version": 1, "note": "c"})[0] == 409
        assert [f["note"] for f in ask("GET")[1]["flags"]] == ["b"]
        # what another site's form can send is not taken
        assert ask("POST", words={"survey": "band_g", **HERE}, kind="text/plain")[0] == 415
        assert ask("POST", words=["x"])[0] == 400
        assert ask("POST", words={"survey": "nobody", **HERE})[0] == 404
        assert ask("POST", words={"survey": "band_g", **HERE, "note": "x" * 40_000})[0] == 413
        assert ask("DELETE", path, {"version": 2}) == (200, {})
        assert ask("GET")[1]["flags"] == []
        assert ask("DELETE", "/band_g/properties", {"version": 1})[0] == 404


def test_a_read_only_server_stores_no_flags(tmp_path):
    make_survey(tmp_path / "band_g")
    with served(tmp_path, read_only=True) as port:
        ask = Asking(port)
        assert ask("GET") == (200, {"flags": [], "read_only": True})
        status, told = ask("POST", words={"survey": "band_g", **HERE})
        assert (status, "read-only" in told["error"]) == (403, True)
    assert not (tmp_path / "band_g" / ".hipsgen").exists()


@pytest.mark.parametrize(
    "code", [0, 8, 0x1B, 0x7F, 0x85, 0x9F, 0x200E, 0x200F, 0x202A, 0x202E, 0x2066, 0x2069, 0x61C]
)
def test_invisible_characters_are_dropped(tmp_path, code):
    texts = {name: f"a{chr(code)}b" for name in ("note", "author", "view")}
    flag = Annotations(tmp_path).add({"ra": 1, "dec": 2, **texts})
    assert (flag.note, flag.author, flag.view) == ("ab", "ab", "ab")
    # one that was stored before, or by another program
    path = next((tmp_path / ".hipsgen/flags").glob("*.json"))
    path.write_text(path.read_text().replace('"ab"', f'"a\\u{code:04x}b"'))
    (found,) = Annotations(tmp_path).all()
    assert (found.note, found.author, found.view) == ("ab", "ab", "ab")


def test_a_note_may_have_several_lines_and_any_script(tmp_path):
    note = "a\n\tb \N{HEBREW LETTER ALEF}\N{COMBINING ACUTE ACCENT} \N{GREEK SMALL LETTER ALPHA}"
    flag = Annotations(tmp_path).add({"ra": 1, "dec": 2, "note": note + "\r", "author": "c\nd"})
    assert (flag.note, flag.author) == (note, "cd")
