"""Being asked to stop, by Ctrl-C or by a scheduler: within two seconds, and saying how to go on.

Whatever is on its way may be dropped at any instant: a file appears whole or not at all, and what
is not in the journal is done again.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from hipsgen.errors import HipsgenError

_PATIENCE = 1.5  # seconds for threads to come to a stop by themselves
_COMPILER = ("llvmlite", "numba")
_advice: list[str] = []
_asked: list[int] = []  # the signals that came
_followed = threading.local()


class StoppedError(HipsgenError):
    """The work was asked to stop."""


def install() -> None:
    """Take SIGTERM as Ctrl-C is taken: a KeyboardInterrupt, and `check` raises in other threads."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def set_hint(text: str) -> None:
    """What to say when the work is stopped from now on."""
    _advice[:] = [text]


def requested() -> bool:
    """Whether the work is to stop."""
    return bool(_asked)


def ignore() -> None:
    """The work is done: who stops now stops nothing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def follow(abandoned: threading.Event) -> None:
    """Have `check` in this thread raise once an event is set."""
    _followed.abandoned = abandoned


def check() -> None:
    """Raise StoppedError when the work is to stop; called for every tile."""
    abandoned: threading.Event | None = getattr(_followed, "abandoned", None)
    if _asked or (abandoned is not None and abandoned.is_set()):
        raise StoppedError("stopped")


def exit_now() -> NoReturn:
    """Say how to go on, and end this process without waiting for what it still does."""
    number = _asked[0] if _asked else signal.SIGINT
    shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar hides the cursor
    text = f"{shown}hipsgen: stopped{''.join(_advice)}\n"
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        os.write(sys.stderr.fileno(), text.encode())
    os._exit(128 + number)


def _stop(number: int, frame: FrameType | None) -> None:
    _asked.append(number)
    if len(_asked) > 1:
        exit_now()
    watchdog = threading.Timer(_PATIENCE, exit_now)
    watchdog.daemon = True
    watchdog.start()
    if not _is_within_compiler(frame):
        raise KeyboardInterrupt(number)


def _is_within_compiler(frame: FrameType | None) -> bool:
    """Whether LLVM may be calling us: it takes an exception for an answer, and crashes."""
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_COMPILER):
            return True
        frame = frame.f_back
    return False
