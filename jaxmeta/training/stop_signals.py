"""Stopping on request: the first signal asks; the second SIGINT or SIGTERM ends at once."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from jaxmeta.errors import EXIT_CODE

ORDERS = (signal.SIGINT, signal.SIGTERM)
# A terminal's end, and the warnings of SLURM and of submitit: they only ask, as they come twice (a
# terminal's from the shell and from the kernel), or with an order behind them.
WARNINGS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_came: list[str] | None = None  # signals, while somebody listens
_own_process = False  # else this is a library in a script or a notebook


def end_at_once() -> None:
    """Have a second signal end the process, as is for a command's entry to decide.

    Elsewhere it is a KeyboardInterrupt: a notebook's kernel has more to lose than a run.
    """
    global _own_process
    _own_process = True


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], str | None]]:
    """Catch ORDERS and WARNINGS; yields a function that names the one that came, or None.

    Used within itself, all share what came: a study hears of what came during its runs.
    Outside the main thread, Python allows no handlers, and signals do what they did before.
    So does SIGHUP under nohup, which is there to have it ignored.
    """
    global _came
    if _came is not None or threading.current_thread() is not threading.main_thread():
        shared = [] if _came is None else _came
        yield lambda: shared[0] if shared else None
        return
    came = _came = []

    ordered: list[int] = []

    def handle(number: int, frame: object) -> None:
        if ordered and number in ORDERS:
            say("stopped at once; resuming continues from the last checkpoint")
            if _own_process:
                os._exit(EXIT_CODE)
            raise KeyboardInterrupt
        if number in ORDERS:  # first of all: the next may come while this one is being told
            ordered.append(number)
        if not came:
            came.append(signal.Signals(number).name)
            say(f"{came[0]}: finishing this chunk, then saving; again: at once")

    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    caught = [n for n in (*ORDERS, *WARNINGS) if not (ignored and n == signal.SIGHUP)]
    before = {number: signal.signal(number, handle) for number in caught}
    try:
        yield lambda: came[0] if came else None
    finally:
        _came = None
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """Tell the user from a signal's handler, which must not fail where stderr does.

    A command writes to the descriptor: the handler may have interrupted a print. In a notebook
    only `sys.stderr` is seen.
    """
    line = f"jaxmeta: {text}\n"
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # gone, in use, closed
        if _own_process and sys.__stderr__ is not None:
            os.write(sys.__stderr__.fileno(), line.encode())
        elif sys.stderr is not None:
            print(line, end="", file=sys.stderr, flush=True)
