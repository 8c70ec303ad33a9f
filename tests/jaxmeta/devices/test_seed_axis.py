"""Seeds side by side on devices."""

import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxmeta.devices.seed_axis import divisor, map_over_seeds, platform_named, seed_mesh
from jaxmeta.errors import ConfigError
from jaxmeta.training.compiled_functions import run_updates
from tests.processes import ENVIRONMENT
from tests.tiny import advance, program


def test_seeds_beside_each_other_on_one_device_change_nothing():
    """A device with several seeds loops over them; bits are those of a seed alone."""
    made = program("rl2")
    one_device = jax.make_mesh((1,), ("seeds",), (AxisType.Auto,), devices=jax.devices()[:1])
    together = jax.jit(map_over_seeds(one_device, run_updates(made.algorithm)))
    start = jax.device_put(made.start, NamedSharding(one_device, PartitionSpec("seeds")))
    got = together(start, jnp.int32(0), jnp.int32(2))
    expected = advance(made, made.start, 0, 2)
    chex.assert_trees_all_equal(got, expected)


HANG = """
import jax
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import make_members, compile_init
from jaxmeta.devices.seed_axis import seed_mesh
from jaxmeta.config.run import Run
run = Run(method="rl2", seeds=8)
mesh = seed_mesh(8)
start = compile_init(mesh, build(run)[1])
for _ in range(100):
    jax.block_until_ready(start(make_members(run)))
"""


@pytest.mark.slow
def test_several_seeds_on_several_devices_begin():
    """Where their weights were drawn as a batch, this hung every time."""
    subprocess.run([sys.executable, "-c", HANG], env=ENVIRONMENT, check=True, timeout=120)


def test_divisor():
    assert [divisor(n, 4) for n in (1, 2, 3, 4, 5, 6, 8)] == [1, 2, 3, 4, 1, 3, 4]


def test_the_mesh_takes_as_many_devices_as_divide_the_seeds():
    assert seed_mesh(4).size == 2
    assert seed_mesh(3).size == 1


def test_a_platform_that_is_not_there_is_named(tmp_path):
    command = [sys.executable, "-m", "jaxmeta", "train", "gridworld", "--out", tmp_path / "a"]
    env = ENVIRONMENT | {"JAX_PLATFORMS": "nonsense"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "jaxmeta: JAX_PLATFORMS = 'nonsense': JAX finds no such device here" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a").exists()


def test_only_a_missing_platforms_errors_are_reworded(monkeypatch):
    with pytest.raises(AssertionError, match="mine"), platform_named():
        raise AssertionError("mine")
    # As JAX 0.10 fails for JAX_PLATFORMS=cuda: without a word, and without a backend.
    monkeypatch.setattr("jaxmeta.devices.seed_axis.backends_are_initialized", lambda: False)
    with pytest.raises(ConfigError, match=r"JAX_PLATFORMS = .*: JAX finds no"), platform_named():
        raise AssertionError
