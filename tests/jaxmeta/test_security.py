"""Nothing here unpickles or evaluates, and a run's folder is data: nothing in it is executed."""

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import jaxmeta
from experiments.__main__ import main
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import reading
from tests.written import run_on_record, two_episodes, write_run

ROOT = Path(__file__).parents[2]
FILES = sorted(
    p for room in ("jaxmeta", "envs", "experiments") for p in (ROOT / room).rglob("*.py")
)
BANNED_MODULES = {
    "pickle", "_pickle", "cPickle", "pickletools", "dill", "cloudpickle", "joblib", "shelve",
    "marshal", "runpy", "code", "imp",
}  # fmt: skip
BANNED_CALLS = {
    "eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "os.system",
    "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "jsonpickle.decode",
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    """Return the name that an expression spells, "np.load"; "" for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    owner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{owner}.{node.attr}" if owner else ""


def dangers(source: str) -> list[str]:
    """Return what in a file could execute data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names]
            found += [name for name in names if name.split(".")[0] in BANNED_MODULES]
        elif isinstance(node, ast.Call):
            found += [dotted(node.func)] if dotted(node.func) in BANNED_CALLS else []
            for word in node.keywords:
                value = getattr(word.value, "value", None)
                if word.arg in ("allow_pickle", "shell") and value is not False:
                    found.append(word.arg)
        elif isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            loaders = ("spec_from_file_location", "exec_module", "SourceFileLoader")
            found += [name] if name in loaders else []
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_can_execute_data(path):
    allowed = ["spec_from_file_location", "exec_module"] if path.name == "user_code.py" else []
    assert sorted(dangers(path.read_text())) == sorted(allowed)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "import os, dill as d", "from joblib import load", "import marshal",
        "from cloudpickle.cloudpickle import loads", "eval(text)", "exec(code)", "os.system(x)",
        "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=maybe)", "yaml.load(x)",
        "subprocess.run(line, shell=True)", "importlib.util.spec_from_file_location(a, b)",
        "importlib.machinery.SourceFileLoader(a, b)", "__import__(name)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(line):
    assert dangers(line)
    assert not dangers("np.load(path, allow_pickle=False); lowered.compile(); model.eval()")


# Everything that Python, a library or a careless reader could pick up from a folder.
MODULES = (
    "evil", "sitecustomize", "usercustomize", "conftest", "numpy", "json", "jax", "jax_plugins",
    "orbax", "matplotlib", "rich", "jaxmeta/__init__", "jaxmeta/config", "jaxmeta/algorithms",
    "envs/__init__", "envs/gridworld", "experiments/__init__", "experiments/__main__",
    "figures/__init__", "checkpoints/evil", "checkpoints/1/agent/evil",
)  # fmt: skip
# What setuptools puts on sys.path where a package has namespaces: a folder of this name in the
# current one is searched for entry points. `this` is a module that nobody imports by accident.
RELATIVE = f"__editable__.jaxmeta-{version('jaxmeta')}.finder.__path_hook__"
ENTRY_POINTS = "[jaxmeta.environments]\nthis = this:d\n[jax_plugins]\nthis = this:d\n"
COLOUR = "123456"


def hostile(folder: Path, run: Run, marker: Path) -> Path:
    """Write a finished run whose folder is full of code that would leave a marker."""
    write_run(folder, run, [[20.0, 21.0]], [[1.0, 2.0]], status="finished")
    for name in MODULES:
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(marker)!r}, 'a').write(__file__)\n")
    for info in (folder / "evil-1.0.dist-info", folder / RELATIVE / "evil-1.0.dist-info"):
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "evil.pth").write_text("import evil\n")
    (folder / "matplotlibrc").write_text(f"xtick.color: {COLOUR}\n")
    pickled = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    for name in ("params.pkl", "checkpoints/1/agent/params.pkl", "checkpoints/1/index/metadata"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pickled)
    return folder


# Runs in the hostile folder. `-P` gives it what the console script `jaxmeta` has by its nature:
# the current folder is not on sys.path. `python -m` puts it there, before any code of ours runs.
WATCHED = """
import json, os, sys

here, private = os.path.realpath(os.getcwd()), os.path.realpath(os.environ["HOME"])
NAMED_BY = {"exec": 0, "compile": 1, "import": 1, "ctypes.dlopen": 0}  # the argument's place
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")
CHANGES = "mkdir rename remove rmdir link symlink truncate chmod chown utime".split()
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
seen = {what: [] for what in ("executed", "read", "written", "started", "unpickled")}

def within(path, folder):
    return (os.path.realpath(os.fsdecode(path)) + os.sep).startswith(folder + os.sep)

def outside(path):
    return not any(within(path, place) for place in (here, private, os.devnull))

def record(event, args):
    if event in NAMED_BY:
        name = args[NAMED_BY[event]]
        name = getattr(name, "co_filename", name)
        if name and name[:1] != "<" and within(name, here):
            seen["executed"].append(name)
    elif event == "open" and not isinstance(args[0], int):
        if args[2] & WRITES and outside(args[0]):
            seen["written"].append(os.fsdecode(args[0]))
        elif not args[2] & WRITES and within(args[0], here):
            seen["read"].append(os.path.relpath(args[0], here))
    elif event.removeprefix("os.") in CHANGES:
        paths = [a for a in args if isinstance(a, (str, bytes, os.PathLike))]
        seen["written"] += [os.fsdecode(path) for path in paths if outside(path)]
    elif event in STARTS:
        seen["started"].append(os.fsdecode(args[0]))
    elif event == "pickle.find_class":
        seen["unpickled"].append(".".join(args))

sys.addaudithook(record)
import jaxmeta
from experiments.__main__ import main

def result(word, folder, *options):
    try:
        return jaxmeta.load(folder) if word == "load" else main([word, folder, *options])
    except Exception as error:
        return type(error).__name__

said = [result(*call) for call in json.loads(sys.argv[1])]
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
seen["executed"] += [file for file in files if file and within(file, here)]
seen["imported"] = list(sys.modules)
print()
print(json.dumps([said, seen]))
"""
ENV, METHOD, NONE = ".", "b", "c"  # runs by what of them is from a file
TRAIN = ("train", "gridworld", "--method", "rl2", "--out")
ANSWERS = {
    **{("report", name): 0 for name in (ENV, METHOD, NONE)},
    **{("watch", name): 0 for name in (ENV, METHOD, NONE)},
    **{(word, name): 2 for word in ("evaluate", "resume") for name in (ENV, METHOD)},
    **{(*TRAIN, name): 2 for name in (ENV, METHOD, NONE)},
    **{("load", name): "ConfigError" for name in (ENV, METHOD)},
    ("evaluate", NONE): 1,  # its checkpoint is damaged
    ("load", NONE): "CheckpointError",
    ("resume", NONE): 2,  # it is said to be finished, but its checkpoint is none
}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """The folder of three hostile runs, in which every command has been tried; what was seen."""
    base = tmp_path_factory.mktemp("stranger")
    marker, home, folder = base / "marker", base / "home", base / "run"
    home.mkdir()
    plain = two_episodes(frames=100_000)
    hostile(folder / ENV, run_on_record(plain, env="./evil.py:make"), marker)
    hostile(folder / METHOD, run_on_record(plain, method="evil.py"), marker)
    hostile(folder / NONE, two_episodes(), marker)
    places = {"HOME": str(home), "MPLCONFIGDIR": str(home), "TMPDIR": str(home)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", WATCHED, json.dumps(list(ANSWERS))],
        cwd=folder,
        env=os.environ | places | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in base.iterdir()) == ["home", "run"]
    said, seen = json.loads(done.stdout.splitlines()[-1])
    assert dict(zip(ANSWERS, said, strict=True)) == ANSWERS, done.stderr
    return folder, seen


def test_a_strangers_run_executes_nothing(stranger):
    _, seen = stranger
    assert not seen["executed"]
    assert not seen["unpickled"]
    fonts = {"fc-list", "system_profiler"}  # what matplotlib asks for them
    assert set(seen["started"]) <= fonts | {"git"}  # about the checkout that our code is in
    code = {".py", ".pyc", ".pth", ".pkl", ".so"}
    assert not [path for path in seen["read"] if Path(path).suffix in code]


def test_a_strangers_run_writes_nothing_elsewhere(stranger):
    assert not stranger[1]["written"]


def test_a_strangers_run_adds_no_entry_points(stranger):
    _, seen = stranger
    assert "this" not in seen["imported"]
    assert not [path for path in seen["read"] if "dist-info" in path]


def test_a_strangers_run_does_not_style_figures(stranger):
    folder, _ = stranger
    assert COLOUR not in (folder / "figures" / "curves.svg").read_text()


def test_the_console_script_ignores_the_folder_it_runs_in(stranger):
    script = Path(sys.executable).with_name("jaxmeta")
    done = subprocess.run(
        [script, "evaluate", "."], cwd=stranger[0], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "a run's folder names no code to execute" in done.stderr
    assert not (stranger[0].parent / "marker").exists()


def linked(tmp_path: Path, name: str) -> Path:
    """Write a run in which `name` is a link to something outside; return its folder."""
    folder, outside = tmp_path / "run", tmp_path / "outside"
    write_run(folder, two_episodes(), [[20.0]], [[1.0]], status="preempted")
    (folder / "checkpoints" / "1").mkdir(parents=True)
    outside.mkdir()
    (outside / "precious").write_text("thesis")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside / ("precious" if "." in name else ""))
    return folder


LINKS = ("config.json", "metrics.jsonl", ".lock", "figures", "checkpoints/1/agent", "no.where")
COMMANDS = {
    "evaluate": [], "resume": [], "report": [], "watch": [],
    "train": ["--method", "rl2", "--trial.episodes", "2"],
}  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_links_are_found(tmp_path, name):
    folder = linked(tmp_path, name)
    with pytest.raises(ConfigError, match=f"{name}: must not be a symbolic link"):
        reading.refuse_links(folder)
    (folder / name).unlink()
    (tmp_path / "alias").symlink_to(folder)  # the folder itself may be reached through one
    reading.refuse_links(tmp_path / "alias")


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_with_links_is_refused(tmp_path, capsys, command, name):
    folder = linked(tmp_path, name)
    place = ["gridworld", "--out", str(folder)] if command == "train" else [str(folder)]
    assert main([command, *place, *COMMANDS[command]]) == 2
    assert "must not be a symbolic link" in capsys.readouterr().err
    outside = tmp_path / "outside"
    assert {p.name: p.read_text() for p in outside.iterdir()} == {"precious": "thesis"}


@pytest.mark.parametrize("name", LINKS)
def test_a_run_with_links_is_not_loaded(tmp_path, name):
    folder = linked(tmp_path, name)
    with pytest.raises(ConfigError, match="must not be a symbolic link"):
        jaxmeta.load(folder)
