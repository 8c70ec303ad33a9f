"""From a Run, or from a run's directory, to environment, method and trained agent."""

from collections.abc import Callable
from typing import Any

from jaxmeta.algorithm import Algorithm
from jaxmeta.config import registry, resolve, user_code
from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.env import Env
from jaxmeta.errors import ConfigError
from jaxmeta.trial import Trial, trial

Method = Callable[[Trial, Run], Algorithm]


def make_base(run: Run) -> Any:
    """Return what the environment's maker returns: it takes physics, then options, if any."""
    spec, options = registry.env_spec(run.env), run.get("env")
    arguments = [run.physics] if spec.simulated else []
    made = user_code.load(spec.make)(*arguments, *([] if options is None else [options]))
    if isinstance(made, Env) and made.options is None:
        made.options = options
    return made


def make_env(run: Run, env: Env | None = None) -> Trial:
    """Return the run's environment as trials; `env` replaces the one that its name finds.

    Raises:
      ConfigError: the environment cannot serve this run.
    """
    run = run.with_env_code(env)
    base = make_base(run) if env is None else env
    if not isinstance(base, Env):
        raise ConfigError(f"env = {run.env!r}: must make a jaxmeta.Env, not {type(base).__name__}")
    require_options(run, base)
    run.updates(base.horizon)
    return trial(base, run.trial.episodes, run.trial.boundary)


def require_options(run: Run, env: Env) -> None:
    """Refuse an environment that was made with other options than the run has.

    Raises:
      ConfigError: names the first option that differs.
    """
    wanted, made = (
        {} if options is None else resolve.items(options)
        for options in (run.get("env"), env.options)
    )
    for name in dict.fromkeys((*wanted, *made)):
        if wanted.get(name) != made.get(name):
            raise ConfigError(
                f"env.{name} = {safe_repr(wanted.get(name))}: but the environment that was handed"
                f" over says that it was made with {safe_repr(made.get(name))} (Env.options)"
            )


def build(
    run: Run, env: Env | None = None, method: Method | None = None
) -> tuple[Trial, Algorithm]:
    """Return the run's environment and its method; what is given replaces what names find."""
    run = run.with_code(env, method)
    world = make_env(run, env)
    if method is None:
        method = user_code.load(registry.method_spec(run.method).make)
    return world, method(world, run)
