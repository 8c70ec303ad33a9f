"""From a Run, or several of equal structure, to environment and method."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from jaxmeta.algorithm import Algorithm
from jaxmeta.config import registry, resolve, user_code
from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.devices.seed_axis import platform_named
from jaxmeta.env import Env
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import handed_over
from jaxmeta.training.compiled_functions import Members, make_members
from jaxmeta.training.env_contract import require_contract
from jaxmeta.training.saved_items import Trained, trained_shapes
from jaxmeta.trial import Trial, trial

Method = Callable[[Trial, Run], Algorithm]


class Built(NamedTuple):
    """What is made once, of one run or of several that train together."""

    run: Run  # with its code's sections, and all seeds of all runs
    env: Trial
    algorithm: Algorithm
    members: Members
    trained: Trained  # shapes
    code: handed_over.Code  # what the environment and the method are made of


def make_base_env(run: Run) -> Any:
    """Return what the environment's maker returns: it takes physics, then options, if any."""
    spec, options = registry.env_spec(run.env), run.get("env")
    arguments = [run.physics] if spec.simulated else []
    made = user_code.load(spec.make)(*arguments, *([] if options is None else [options]))
    if isinstance(made, Env) and made.options is None and options is not None:
        made.options = options
    return made


def make_env(run: Run, env: Env | None = None) -> Trial:
    """Return the run's environment as trials; `env` replaces the one that its name finds.

    Raises:
      ConfigError: the environment cannot serve this run.
    """
    return trials_of(run.with_env_code(env), env)


def trials_of(run: Run, env: Env | None) -> Trial:
    """Do what `make_env` does, for a run with its code's sections."""
    base = make_base_env(run) if env is None else env
    if not isinstance(base, Env):
        raise ConfigError(f"env = {run.env!r}: must make a jaxmeta.Env, not {type(base).__name__}")
    if env is not None or registry.origin("environments", run.env) != "built-in":  # tests hold ours
        name = run.env if env is None else type(env).__name__
        require_contract(base, name, run.train_split)
    require_options(run, base)
    run.updates(base.horizon)
    return trial(base, run.trial.episodes, run.trial.boundary)


def require_options(run: Run, env: Env) -> None:
    """Refuse an environment that was made with other options than the run has.

    Raises:
      ConfigError: names the first option that differs.
    """
    wanted, made = (
        {} if options is None else resolve.section_items(options)
        for options in (run.get("env"), env.options)
    )
    for name in dict.fromkeys((*wanted, *made)):
        if wanted.get(name) != made.get(name):
            raise ConfigError(
                f"env.{name} = {safe_repr(wanted.get(name))}: but the environment that was passed"
                f" says that it was made with {safe_repr(made.get(name))} (Env.options)"
            )


def build(
    run: Run, env: Env | None = None, method: Method | None = None
) -> tuple[Trial, Algorithm]:
    """Return the run's environment and its method; what is given replaces what names find."""
    return parts_of(run.with_code(env, method), env, method)


def parts_of(run: Run, env: Env | None, method: Method | None) -> tuple[Trial, Algorithm]:
    """Do what `build` does, for a run with its code's sections."""
    trial_env = trials_of(run, env)
    return trial_env, method_maker(run, method)(trial_env, run)


def method_maker(run: Run, method: Method | None) -> Method:
    """Return the method's maker: the one that is given, or what its name finds."""
    return method or user_code.load(registry.method_spec(run.method).make)


def build_together(
    runs: Sequence[Run], env: Env | None = None, method: Method | None = None
) -> Built:
    """Return what is made of runs of equal structure, which have their code's sections."""
    with platform_named():
        trial_env, algorithm = parts_of(runs[0], env, method)
        members = make_members(*runs)
    run = replace(runs[0], seeds=len(members.seed))
    made = {"env": trial_env.env, "method": method_maker(run, method)}
    code = handed_over.code_of(run, made, {"env": env, "method": method})
    return Built(run, trial_env, algorithm, members, trained_shapes(members, algorithm), code)
