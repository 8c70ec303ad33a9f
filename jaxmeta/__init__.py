"""jaxmeta: meta-reinforcement learning in JAX. Names load when they are first used."""

import importlib
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Run": "config.run",
    "ConfigError": "errors",
    "NonFiniteError": "errors",
    "CheckpointError": "errors",
    "Preempted": "errors",
    "PeerLost": "errors",
    "EnvSpec": "config.registry",
    "MethodSpec": "config.registry",
    "register_env": "config.registry",
    "register_method": "config.registry",
    "train": "training.train_run",
    "resume": "training.train_run",
    "join_hosts": "devices.hosts",
    "load": "training.result",
    "build": "training.build",
    "make_env": "training.build",
    "Result": "training.result",
    "sweep": "sweeps.plan",
    "Env": "env",
    "Step": "env",
    "Box": "env",
    "Discrete": "env",
    "Binary": "env",
    "Real": "env",
    "Cells": "env",
    "mdp_step": "env",
    "Agent": "agent",
    "Transition": "agent",
    "greedy": "agent",
    "adaptation": "rollout",
    "collect": "rollout",
    "play": "training.gymnasium_play",
    "Played": "training.gymnasium_play",
    "Algorithm": "algorithm",
}
__all__ = [*_WHERE, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use, so that `import jaxmeta` costs nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'jaxmeta' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxmeta.{_WHERE[name]}"), name)
