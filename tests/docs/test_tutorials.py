"""The tutorial is code: its pages run, in order, each in an empty folder."""

import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main
from tests.pages import DOCS, ROOT, blocks

PAGES = [*sorted((DOCS / "tutorial").glob("*.md")), DOCS / "extending.md"]
LONG = [page for page in PAGES if any(block.slow for block in blocks(page))]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder to be in, whose modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def follow(page, everything):
    """Do what a page says; return the names that its Python has defined."""
    space = {"__name__": page.stem}
    for block in blocks(page):
        if block.file:
            Path(block.file).write_text(block.text)
        elif block.slow and not everything:
            continue
        elif block.language == "python":
            text = "\n" * (block.line - 1) + block.text
            exec(compile(text, str(page), "exec"), space)
        elif block.language == "sh":
            for program, *arguments in block.commands():
                if program == "jaxmeta":
                    assert main(arguments) == 0, arguments
    return space


def refusal(words, capsys):
    """Return the one line that a bad command line gets."""
    capsys.readouterr()
    assert main(words) == 2
    return capsys.readouterr().err


def of_readme():
    """Return the README's environment, and the commands that are about it."""
    found = blocks(ROOT / "README.md")
    at = next(i for i, block in enumerate(found) if block.file)
    return found[at], found[at + 1].commands()


def test_the_readmes_environment_trains(empty):
    file, (train, *_) = of_readme()
    Path(file.file).write_text(file.text)
    assert train[:2] == ["jaxmeta", "train"]
    assert main(train[1:]) == 0
    assert len(file.text.splitlines()) <= 30


@pytest.mark.slow
def test_all_of_the_readmes_environment(empty):
    file, commands = of_readme()
    Path(file.file).write_text(file.text)
    for program, *arguments in commands:
        assert program == "jaxmeta" and main(arguments) == 0
    assert (empty / "runs" / "report.html").is_file()


@pytest.mark.parametrize("page", ["environment", "method"])
def test_the_documented_file_is_the_one_of_the_tests(page):
    (file,) = [b for b in blocks(DOCS / "tutorial" / f"{page}.md") if b.file]
    assert file.text == (ROOT / "tests" / "foreign" / file.file).read_text()


def test_an_environment_in_one_file(empty, capsys):
    space = follow(DOCS / "tutorial" / "environment.md", everything=False)
    assert list(space["played"].returns) == [4, 4] or list(space["played"].returns) == [3, 4]
    assert [*space["table"]["env.pulls"]] == [2, 4]
    assert len(list((empty / "runs" / "pulls" / "programs").iterdir())) == 2
    assert max(space["table"]["train_return_greedy"][:1]) <= 2
    bad = ["train", "bandit.py:make", "--method", "rl2", "--env.pulls", "0"]
    assert refusal(bad, capsys) in (DOCS / "tutorial" / "environment.md").read_text()


def test_from_gymnax_to_gymnasium(empty):
    pytest.importorskip("gymnax")  # not locked for Python 3.12
    space = follow(DOCS / "tutorial" / "gym.md", everything=False)
    steps = space["played"].transitions
    assert [*np.add.reduceat(steps.reward, [0, steps.last.argmax() + 1])] == [
        *space["played"].returns
    ]
    assert (steps.env_reward == 1).all() and 10 < len(steps.last) <= 100


def test_a_method_in_one_file(empty, capsys):
    (empty / "bandit.py").write_text((ROOT / "tests" / "foreign" / "bandit.py").read_text())
    space = follow(DOCS / "tutorial" / "method.md", everything=False)
    updates = range(51_200 // (32 * 2 * 4))
    fading = [0.1 / (1 + update / 100) for update in updates]
    last = space["result"].metrics[-1]
    assert last["entropy_coef"] == pytest.approx(sum(fading) / len(fading), rel=1e-5)
    assert last["return_train"] > 3
    assert [*space["table"]["fading.half_life"]] == [20, 500]
    assert len(list((empty / "runs" / "half-lives" / "programs").iterdir())) == 1
    bad = ["train", "bandit.py:make", "--method", "fading_rl2.py", "--fading.half_life", "0"]
    assert refusal(bad, capsys) in (DOCS / "tutorial" / "method.md").read_text()


def test_a_sweep_from_python_and_from_a_file(empty, capsys):
    space = follow(DOCS / "tutorial" / "sweep.md", everything=False)
    assert len(space["table"]["run"]) == 8
    assert len(list((empty / "runs" / "entropy" / "programs").iterdir())) == 1
    assert "to do: 0 in 0 programs" in capsys.readouterr().out


def test_names_of_your_own(empty):
    space = follow(DOCS / "extending.md", everything=False)
    assert set(space["ENVIRONMENTS"]) == {"bandit"}
    assert set(space["METHODS"]) == {"fading-rl2"}


@pytest.mark.slow
@pytest.mark.parametrize("page", LONG, ids=lambda page: page.stem)
def test_all_of_a_page(empty, page):
    follow(page, everything=True)
