"""The consoles that commands print on: text is shown as it is, as wide as there is room."""

import os
from typing import Any

from rich.console import Console

SIZE = ("COLUMNS", "LINES")  # what says how large a terminal is, in place of the terminal


def new_console(**options: Any) -> Console:
    """Return a console that takes no bracket or colon of a name for markup.

    Where the environment says that a terminal has no columns, as some programs that start others
    do, it is asked itself, or taken to be 80 wide: else nothing would be shown.
    """
    known = {k: v for k, v in os.environ.items() if k not in SIZE or is_size(v)}
    return Console(markup=False, emoji=False, highlight=False, _environ=known, **options)


def is_size(text: str) -> bool:
    """Whether a text is a number above 0."""
    return text.isdecimal() and int(text) > 0
