"""Optimistic lock on an output folder: the build that started last owns it.

A build with other inputs that started earlier stops at its next write.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hipsgen.errors import ConfigError
from hipsgen.survey import paths
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import Store


@dataclass(frozen=True)
class BuildLease:
    """The right of a build to write to a store, until a build with other inputs starts there.

    Builds with the same inputs share a lease: they write the same bytes.

    Attributes
    ----------
    store : Store
        The survey.
    text : str
        Content of the file `.hipsgen/inputs.json` for as long as the lease is valid.
    """

    store: Store
    text: str

    @classmethod
    def acquire(cls, store: Store, inputs: Iterable[str]) -> "BuildLease":
        """Take the lease for a build with these inputs, given by texts that identify them."""
        digest = hashlib.sha256()
        count = 0
        for text in inputs:
            digest.update(f"{text}\n".encode())
            count += 1
        content = json.dumps({"inputs": count, "digest": digest.hexdigest()[:16]})
        store.write(paths.INPUTS, content.encode())
        return cls(store, content)

    def is_lost(self) -> bool:
        """Whether another build has taken the lease, or has found a conflict and invalidated it."""
        try:
            return self.store.read(paths.INPUTS) != self.text.encode()
        except FileNotFoundError:
            return True

    @contextmanager
    def guard(self, on_conflict: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Guard a write: check ownership before and after. Raises ConfigError if the lease is lost.

        If it is lost after the write, the files of the two builds may be mixed. Then neither build
        may finish: the lease is invalidated for both, the properties file is deleted, and
        `on_conflict` is called to have the files rendered again by the next build. As both builds
        check after their writes, the one that checks last notices the conflict.
        """
        if self.is_lost():
            raise self._error()
        try:
            yield
        finally:
            if self.is_lost():
                self.store.write(paths.INPUTS, b"")
                self.store.delete(PROPERTIES)
                on_conflict()
                raise self._error()

    def _error(self) -> ConfigError:
        return ConfigError(
            f"another build with other inputs has started in {self.store}: wait until it has "
            "ended, then rerun the build whose survey you want to keep"
        )
