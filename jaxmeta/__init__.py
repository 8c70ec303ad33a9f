"""jaxmeta: meta-reinforcement learning in JAX. Names load when they are first used."""

import importlib
from typing import Any

__version__ = "0.2.0"

# By module, what it gives: first what describes, trains and uses runs, then environments and
# agents, then what authors of methods build on.
_GIVES = {
    "config.run": "Run",
    "errors": "ConfigError NonFiniteError CheckpointError Preempted PeerLost",
    "config.registry": "EnvSpec MethodSpec register_env register_method",
    "training.train_run": "train resume",
    "training.loop": "Status",
    "devices.hosts": "join_hosts",
    "training.result": "load Result",
    "training.build": "build make_env",
    "rundir.reading": "read_run",
    "sweeps.plan": "sweep",
    "env": "Env Step Box Discrete Binary Real Cells mdp_step",
    "agent": "Agent Transition greedy learning_reward",
    "rollout": "adaptation collect",
    "training.gymnasium_play": "play Played",
    "config.option_fields": "section setting count units",
    "nn.options": "Networks",
    "replay.options": "Replay",
    "rl.options": "A2C PPO SAC",
    "beliefs.options": "VAE Inference",
    "imagination.options": "Imagination",
    "algorithm": "Algorithm Hyper sample_tasks true_return update_key",
    "nn.optimisers": "by_group descend",
    "rl.actor_critic": "recurrent",
    "rl.a2c": "a2c_loss encoder_optimiser policy_optimiser",
}
_WHERE = {name: module for module, names in _GIVES.items() for name in names.split()}
__all__ = [*_WHERE, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use, so that `import jaxmeta` costs nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'jaxmeta' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxmeta.{_WHERE[name]}"), name)
