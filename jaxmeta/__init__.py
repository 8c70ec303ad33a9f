"""jaxmeta: meta-reinforcement learning in JAX. Names load when they are first used."""

import importlib
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Run": "config",
    "ConfigError": "errors",
    "NonFiniteError": "errors",
    "CheckpointError": "errors",
    "Preempted": "errors",
    "PeerLost": "errors",
    "EnvSpec": "registry",
    "MethodSpec": "registry",
    "register_env": "registry",
    "register_method": "registry",
    "train": "training",
    "resume": "training",
    "join_hosts": "hosts",
    "load": "loading",
    "build": "loading",
    "make_env": "loading",
    "Result": "loading",
    "sweep": "sweeps",
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
    "play": "playing",
    "Played": "playing",
    "Algorithm": "algorithm",
}
__all__ = [*_WHERE, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use, so that `import jaxmeta` costs nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'jaxmeta' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxmeta.{_WHERE[name]}"), name)
