"""Convert arguments of the API to plain values; errors name the parameter and the value."""

import math
from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

from hipsgen.errors import ConfigError


def integer(name: str, value: Any) -> int:
    """Return an integer, also one of numpy. Raises ConfigError for booleans, floats and texts."""
    if not isinstance(value, bool):
        try:
            return index(value)
        except TypeError:
            pass
    raise _error(name, value, "an integer")


def number(name: str, value: Any) -> float:
    """Return a float, also from one of numpy. Raises ConfigError for texts and booleans."""
    if not isinstance(value, bool | str | bytes):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    raise _error(name, value, "a number")


def interval(name: str, value: Any) -> tuple[float, float]:
    """Return two finite, increasing numbers. Raises ConfigError."""
    try:
        low, high = value
    except (TypeError, ValueError):
        raise _error(name, value, "two numbers") from None
    low, high = number(name, low), number(name, high)
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"{{{name}}} {low:g},{high:g} do not increase", value=(low, high))
    return low, high


def text(name: str, value: Any) -> str:
    """Return a text. Raises ConfigError for anything else."""
    if not isinstance(value, str):
        raise _error(name, value, "a text")
    return value


def flag(name: str, value: Any) -> bool:
    """Return a boolean, also one of numpy. Raises ConfigError, also for texts such as `no`."""
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    # `{fresh}` would be shown as fresh=True
    raise ConfigError(f"{name} {shown(value)} must be True or False", parameter=name, value=value)


def names(name: str, value: Any) -> tuple[str, ...]:
    """Return texts without duplicates; a single text is one of them. Raises ConfigError."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        raise _error(name, value, "a text or several texts")
    return tuple(dict.fromkeys(text(name, item) for item in given))


def integers(name: str, value: Any) -> frozenset[int]:
    """Return a set of integers; a single one is a set, too. Raises ConfigError."""
    if isinstance(value, str | bytes | Mapping):
        raise _error(name, value, "integers")
    given = value if isinstance(value, Iterable) else [value]
    return frozenset(integer(name, item) for item in given)


def one_of(name: str, value: Any, known: tuple[str, ...]) -> str:
    """Return one of the known texts. Raises ConfigError, which lists them, for anything else."""
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{{{name}}} {value!r} is not one of: {', '.join(known)}", value=value)
    return value


def _error(name: str, value: object, kind: str) -> ConfigError:
    return ConfigError(f"{{{name}}} {shown(value)} must be {kind}", value=value)


def shown(value: object) -> str:
    """Return a short representation of a value, on one line."""
    words = " ".join(repr(value).split())
    return words if len(words) <= 60 else f"{words[:57]}..."
