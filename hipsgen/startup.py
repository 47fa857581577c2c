"""How a process that builds is set up; only the command line does this, never a library call."""

import gc

from hipsgen.planner.options import BuildOptions
from hipsgen.render.precompile import precompile
from hipsgen.run.engine import keep_freed_memory
from hipsgen.run.progress import Reporter

_YOUNG = 50_000  # objects more than were freed, until garbage is looked for among them


def prepare_process(options: BuildOptions, planes: tuple[str, ...], reporter: Reporter) -> None:
    """Compile the loops of a build, and tune memory for a process that does nothing else.

    What is in memory then stays; garbage is looked for among what comes after it.
    """
    keep_freed_memory()
    precompile(options.interpolation, options.overlap, reporter, "mask" in planes)
    gc.freeze()
    gc.set_threshold(_YOUNG)
