"""How figures look, and how they are saved."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

CHARACTERS = 15  # of a note that fit into an inch

# A date would change the bytes; the rest names addresses on the web.
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a name may hold dollars
    "svg.hashsalt": "jaxmeta",  # the same figure has the same bytes
}


def figure(width: float, height: float) -> Figure:
    """Return an empty figure (inches) that makes room for its own text."""
    return Figure(figsize=(width, height), layout="constrained")


def save(drawn: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as PNG and SVG; return the two files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{stem}.{kind}" for kind in ("png", "svg")]
    with matplotlib.rc_context(STYLE):
        drawn.savefig(files[0], dpi=160)
        drawn.savefig(files[1], metadata=NO_METADATA)
    return files
