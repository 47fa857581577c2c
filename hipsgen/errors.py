"""Errors that a user can fix; each message gives the value, the limit and the next step.

A message names a parameter as `{order}`: a script reads `order`, the command line shows `--order`.
"""

from collections.abc import Callable
from typing import Any

from hipsgen.text import PARAMETER, as_keyword, name_parameters


class HipsgenError(Exception):
    """Base of all errors that are reported in one line, without a traceback.

    Attributes
    ----------
    parameter : str
        Name of the invalid parameter; empty if no parameter is at fault.
    value : object
        Its value.
    hint : str
        What to do about it, when the message does not say.
    results : tuple of BuildResult
        The surveys that a build had finished before.
    """

    results: tuple[Any, ...] = ()

    def __init__(
        self, message: str = "", *, parameter: str = "", value: object = None, hint: str = ""
    ) -> None:
        super().__init__(message)
        named = PARAMETER.match(message)
        self.message, self.value, self.hint = message, value, hint
        self.parameter = parameter or (named[1] if named else "")

    def __str__(self) -> str:
        return self.render(as_keyword)

    def render(self, name: Callable[[str], str]) -> str:
        """Return the message with each parameter named as `name` has it."""
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        return name_parameters(text, name)

    def __reduce__(self) -> tuple[object, ...]:
        # errors of workers are pickled: a subclass with other arguments must define __reduce__
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    kind: type[HipsgenError], args: tuple[object, ...], state: dict[str, object]
) -> object:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(HipsgenError, ValueError):
    """An option is invalid, or contradicts another one or the existing survey."""


class InputError(HipsgenError, LookupError):
    """An input (repository, collection, file) is missing, empty or of an unknown kind."""


class CoaddError(InputError):
    """A coadd cannot be read; the others can still be used."""


def lack_of_memory(error: MemoryError) -> CoaddError:
    """Return the error for a coadd whose reading needs more memory than there is."""
    reason = " ".join(str(error).split())
    detail = f" ({reason})" if reason else ""
    return CoaddError(
        f"there is not enough memory to read it{detail}: use fewer {{workers}}, or a "
        "machine with more memory"
    )


class NoCoaddError(CoaddError):
    """A file contains no image of the sky, but is not damaged."""


class SurveyError(HipsgenError, LookupError):
    """A survey is missing, damaged or not a HiPS."""


class MissingExtraError(HipsgenError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra package: pip install 'hipsgen[{extra}]'")
