"""Formatting of JSON responses."""

import json
import threading
import time

import pytest

from viewer.api.responses import json_response

ROWS = [[k, k / 7, None, "größe", True] for k in range(1234)]


@pytest.mark.parametrize(
    "content",
    [[], {}, ROWS, {"a": ROWS, "b": {"c": ROWS, "d": []}, "größe": 1}, "text", None, {"a": [{}]}],
)
def test_long_lists_are_formatted_like_short_ones(content):
    body = bytes(json_response(content).body).decode("ascii")
    assert body == json.dumps(content, separators=(",", ":"))


def test_nan_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_response({"a": [float("nan")]})


def test_other_threads_run_while_a_long_list_is_formatted():
    rows = [[k / 7 + column for column in range(64)] for k in range(10_000)]
    formatting = threading.Thread(target=json_response, args=[{"rows": rows}])
    worst, before = 0.0, time.process_time()
    formatting.start()
    while formatting.is_alive():
        time.sleep(0.001)
        now = time.process_time()  # other processes may use this CPU
        worst, before = max(worst, now - before), now
    assert worst < 0.2
