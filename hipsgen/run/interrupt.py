"""Interrupts by Ctrl-C or SIGTERM: the build stops within two seconds and prints how to resume.

Unfinished work may be dropped at any time: files are written atomically, and blocks that are not in
the journal are rendered again.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from hipsgen.errors import HipsgenError

_GRACE = 1.5  # seconds in which threads can stop by themselves
_COMPILER = ("llvmlite", "numba")
_hint: list[str] = []
_signals: list[int] = []  # signals received
_followed = threading.local()


class StoppedError(HipsgenError):
    """The work was interrupted."""


def install() -> None:
    """Handle SIGINT and SIGTERM: KeyboardInterrupt here, StoppedError by `check` elsewhere."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def set_hint(text: str) -> None:
    """Set the text that is printed after "stopped" from now on."""
    _hint[:] = [text]


def requested() -> bool:
    """Whether an interrupt was received."""
    return bool(_signals)


def ignore() -> None:
    """Ignore interrupts from now on, as the work is done."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def follow(abandoned: threading.Event) -> None:
    """Have `check` in this thread raise StoppedError as soon as an event is set."""
    _followed.abandoned = abandoned


def check() -> None:
    """Raise StoppedError if the work was interrupted; called for every tile."""
    abandoned: threading.Event | None = getattr(_followed, "abandoned", None)
    if _signals or (abandoned is not None and abandoned.is_set()):
        raise StoppedError("stopped")


def exit_now() -> NoReturn:
    """Print how to resume, and end this process without waiting for its threads."""
    number = _signals[0] if _signals else signal.SIGINT
    show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar hides the cursor
    text = f"{show_cursor}hipsgen: stopped{''.join(_hint)}\n"
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        os.write(sys.stderr.fileno(), text.encode())
    os._exit(128 + number)


def _stop(number: int, frame: FrameType | None) -> None:
    _signals.append(number)
    if len(_signals) > 1 or _is_within_compiler(frame):
        exit_now()
    watchdog = threading.Timer(_GRACE, exit_now)
    watchdog.daemon = True
    watchdog.start()
    raise KeyboardInterrupt(number)


def _is_within_compiler(frame: FrameType | None) -> bool:
    """Whether the compiler is running: an exception in a callback of LLVM would crash it."""
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_COMPILER):
            return True
        frame = frame.f_back
    return False
