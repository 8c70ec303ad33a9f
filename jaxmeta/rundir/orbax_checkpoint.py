"""orbax, imported where it does no harm: to Python's root logger, and to folders' names."""

import contextlib
import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxmeta.rundir.layout import is_utf_8


def show_once() -> None:
    """Let no message that a handler of ours shows be shown by Python's root logger, too.

    absl, which orbax uses, gives that a handler at its import if it has none. It is made here,
    as absl does, where it can be told.
    """
    if logging.root.handlers:
        return
    logging.basicConfig()
    ours = logging.getLogger("jaxmeta")
    logging.root.handlers[0].addFilter(
        lambda record: not (record.name.partition(".")[0] == ours.name and ours.handlers)
    )


show_once()
import orbax.checkpoint as ocp  # noqa: E402

__all__ = ["literal_path", "ocp", "show_once"]


@contextlib.contextmanager
def literal_path(folder: Path) -> Iterator[Path]:
    """Yield a path to a folder that orbax and tensorstore take literally.

    They look for a checkpoint's parts by a glob of the whole path, and read "\\" as "/" and
    "gs:" as a protocol. Where a name holds such things, or is no UTF-8 (a run that was moved),
    it is a link beside the system's temporary files.
    """
    path = folder.absolute()
    if is_utf_8(path) and not re.search(r"[*?\[\\]|:/", str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="jaxmeta-") as place:
        link = Path(place) / "checkpoints"
        link.symlink_to(path, target_is_directory=True)
        yield link
