"""Wrong tokens by client: after `FREE` of them, the wait doubles with each further one."""

import time
from collections import OrderedDict

FREE = 10  # wrong tokens before the first wait
MAX_WAIT = 60.0  # seconds
MAX_CLIENTS = 4096  # that are remembered


class Guesses:
    """Counts the wrong tokens of each client, for the `MAX_CLIENTS` that sent one last."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Return the seconds until the next token of a client is checked, 0 for none."""
        _, until = self._clients.get(client, (0, 0.0))
        return max(0.0, until - time.monotonic())

    def add(self, client: str) -> None:
        """Count a wrong token; the wait doubles with each."""
        count = self._clients.pop(client, (0, 0.0))[0] + 1
        wait = 0.0 if count < FREE else min(MAX_WAIT, 2.0 ** min(count - FREE, 30))
        self._clients[client] = count, time.monotonic() + wait
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)

    def forget(self, client: str) -> None:
        """Forget the wrong tokens of a client that has sent the right one."""
        self._clients.pop(client, None)

    def __len__(self) -> int:
        return len(self._clients)
