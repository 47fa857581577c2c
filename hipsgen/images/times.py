"""Read the time range of an image from its headers."""

from typing import Any

_NAN = float("nan")


def time_range(*headers: Any) -> tuple[float, float]:
    """Return first and last MJD from the usual keywords of the first header with them, or NaN."""
    for header in headers:
        begin = _mjd(header, "MJD-BEG", "DATE-BEG", "MJD-OBS", "DATE-OBS")
        end = _mjd(header, "MJD-END", "DATE-END")
        if begin == begin and end != end:
            exposure = header.get("EXPTIME", header.get("EXPOSURE", 0.0))
            end = begin + (float(exposure) / 86400 if isinstance(exposure, int | float) else 0.0)
        if begin == begin and end >= begin:
            return begin, end
    return _NAN, _NAN


def _mjd(header: Any, *keys: str) -> float:
    for key in keys:
        value = header.get(key)
        # values of 2.4e6 and more are Julian Dates written by mistake
        if isinstance(value, int | float) and 0 < value < 1e6 and key.startswith("MJD"):
            return float(value)
        if isinstance(value, str) and key.startswith("DATE"):
            mjd = _from_iso(value)
            if mjd == mjd:
                return mjd
    return _NAN


def _from_iso(text: str) -> float:
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text.strip()).replace(tzinfo=None)
    except ValueError:
        return _NAN
    return (moment - datetime(1858, 11, 17)).total_seconds() / 86400
