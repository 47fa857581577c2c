"""Set up a build process. Only the command line does this, never a library call."""

import gc

from hipsgen.planner.options import BuildOptions
from hipsgen.render.precompile import precompile
from hipsgen.run.engine import keep_freed_memory
from hipsgen.run.progress import Reporter

_YOUNG = 50_000  # allocations minus deallocations that trigger a collection of the youngest objects


def prepare_process(options: BuildOptions, planes: tuple[str, ...], reporter: Reporter) -> None:
    """Load compiled loops and tune memory management for a process that only builds.

    Objects that exist afterwards are exempt from garbage collection.
    """
    keep_freed_memory()
    precompile(options.interpolation, options.overlap, reporter, "mask" in planes)
    gc.freeze()
    gc.set_threshold(_YOUNG)
