"""The documentation as tests read it: blocks of code, commands, links and headings."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
MADE = ("_build", "api")  # by `make docs`
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if not {*MADE} & {*p.parts})]
BLOCK = re.compile(r"^(?:<!-- (.*?) -->\n)?```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block; `<!-- file: NAME -->` or `<!-- slow -->` may stand in the line above.

    A file's content is written and not run. A slow block is run by `make test-all` only.
    """

    language: str
    text: str
    line: int  # of the page, where the text begins
    file: str | None
    slow: bool

    def commands(self) -> list[list[str]]:
        """Return the words of each command, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        remark = match[1] or ""
        file = remark.removeprefix("file: ") if remark.startswith("file: ") else None
        line = text.count("\n", 0, match.start(3)) + 1
        found.append(Block(match[2], match[3], line, file, remark == "slow"))
    return found


def prose(page: Path) -> str:
    """Return a page without its blocks and code."""
    return re.sub(r"`[^`\n]+`", "`code`", BLOCK.sub("", page.read_text()))


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """Return the names that a page's headings have in links."""
    titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
