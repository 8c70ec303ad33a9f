"""From a Run, or from a run's directory, to environment, method and trained agent."""

from collections.abc import Callable
from typing import Any

from jaxmeta.algorithm import Algorithm
from jaxmeta.config import code_files, registry
from jaxmeta.config.run import Run
from jaxmeta.env import Env
from jaxmeta.errors import ConfigError
from jaxmeta.trial import Trial, trial

Method = Callable[[Trial, Run], Algorithm]


def make_base(run: Run) -> Any:
    """Return what the environment's maker returns."""
    spec = registry.env_spec(run.env)
    make = code_files.load(spec.make)
    return make(run.physics) if spec.simulated else make()


def make_env(run: Run, env: Env | None = None) -> Trial:
    """Return the run's environment as trials; `env` replaces the one that its name finds.

    Raises:
      ConfigError: the environment cannot serve this run.
    """
    if env is None:
        code_files.require_file("env", run.env)
    base = make_base(run) if env is None else env
    if not isinstance(base, Env):
        raise ConfigError(f"env = {run.env!r}: must make a jaxmeta.Env, not {type(base).__name__}")
    if run.vae and run.vae.decoder == "multi" and base.cells is None:
        raise ConfigError(
            f"vae.decoder = 'multi': must be 'single'; {run.env} has no finite set of cells"
        )
    run.updates(base.horizon)
    return trial(base, run.trial.episodes, run.trial.boundary)


def build(
    run: Run, env: Env | None = None, method: Method | None = None
) -> tuple[Trial, Algorithm]:
    """Return the run's environment and its method; what is given replaces what names find."""
    world = make_env(run, env)
    if method is None:
        code_files.require_file("method", run.method)
        method = code_files.load(registry.method_spec(run.method).make)
    return world, method(world, run)
