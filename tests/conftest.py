"""Strict settings for every test, made before JAX is first used; plain NumPy networks."""

import signal
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import jax
import numpy as np
import pytest
from scipy.special import expit

import jaxmeta
from tests.processes import CACHE
from tests.tiny import tiny_run

REPO = Path(__file__).resolve().parents[1]
OUTCOMES = {"passed": "survived", "failed": "lost", "error": "lost", "skipped": "not tried"}

# A shell's background jobs ignore it, and so would all processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_enable_async_dispatch", False)  # callbacks into C MuJoCo could hang
jax.config.update("jax_numpy_rank_promotion", "raise")
# Halves the compilation, which is most of what the tests do; what is measured in seconds
# or learns for minutes runs in processes of its own.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.devices()  # from here on they are two; else the first run would ask for as many as its seeds


def pytest_collection_modifyitems(items):
    for item in items:
        if mark := item.get_closest_marker("fault"):
            item.user_properties.append(("fault", mark.args[0]))


def pytest_terminal_summary(terminalreporter):
    """Print what was done to runs, and what became of them."""
    rows = defaultdict(Counter)
    for outcome, verdict in OUTCOMES.items():
        for report in terminalreporter.stats.get(outcome, []):
            known = dict(getattr(report, "user_properties", ()))  # collecting has none
            if "fault" in known:
                rows[known["fault"]][verdict] += known.get("tried", 1)
    if rows:
        verdicts = ("tried", "survived", "lost", "not tried")
        terminalreporter.write_line("| fault | " + " | ".join(verdicts) + " |")
        terminalreporter.write_line("|---" * (1 + len(verdicts)) + "|")
        for counts in rows.values():
            counts["tried"] = counts["survived"] + counts["lost"]
        for name, counts in [*sorted(rows.items()), ("**all**", sum(rows.values(), Counter()))]:
            numbers = " | ".join(str(counts[v]) for v in verdicts)
            terminalreporter.write_line(f"| {name} | {numbers} |")


def relu(x):
    return np.maximum(x, 0)


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def gru_cell(p, h, x):
    """Return the next hidden state: torch.nn.GRUCell as its documentation states it."""
    of_x = {g: x @ p["wi"][g] + p["bi"][g] for g in "rzn"}
    of_h = {g: h @ p["wh"][g] + p["bh"][g] for g in "rzn"}
    r, z = expit(of_x["r"] + of_h["r"]), expit(of_x["z"] + of_h["z"])
    n = np.tanh(of_x["n"] + r * of_h["n"])
    return (1 - z) * n + z * h


def encode(p, h, action, obs, reward):
    """Return the next hidden state [W, H]; action is one-hot, or a vector."""
    parts = [relu(dense(p["embed_action"], action))] if "embed_action" in p else []
    parts += [relu(dense(p["embed_obs"], obs)), relu(dense(p["embed_reward"], reward[:, None]))]
    return gru_cell(p["gru"], h, np.concatenate(parts, axis=-1))


def decode(p, z, embedded):
    """Return the reward decoder's output [...] for latents and embedded inputs [..., D]."""
    kernel = np.concatenate([p["of_latent"], p["of_inputs"]])
    x = relu(np.concatenate([z, embedded], axis=-1) @ kernel + p["bias"])
    for name in sorted(name for name in p if name.startswith("layers_")):
        x = relu(dense(p[name], x))
    return dense(p["out"], x)[..., 0]


def embed(p, inputs, obs, action, next_obs):
    """Return what the decoder reads beside the latent, by the names in `inputs`."""
    parts = {
        "next_obs": lambda: relu(dense(p["embed_obs"], next_obs)),
        "action": lambda: relu(dense(p["embed_action"], action)),
        "obs": lambda: relu(dense(p["embed_obs"], obs)),
    }
    return np.concatenate([part() for name, part in parts.items() if name in inputs], axis=-1)


def float64(params):
    """Return one network's parameters for the functions above."""
    return jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Return a short LDM run, trained from Python."""
    out = tmp_path_factory.mktemp("runs") / "a"
    run = tiny_run("ldm").replace({"frames": 2000, "log_every": 480, "evaluation.every": 960})
    seen = []
    result = jaxmeta.train(run, out, watch=seen.append, checkpoint_every="4u")
    return SimpleNamespace(run=run, out=out, seen=seen, result=result)


@pytest.fixture(scope="session")
def plain():
    """Return the networks in NumPy float64, written from the papers' and PyTorch's formulas."""
    return SimpleNamespace(
        dense=dense, gru_cell=gru_cell, encode=encode, decode=decode, embed=embed, float64=float64
    )
