"""What does not fit is refused, with what would."""

import re

import jax
import pytest

import jaxmeta
from jaxmeta.config.mesh_shape import MeshShape
from jaxmeta.devices import memory_budget
from jaxmeta.devices.seed_axis import mesh_of, seed_mesh
from jaxmeta.errors import ConfigError
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import make_members, train_state_shapes
from tests.tiny import tiny_run

COPIES = 2  # of all seeds, on two devices and for a checkpoint


def like(run):
    return train_state_shapes(make_members(run), build(run)[1])


def require_memory(train_state, run, mesh):
    replay = getattr(train_state.state, "replay", None)
    memory_budget.require_memory(train_state, replay, run.seeds, run.replay_bound, mesh)


def give(monkeypatch, free):
    monkeypatch.setattr(memory_budget, "available", lambda device: free)


@pytest.fixture(scope="module")
def ldm():
    return tiny_run("ldm", {"vae.capacity": 5000})


def test_a_capacity_that_would_fit_is_named_and_fits(monkeypatch, ldm):
    shapes, mesh = like(ldm), seed_mesh(2)
    needed = COPIES * memory_budget.size(shapes)
    give(monkeypatch, needed)
    require_memory(shapes, ldm, mesh)
    give(monkeypatch, free := needed // 2)
    with pytest.raises(ConfigError, match=r"vae.capacity = 5000: .* needs .* GiB") as refused:
        require_memory(shapes, ldm, mesh)
    fits = int(re.search(r"; (\d+) would fit", str(refused.value))[1])
    assert 0 < fits < 5000
    smaller, larger = (ldm.replace({"vae.capacity": n}) for n in (fits, fits + 2))
    require_memory(like(smaller), smaller, mesh)
    assert COPIES * memory_budget.size(like(larger)) > free


def test_the_room_of_an_off_policy_replay_that_would_fit_is_named_and_fits(monkeypatch):
    run = tiny_run("moss", {"replay.mebibytes": 8, "frames": 10**7})
    shapes, mesh = like(run), seed_mesh(2)
    give(monkeypatch, free := COPIES * memory_budget.size(shapes) // 2)
    with pytest.raises(ConfigError, match=r"replay.mebibytes = 8: .* needs .* GiB") as refused:
        require_memory(shapes, run, mesh)
    fits = int(re.search(r"; (\d+) would fit", str(refused.value))[1])
    smaller, larger = (run.replace({"replay.mebibytes": n}) for n in (fits, fits + 2))
    require_memory(like(smaller), smaller, mesh)
    assert COPIES * memory_budget.size(like(larger)) > free


def test_without_a_replay_fewer_seeds_are_named(monkeypatch):
    run = tiny_run("rl2")
    shapes = like(run)
    give(monkeypatch, COPIES * memory_budget.size(shapes) * 3 // 4)
    with pytest.raises(ConfigError, match=r"seeds = 2: .*; 1 seeds would fit"):
        require_memory(shapes, run, seed_mesh(2))


def test_training_refuses_before_it_writes(monkeypatch, tmp_path, ldm):
    give(monkeypatch, 1000)
    with pytest.raises(ConfigError, match="seeds = 2"):
        jaxmeta.train(ldm, tmp_path / "a")
    assert not list((tmp_path / "a").glob("*.json"))


def test_the_size_is_that_of_the_arrays(ldm):
    state = build(ldm)[1].init(jax.random.key(0), jaxmeta.algorithm.hyper(ldm))
    bytes_held = sum(
        jax.random.key_data(x).nbytes if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        else x.nbytes
        for x in jax.tree.leaves(state)
    )  # fmt: skip
    assert memory_budget.size(state) == bytes_held


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory_budget, "CGROUP", tmp_path)
    monkeypatch.setattr(memory_budget, "MEMINFO", tmp_path / "meminfo")
    device = jax.devices("cpu")[0]
    assert memory_budget.available(device) is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    7 kB\n")
    assert memory_budget.available(device) == 7 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory_budget.available(device) == 7 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory_budget.available(device) == 4000


def test_devices_that_share_a_seed_hold_it_each(monkeypatch):
    run = tiny_run("rl2", {"seeds": 1})
    shapes = like(run)
    give(monkeypatch, 2 * memory_budget.size(shapes))
    require_memory(shapes, run, mesh_of(MeshShape(seeds=1, groups=1)))
    with pytest.raises(ConfigError, match="seeds = 1"):
        require_memory(shapes, run, mesh_of(MeshShape(seeds=1, groups=2)))
