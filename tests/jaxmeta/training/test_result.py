"""What a run gave is read back from its directory."""

import jax
import numpy as np
import pytest

import jaxmeta
from envs.gridworld import gridworld
from jaxmeta.algorithms.rl2 import rl2
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import evaluation_csv, reading


def test_a_loaded_agent_acts_as_it_was_evaluated(trained):
    agent, params = jaxmeta.load(trained.out, seed=1)
    env = jaxmeta.make_env(trained.run)
    task = env.eval_tasks("test")[4]
    played = jaxmeta.adaptation(jaxmeta.greedy(agent), env, params, task, jax.random.key(5))
    table = evaluation_csv.read_evaluation(trained.out)
    index = [t["split"] for t in reading.read_tasks(trained.out)].index("test") + 4
    rows = (table["task"] == index) & (table["seed"] == 1) & (table["policy"] == "greedy")
    expected = table["return"][rows & (table["frames"] == 2160)]
    np.testing.assert_allclose(played.returns, expected, atol=1e-4)


def test_load_refuses_what_is_not_there(trained, tmp_path):
    with pytest.raises(ConfigError, match="must be 0 to 1"):
        jaxmeta.load(trained.out, seed=2)
    with pytest.raises(ConfigError, match="holds no run"):
        jaxmeta.load(tmp_path)


def test_a_run_of_code_from_files_is_loaded_with_that_code_only(tmp_path):
    """Its folder names files, which are never executed for that."""
    env_file, method_file = tmp_path / "env.py", tmp_path / "method.py"
    env_file.write_text("from envs.gridworld import gridworld as make\n")
    method_file.write_text("from jaxmeta.algorithms.rl2 import rl2 as make\n")
    run = Run(env=str(env_file), method=str(method_file), frames=960, workers=8)
    run = run.replace({"networks.hidden": 8})
    jaxmeta.train(run, tmp_path / "a")
    env_file.write_text("raise SystemExit")
    method_file.unlink()
    for given in ({}, {"env": gridworld()}, {"method": rl2}):
        with pytest.raises(ConfigError, match=r"pass (env|method)=\.\.\."):
            jaxmeta.load(tmp_path / "a", **given)
    agent, params = jaxmeta.load(tmp_path / "a", env=gridworld(), method=rl2)
    assert agent.begin(params, None).shape == (8,)
