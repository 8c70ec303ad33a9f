"""Who may import whom, and that the package `envs` is ours."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    p for room in ("jaxmeta", "envs", "experiments") for p in (ROOT / room).rglob("*.py")
)


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{a.name}" for a in node.names}
    return found


def rooms(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    if room == "jaxmeta":
        assert not rooms(path) & {"envs", "experiments"}
    if room == "envs":
        ours = {m for m in imports(path) if m.split(".")[0] in ("jaxmeta", "experiments")}
        allowed = ("jaxmeta.env", "jaxmeta.errors", "jaxmeta.config")
        assert all(m.startswith(allowed) for m in ours), ours
    if path.parent.name == "algorithms" or room == "jaxmeta":
        assert not any(m.startswith("jaxmeta.algorithms") for m in imports(path))
    if path.name != "action_distributions.py":
        assert "distrax" not in rooms(path)


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


def test_files_stay_short():
    long = {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
