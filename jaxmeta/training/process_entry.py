"""What a process does first that is a command, not a library in somebody else's process."""

import contextlib
import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING

from jaxmeta.training import stop_signals

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

UNREAD = (errno.EPIPE, errno.EIO)  # nobody reads any more; what else goes wrong is said
NOTEBOOKS_BACKEND = "MPLBACKEND"  # matplotlib's, inherited from a notebook, not installed here


def own_process() -> None:
    """Let nothing that is shown, or cannot be, end this process; a second signal does at once."""
    reserve_descriptors()
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is getattr(sys, f"__{name}__"):  # else somebody reads it
            stream = lasting_stream(number, getattr(sys, name))
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    os.environ.pop(NOTEBOOKS_BACKEND, None)
    stop_signals.end_at_once()


def reserve_descriptors() -> None:
    """Fill descriptors 0 to 2 that were closed: else a file gets one, and what is meant for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest that is free: this one


def lasting_stream(number: int, before: io.TextIOWrapper | None) -> io.TextIOWrapper:
    """Return a stream on a descriptor, in place of the one that was there, that never fails.

    What the encoding lacks is escaped; what the other end does not take is dropped.
    """
    if before is None:  # closed at the start: the number may be that of somebody's file by now
        lasting = LastingFile(os.open(os.devnull, os.O_WRONLY), "w")
        return io.TextIOWrapper(io.BufferedWriter(lasting), "utf-8", "backslashreplace")
    with contextlib.suppress(OSError):
        before.flush()
    lasting = LastingFile(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(lasting),
        before.encoding,
        "backslashreplace",
        line_buffering=before.line_buffering or before.write_through,
    )


class LastingFile(io.FileIO):
    """A file whose writes never fail: a pipe without a reader, a full disk, a closed terminal."""

    failed = False

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write, waiting where the other end is slow; count what it does not take as written."""
        try:
            while (count := super().write(data)) is None:  # somebody made it non-blocking
                select.select([], [self], [])
            return count
        except OSError as error:
            if not self.failed and error.errno not in UNREAD:
                stop_signals.say(f"not all could be shown: {error.strerror}")
            self.failed = True
            return memoryview(data).nbytes
