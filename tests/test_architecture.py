"""Who may import whom, how files are called, and that the package `envs` is ours."""

import ast
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("jaxmeta", "envs", "experiments")
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))

# The order of the rooms: each may import itself and what stands before it in its line.
VOCABULARY = ("axes", "env", "action_units", "agent", "trial", "rollout", "algorithm")
GROUND = ("errors", "paper_settings", "config", *VOCABULARY)
PARTS = ("nn", "replay", "rl", "beliefs", "imagination", "algorithms")
RUNNING = ("devices", "rundir", "statistics")  # it never sees the parts, nor they it
TOP = ("training", "sweeps")
STUDIES = ("terminal", "analysis", "figures", "report", "studies", "bench", "cli")
LINES = (
    [f"jaxmeta.{room}" for room in (*GROUND, *PARTS)],
    [f"jaxmeta.{room}" for room in (*GROUND, *RUNNING)],
    [f"jaxmeta.{room}" for room in (*GROUND, *PARTS, *RUNNING, *TOP)],
    ["jaxmeta.errors", "jaxmeta.paper_settings", "jaxmeta.config", "jaxmeta.env", "envs"],
    [
        *(f"jaxmeta.{room}" for room in (*GROUND, *PARTS, *RUNNING, *TOP)),
        *("envs", "jaxmeta"),
        *(f"experiments.{room}" for room in STUDIES),
    ],
)
ENTRIES = (
    "jaxmeta", "jaxmeta.__main__", "jaxmeta.worker", "experiments", "experiments.__main__",
)  # fmt: skip
JAX_FREE = ("jaxmeta.errors", "jaxmeta.paper_settings", "jaxmeta.config")


def module(path: Path) -> str:
    """Return a file's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in FILES}


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = resolve_name("." * node.level + (node.module or ""), package_of(path))
            # Where the user has a package `envs`, ours has another name.
            assert bool(node.level) == (room(whole) == room(module(path)) == "envs"), path
            names = {f"{whole}.{a.name}" for a in node.names}
            found |= {name if name in MODULES else whole for name in names}
    return found


def package_of(path: Path) -> str:
    """Return the package that a file is in."""
    return ".".join(path.relative_to(ROOT).parent.parts)


def room(name: str) -> str:
    """Return a module's room: "jaxmeta.rl" of "jaxmeta.rl.sac", "envs" of all that is there."""
    return "envs" if name.split(".")[0] == "envs" else ".".join(name.split(".")[:2])


def allowed(name: str) -> set[str]:
    """Return the rooms that a module may import from."""
    lines = [line[: line.index(room(name)) + 1] for line in LINES if room(name) in line]
    return set.intersection(*map(set, lines)) if lines else set()


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ENTRIES])
def test_imports_run_one_way(name):
    ours = {m for m in imports(MODULES[name]) if m.split(".")[0] in PACKAGES}
    assert {m for m in ours if room(m) not in allowed(name)} == set()


def test_every_room_has_its_place():
    known = {name for line in LINES for name in line} - {"jaxmeta"}
    assert {room(name) for name in MODULES.keys() - set(ENTRIES)} == known


@pytest.mark.parametrize("name", MODULES)
def test_methods_are_found_by_name_only(name):
    """A part never imports an algorithm, an algorithm never another; distrax is in one place."""
    found = imports(MODULES[name])
    assert not any(m.startswith("jaxmeta.algorithms.") for m in found)
    assert name == "jaxmeta.nn.action_distributions" or "distrax" not in found
    assert room(name) not in JAX_FREE or not {m.split(".")[0] for m in found} & {"jax", "flax"}


def test_no_import_runs_in_a_circle():
    TopologicalSorter(
        {name: imports(path) & MODULES.keys() for name, path in MODULES.items()}
    ).prepare()


def test_no_two_files_have_one_name():
    counts = Counter(path.stem for path in FILES)
    twice = {name for name, count in counts.items() if count > 1}
    assert twice <= {"__init__", "__main__", "options"}


def test_a_wings_init_is_one_docstring():
    """So that files without jax stay so; `algorithms`, `paper_settings` and `envs` list things."""
    lists = {"jaxmeta", "jaxmeta.algorithms", "jaxmeta.paper_settings", "envs"}
    for path in FILES:
        if path.name == "__init__.py" and module(path) not in lists:
            assert len(ast.parse(path.read_text()).body) == 1, path


def test_importing_jaxmeta_is_light():
    code = "import sys, jaxmeta, envs, jaxmeta.algorithms; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jax", "mujoco", "matplotlib"} & set(done.stdout.split())


def test_envs_is_ours(tmp_path):
    """Another package of that name exists; ours must win from any folder."""
    done = subprocess.run(
        [sys.executable, "-c", "import envs; print(envs.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert Path(done.stdout.strip()) == ROOT / "envs" / "__init__.py"


def in_the_locale(call: ast.Call) -> bool:
    """Whether a call reads or writes text as the locale has it."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {k.arg: k.value for k in call.keywords}
    if "encoding" in given:
        return False
    if name == "open":
        owner = getattr(call.func, "value", None)
        at = 1 if owner is None else 0  # open(path, mode), path.open(mode)
        mode = given.get("mode", call.args[at] if len(call.args) > at else ast.Constant("r"))
        return getattr(owner, "id", "") != "os" and "b" not in getattr(mode, "value", "")
    return name in ("read_text", "write_text") or "text" in given


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("p.read_text()", True),
        ("p.write_text(x)", True),
        ("open(p)", True),
        ("p.open('a', newline='')", True),
        ("subprocess.run(w, text=True)", True),
        ("p.read_text(encoding='utf-8')", False),
        ("open(p, 'rb')", False),
        ("p.open('wb')", False),
        ("os.open(p, os.O_RDONLY)", False),
    ],
)
def test_what_depends_on_the_locale_is_noticed(code, found):
    assert in_the_locale(ast.parse(code, mode="eval").body) == found


@pytest.mark.parametrize("name", MODULES)
def test_files_are_utf_8_whatever_the_locale(name):
    calls = [n for n in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(n, ast.Call)]
    assert [ast.unparse(call) for call in calls if in_the_locale(call)] == []


def test_files_stay_short():
    long = {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
