"""What the pages say of the code, and of each other, holds."""

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest
import reference

import jaxmeta
from experiments.cli.commands import read_command
from experiments.cli.train import run_of
from jaxmeta.config.run import Run
from jaxmeta.paper_settings import PRESETS
from tests.pages import DOCS, PAGES, ROOT, anchors, blocks, links

MAKEFILE = (ROOT / "Makefile").read_text()
DOCUMENTED = {
    name: kind
    for page in ((DOCS / "api.md").read_text(), *reference.pages().values())
    for kind, name in re.findall(r"^\.\. auto(\w+):: (\S+)$", page, re.MULTILINE)
}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


@each_page
def test_links_and_pictures_are_there(page):
    for target in links(page):
        if not target.startswith("https://"):
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), target
            # Sphinx offers other files of the repository for download, but no folder or page.
            inside = DOCS in path.parents or page.parent == ROOT
            assert inside or (path.is_file() and path.suffix != ".md"), target


@each_page
def test_blocks_are_in_their_language(page):
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text)
        if block.language == "toml":
            tomllib.loads(block.text)


@each_page
def test_commands_are_accepted(page, tmp_path, monkeypatch):
    if page.name == "gym.md":  # its file is executed for its options
        pytest.importorskip("gymnax")  # not locked for Python 3.12
    monkeypatch.chdir(tmp_path)
    for block in (block for page in PAGES for block in blocks(page) if block.file):
        Path(block.file).write_text(block.text)
    targets = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) +\?=", MAKEFILE, re.MULTILINE))
    commands = [c for b in blocks(page) if b.language in ("", "sh") for c in b.commands()]
    for program, *words in commands:
        if program == "jaxmeta":
            args = read_command(words)
            assert args.command != "train" or run_of(args).frames
        if program == "make":
            named = {word.partition("=")[0] for word in words}
            assert named <= targets | variables


def test_the_reference_names_every_public_name_and_every_module():
    assert {f"jaxmeta.{name}" for name in jaxmeta.__all__} - DOCUMENTED.keys() == {
        "jaxmeta.__version__"
    }
    for package in ("jaxmeta", "envs", "experiments"):
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            empty = len(ast.parse(path.read_text()).body) == 1  # a docstring, on its room's page
            entry = name in ("jaxmeta.__init__", "jaxmeta.worker") or path.stem == "__main__"
            assert entry or empty or name.removesuffix(".__init__") in DOCUMENTED, name


def test_what_the_reference_names_is_there():
    for name, kind in DOCUMENTED.items():
        module, _, leaf = name.rpartition(".")
        if kind == "module":
            importlib.import_module(name)
        else:
            assert getattr(importlib.import_module(module), leaf).__doc__, name


def test_the_fidelity_table_is_that_of_the_presets():
    row = re.compile(r"^\| `(\w+\.\w+)` \|.*\| `(\w+)` / `(\w+)` \|.*\|$", re.MULTILINE)
    told = {name: values for name, *values in row.findall((DOCS / "fidelity.md").read_text())}
    paper, reference = (Run(method="ldm", preset=preset).fields() for preset in PRESETS)
    assert told == {name: [paper[name], reference[name]] for name in told}
    assert {name for name in paper if paper[name] != reference[name]} - {"preset"} <= set(told)
