"""Of two builds in one place, the one that began last goes on."""

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
    """A build's right to write; lost to a later one of other inputs, not to one of the same.

    Two builds of the same inputs write the same bytes and need not know of each other. text: what
    the place says as long as this build has its lease.
    """

    store: Store
    text: str

    @classmethod
    def acquire(cls, store: Store, inputs: Iterable[str]) -> "BuildLease":
        """Begin to work on a place, with inputs that are told by these words."""
        digest = hashlib.sha256()
        count = 0
        for word in inputs:
            digest.update(f"{word}\n".encode())
            count += 1
        text = json.dumps({"inputs": count, "digest": digest.hexdigest()[:16]})
        store.write(paths.INPUTS, text.encode())
        return cls(store, text)

    def is_lost(self) -> bool:
        """Whether another build began, or found that it had written where this one does."""
        try:
            return self.store.read(paths.INPUTS) != self.text.encode()
        except FileNotFoundError:
            return True

    @contextmanager
    def guard(self, on_conflict: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Write, between two looks at whose lease it is. Raises ConfigError when it is another's.

        What was written until the second look may stand over the other's files, or lie below them:
        then neither may finish, `on_conflict` has it made anew by the next build, and there are no
        properties until that. The other one looks after its writing, too, so whichever is last to
        look, sees.
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
            f"another build, with other inputs, is or was at work in {self.store}: once it has "
            "ended, run again the one whose survey is to stay"
        )
