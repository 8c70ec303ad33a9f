"""Stopping on request: the first signal asks, the second one ends the process."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from jaxmeta.errors import EXIT_CODE

SIGNALS = (signal.SIGINT, signal.SIGTERM)


_came: list[str] | None = None  # signals, while somebody listens


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], str | None]]:
    """Catch SIGINT and SIGTERM; yields a function that names the one that came, or None.

    Used within itself, all share what came: a study hears of what came during its runs.
    Outside the main thread, Python allows no handlers, and signals do what they did before.
    """
    global _came
    if _came is not None or threading.current_thread() is not threading.main_thread():
        shared = [] if _came is None else _came
        yield lambda: shared[0] if shared else None
        return
    came = _came = []

    def handle(number: int, frame: object) -> None:
        if came:
            os.write(2, b"jaxmeta: stopped at once; resuming continues from the last checkpoint\n")
            os._exit(EXIT_CODE)
        came.append(signal.Signals(number).name)
        name = came[0].encode()
        os.write(2, b"jaxmeta: " + name + b": finishing this chunk, then saving; again: at once\n")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield lambda: came[0] if came else None
    finally:
        _came = None
        for number, handler in before.items():
            signal.signal(number, handler)
