"""Serves HiPS surveys, with a page to look at them; writes nothing but flags beside a survey."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viewer.notebook import show

__all__ = ["show"]


def __getattr__(name: str) -> Any:
    # what a notebook needs is loaded when one asks
    if name == "show":
        from viewer.notebook import show

        return show
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
