"""What is printed is what is meant, whatever a name holds and the environment says."""

import io
from pathlib import Path

import pytest
from rich.table import Table

import experiments
from experiments.terminal.consoles import new_console
from experiments.terminal.training_display import bar
from experiments.terminal.wide_tables import print_whole

NAME = "a[lr=0.1]/[red]b[/]/[/]/:smile:"


def test_names_are_shown_as_they_are():
    out = io.StringIO()
    table = Table(NAME, title=NAME)
    table.add_row(NAME)
    console = new_console(file=out)
    console.print(NAME, soft_wrap=True)
    print_whole(console, table)
    assert out.getvalue().count(NAME) == 4


def test_a_bar_shows_a_name_as_it_is():
    out = io.StringIO()
    with bar(new_console(file=out, force_terminal=True, color_system=None, width=150)) as progress:
        progress.add_task(NAME, total=1, news=NAME)
    assert f"{NAME} " in out.getvalue()
    assert f"{NAME}\n" in out.getvalue()


@pytest.mark.parametrize("size", ["0", "00", "", "-1", "wide"])
def test_a_terminal_without_columns_shows_everything(size, monkeypatch):
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, size)
    out = io.StringIO()
    console = new_console(file=out)
    console.print("all of it")
    assert out.getvalue() == "all of it\n"
    assert min(console.size) > 0


def test_the_environment_may_say_how_wide_a_terminal_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "33")
    assert new_console(file=io.StringIO()).width == 33


def test_all_consoles_are_made_in_one_place():
    files = Path(experiments.__file__).parent.rglob("*.py")
    assert {p.stem for p in files if " Console(" in p.read_text()} == {"consoles"}
