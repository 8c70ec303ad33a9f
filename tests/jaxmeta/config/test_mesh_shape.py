"""Seeds and groups on several devices: the same numbers, and the work really divided."""

import re

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxmeta
from jaxmeta.axes import SEEDS
from jaxmeta.config import mesh_shape
from jaxmeta.config.mesh_shape import MeshShape
from jaxmeta.config.run import Run
from jaxmeta.devices.seed_axis import device_mesh, map_over_seeds, mesh_of
from jaxmeta.errors import ConfigError
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import compile_init, make_members, run_updates
from tests.tiny import program, tiny_run

UPDATES = 3


def compiled(algorithm, start, shape):
    """Return updates on a mesh, compiled, and the state that they start from, placed there."""
    mesh = mesh_of(shape)
    spread = NamedSharding(mesh, P(SEEDS))
    start = jax.device_put(jax.device_get(start), jax.tree.map(lambda x: spread, start))
    updates = jax.jit(map_over_seeds(mesh, run_updates(algorithm)), out_shardings=spread)
    return updates.lower(start, jnp.int32(0), jnp.int32(1)).compile(), start


def rows_of_products(text):
    """Return the first dimensions of all matrix products in a compiled program."""
    return {int(n) for n in re.findall(r"= f32\[(\d+),\d+\]\S* dot\(", text)}


def assert_divided(algorithm, start, workers):
    """Assert that two devices for a seed's workers give what one gives, and share the work."""
    found, products = {}, {}
    for shape in (MeshShape(1, 1), MeshShape(1, 2)):
        updates, train_state = compiled(algorithm, start, shape)
        for at in range(UPDATES):
            train_state = updates(train_state, jnp.int32(at), jnp.int32(1))
        found[shape] = jax.device_get(
            (algorithm.params(train_state.state), train_state.progress.total)
        )
        products[shape] = rows_of_products(updates.as_text())
        assert ("all-reduce" in updates.as_text()) == (shape.groups > 1)
    chex.assert_trees_all_close(found[1, 2], found[1, 1], rtol=1e-5, atol=1e-5)
    steps = 60 * workers  # of all workers, in the products of the policy's update
    assert steps in products[1, 1]
    assert steps not in products[1, 2]
    assert steps // 2 in products[1, 2]


@pytest.mark.parametrize(
    "method",
    ["rl2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mixreg", "varibad"))],
)
def test_divided_workers_give_what_undivided_ones_give(method):
    made = program(method)
    assert_divided(made.algorithm, made.start, workers=4)


@pytest.mark.slow
def test_divided_groups_give_what_undivided_ones_give():
    run = tiny_run("ldm", {"workers": 8})
    _, algorithm = build(run)
    assert_divided(
        algorithm, compile_init(mesh_of(MeshShape()), algorithm)(make_members(run)), workers=8
    )


@pytest.mark.parametrize("text", ["", "8", "seeds=0", "seeds=2.5", "seed=2", "seeds=2;groups=2"])
def test_what_is_no_mesh_is_refused(text):
    with pytest.raises(ConfigError, match=r"^mesh = .*: must be numbers of devices such as"):
        mesh_shape.parse_mesh(text)


def test_an_axis_left_out_is_one():
    assert mesh_shape.parse_mesh("groups=4") == MeshShape(1, 4)
    assert mesh_shape.parse_mesh("groups=4,seeds=2") == MeshShape(2, 4)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ("seeds=3", "mesh = seeds=3,groups=1: seeds must divide seeds = 8"),
        ("groups=3", r"mesh = seeds=1,groups=3: groups must divide workers = 64 // 16 \(a group\)"),
        ("seeds=8,groups=4", r"mesh = seeds=8,groups=4: needs 32 devices, but 2 are there \(cpu\)"),
    ],
)
def test_a_mesh_must_fit_the_run_and_the_machine(mesh, message, tmp_path):
    run = Run(method="ldm", seeds=8, workers=64)
    with pytest.raises(ConfigError, match=message):
        jaxmeta.train(run, tmp_path / "a", mesh=mesh)
    assert not (tmp_path / "a").exists()


def test_workers_in_c_physics_are_not_divided(tmp_path):
    run = Run(env="ant-direction", method="rl2", seeds=1)
    with pytest.raises(ConfigError, match="groups must be 1 with physics = auto, C MuJoCo on a"):
        device_mesh(run, MeshShape(1, 2))
    device_mesh(run.replace({"physics": "mjx"}), MeshShape(1, 2))
    mesh_shape.check_physics(run, MeshShape(1, 2), "gpu")
    with pytest.raises(ConfigError, match="groups must be 1 with physics = c; physics = mjx"):
        mesh_shape.check_physics(run.replace({"physics": "c"}), MeshShape(1, 2), "gpu")


def test_off_policy_methods_have_a_device_per_seed():
    run = tiny_run("moss")
    with pytest.raises(ConfigError, match="groups must be 1; SAC learns on a device per seed"):
        mesh_shape.check(run, MeshShape(1, 2))
    assert mesh_shape.largest_mesh(run, 8, 2) == MeshShape(2)


def test_several_processes_take_equal_shares():
    run = Run(method="ldm", seeds=3, workers=64)
    with pytest.raises(ConfigError, match="its 3 devices must be a multiple of the 2 processes"):
        mesh_shape.check(run, MeshShape(3, 1), 2)
    assert mesh_shape.largest_mesh(run, 16) == MeshShape(3, 1)
    assert mesh_shape.largest_mesh(run, 16, 2) == MeshShape(3, 4)
    assert mesh_shape.largest_mesh(run, 2, 2) == MeshShape(1, 2)
    with pytest.raises(ConfigError, match="num_processes = 5: must divide seeds = 3, or workers"):
        mesh_shape.largest_mesh(run, 16, 5)
