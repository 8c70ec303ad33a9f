"""Where a sweep's programs are trained: here, in processes, as SLURM jobs, or elsewhere."""

import logging
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxmeta.errors import ConfigError, Preempted
from jaxmeta.rundir import layout, lock
from jaxmeta.sweeps.sweep_folder import ACCEPT
from jaxmeta.training.stop_signals import stop_requests

JOB = "job"  # a program's file with the number of its SLURM job

log = logging.getLogger(__name__)


class Options(NamedTuple):
    """How programs are executed."""

    workers: int
    slurm: dict[str, Any]
    checkpoint_every: str
    watch: Callable[..., None]
    files: tuple[str, ...]  # FILE.py:FUNCTION names that the caller gave
    accept_changed_code: bool


def check(executor: str, workers: int) -> None:
    """Refuse an unknown executor.

    Raises:
      ConfigError: names what there is.
    """
    if executor not in EXECUTORS:
        raise ConfigError(f"executor = {executor!r}: must be one of {', '.join(EXECUTORS)}")
    if workers < 1:
        raise ConfigError(f"workers = {workers}: must be a whole number >= 1")


def command(program: Path, options: Options, share: str = "1/1") -> list[str]:
    """Return the command that trains one program, on a share of the cores."""
    words = (sys.executable, "-P", "-m", "jaxmeta.worker", str(program.absolute()))
    accepted = [ACCEPT] if options.accept_changed_code else []
    return [*words, options.checkpoint_every, share, *accepted, *options.files]


def here(programs: list[Path], options: Options) -> None:
    """Train programs one after the other; an error ends its own program only.

    Raises:
      Preempted: a signal came.
    """
    import jax  # which plans do without

    from jaxmeta.devices import cpu, seed_axis
    from jaxmeta.sweeps.train_program import run_program

    seed_axis.request_cpu_devices(cpu.cores())
    jax.devices()  # at once: the first program may have less use for them, and ask for fewer
    with stop_requests() as stop_asked:
        for program in programs:
            try:
                run_program(
                    program, options.checkpoint_every, options.watch, options.files,
                    options.accept_changed_code,
                )  # fmt: skip
            except Preempted:
                raise
            except Exception as error:
                log.exception("%s: %s: %s", program, type(error).__name__, error)
            if signal := stop_asked():
                raise Preempted(f"{signal}: stopped after {program}")


def processes(programs: list[Path], options: Options) -> None:
    """Train programs in `workers` processes at a time, which share the cores evenly.

    Raises:
      Preempted: a signal came; it was passed on, and all processes have saved.
    """
    waiting, free = list(programs), list(range(options.workers))
    running: dict[int, tuple[Path, subprocess.Popen]] = {}
    with stop_requests() as stop_asked:
        while waiting or running:
            while waiting and free and not stop_asked():
                place, program = free.pop(0), waiting.pop(0)
                share = f"{place + 1}/{options.workers}"
                words = command(program, options, share)
                # Of its own session: Ctrl-C would reach it twice, and twice means at once.
                running[place] = program, subprocess.Popen(words, start_new_session=True)
            time.sleep(0.1)
            if signal := stop_asked():
                for _, process in running.values():
                    process.terminate()
                for _, process in running.values():
                    process.wait()
                raise Preempted(f"{signal}: stopped with {len(waiting)} programs not begun")
            for place, (program, process) in list(running.items()):
                if (code := process.poll()) is not None:
                    del running[place]
                    free.append(place)
                    if code:
                        log.error("%s: ended with exit code %d", program, code)


def slurm(programs: list[Path], options: Options) -> None:
    """Submit a job per program that has none, through submitit; it is not waited for.

    Raises:
      ConfigError: submitit is not installed.
    """
    try:
        import submitit
    except ImportError:
        raise ConfigError("executor = 'slurm': needs submitit (the extra slurm)") from None

    parameters = dict(options.slurm)
    cluster = parameters.pop("cluster", None)  # "local" runs jobs as processes, for tests
    for program in programs:
        folder = program.parent.parent / "slurm"
        if has_job(program) or lock.holder(program) is not None:
            log.info("%s: has a job already", program)
            continue
        executor = submitit.AutoExecutor(folder=folder.absolute(), cluster=cluster)
        executor.update_parameters(name=f"jaxmeta-{program.name}", **parameters)
        job = executor.submit(submitit.helpers.CommandFunction(command(program, options)))
        layout.write_atomically(program / JOB, f"{cluster or ''} {job.job_id}")
        log.info("%s: job %s", program, job.job_id)


def has_job(program: Path) -> bool:
    """Whether a program's last job waits or runs."""
    import submitit

    if not (program / JOB).is_file():
        return False
    cluster, _, number = (program / JOB).read_text(encoding="utf-8").partition(" ")
    folder = (program.parent.parent / "slurm").absolute()
    if cluster == "local":  # such a job can only be asked by the process that submitted it
        return not submitit.LocalJob(folder, number).paths.result_pickle.is_file()
    return not submitit.SlurmJob(folder, number).done()


def printed(programs: list[Path], options: Options) -> None:
    """Print one command per program."""
    for program in programs:
        print(shlex.join(command(program, options)))


EXECUTORS: dict[str, Callable[[list[Path], Options], None]] = {
    "here": here,
    "processes": processes,
    "slurm": slurm,
    "print": printed,
}
