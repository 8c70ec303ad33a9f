"""Compiled programs are kept on disk, where the user says, and used again."""

import os
import subprocess
import sys

import jax

from jaxmeta.devices import compilation_cache

PROGRAM = """
import jax, jax.numpy as jnp
from jaxmeta.devices.compilation_cache import enable_compilation_cache
hits = []
jax.monitoring.register_event_listener(
    lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None
)
enable_compilation_cache()
print(jax.jit(lambda x: jnp.sin(x) @ x.T)(jnp.ones((3, 3))).sum(), len(hits))
"""


def run_program(**environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=clean | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result, hits = done.stdout.split()
    return result, int(hits)


def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    first, none = run_program(XDG_CACHE_HOME=str(tmp_path))
    again, some = run_program(XDG_CACHE_HOME=str(tmp_path))
    assert first == again
    assert none == 0 and some > 0
    (folder,) = (tmp_path / "jaxmeta").iterdir()
    assert folder.name.startswith(f"jax-{jax.__version__}-")


def test_the_users_own_folder_is_used(tmp_path):
    run_program(
        XDG_CACHE_HOME=str(tmp_path / "a"),
        JAX_COMPILATION_CACHE_DIR=str(tmp_path / "b"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    assert not (tmp_path / "a").exists()
    assert any((tmp_path / "b").iterdir())


def test_without_a_place_nothing_is_kept_and_all_goes_on(tmp_path):
    (tmp_path / "file").write_text("")
    assert run_program(XDG_CACHE_HOME=str(tmp_path / "file"))[1] == 0


def test_unlike_processors_have_folders_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = compilation_cache.cache_folder()
    monkeypatch.setattr(compilation_cache, "instructions", lambda: "flags : fewer")
    assert compilation_cache.cache_folder() != here
    assert compilation_cache.cache_folder().parent == here.parent
