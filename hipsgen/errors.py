"""Errors that a user can resolve; each message names the value, the limit and the next step."""


class HipsgenError(Exception):
    """Base of all errors that the command line reports in one line, without a traceback."""


class ConfigError(HipsgenError):
    """An option is invalid, or contradicts another one or the existing survey."""


class InputError(HipsgenError):
    """An input (repository, collection, file) is missing, empty or of an unknown kind."""


class CoaddError(InputError):
    """A coadd cannot be read; the others can still be used."""


class NoCoaddError(CoaddError):
    """A file contains no image of the sky, but is not damaged."""


class SurveyError(HipsgenError):
    """A survey is missing, damaged or not a HiPS."""


class MissingExtraError(HipsgenError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra package: pip install 'hipsgen[{extra}]'")
