"""The errors a user can answer; each message names the value, the limit and the next step."""


class HipsgenError(Exception):
    """Base of all errors that are reported in one line, without a traceback."""


class ConfigError(HipsgenError):
    """What was asked for contradicts itself or the survey that is already there."""


class InputError(HipsgenError):
    """An input (repository, collection, file) is missing, empty or of an unknown kind."""


class CoaddError(InputError):
    """One coadd cannot be read; the others can go on."""


class NoCoaddError(CoaddError):
    """A file holds no image of the sky; it is another kind of file, and not at fault."""


class SurveyError(HipsgenError):
    """A survey on disk is missing, broken or not a HiPS."""


class MissingExtraError(HipsgenError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra package: pip install 'hipsgen[{extra}]'")
