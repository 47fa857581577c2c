"""Serve HiPS surveys with a web page to view them, in a browser or a notebook.

The viewer never writes anything except annotations (flags) in the folder of a survey.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viewer.notebook import show

__all__ = ["show"]


def __getattr__(name: str) -> Any:
    # imported on first use: the server does not need it
    if name == "show":
        from viewer.notebook import show

        return show
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
