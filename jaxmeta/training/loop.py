"""One session of a run: chunks of updates; log lines, evaluations and checkpoints between."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.agent import Params
from jaxmeta.algorithm import Algorithm
from jaxmeta.config.run import Run
from jaxmeta.config.save_interval import Interval
from jaxmeta.devices import hosts
from jaxmeta.errors import NonFiniteError, Preempted
from jaxmeta.rundir import checkpoint
from jaxmeta.rundir.layout import Death
from jaxmeta.rundir.null_writers import NullCheckpointWriter
from jaxmeta.rundir.reading import as_json
from jaxmeta.rundir.run_writer import Writer
from jaxmeta.training.compiled_functions import PARAMS, CompiledFunctions, TrainState
from jaxmeta.training.evaluation import evaluation_rows
from jaxmeta.training.saved_items import AGENT, COURSE, Best, Trained, update_best
from jaxmeta.trial import Trial

CHUNK_S = 5.0  # a chunk is meant to last no longer: signals and displays wait for its end

# Metrics that follow from losses, in the order in which they do.
AFTER_LOSSES = ("entropy", "grad_norm", "temperature", PARAMS)

log = logging.getLogger(__name__)


class Status(NamedTuple):
    """What a progress callback gets: before compiling, before the first chunk, after each."""

    frames: int
    total: int
    frames_per_s: float  # over all seeds; 0 before the first chunk
    metrics: dict[str, float]  # mean over finite seeds since the last log line
    per_update: int  # frames of an update
    devices: list[str]  # the kind of each device in use


Watch = Callable[[Status], None]


@dataclass
class RunProgress:
    """How far a run is: all that its next chunk, log line and checkpoint depend on."""

    train_state: TrainState  # on the devices
    best: Best  # on the host
    update: int = 0
    logged: int = 0  # the update of the last log line
    training_s: float = 0.0  # in chunks, over all sessions
    logged_s: float = 0.0  # the same at the last log line
    saving_s: float = 0.0  # waiting for checkpoints
    wall_s: float = 0.0  # everything, at the last checkpoint
    dead: dict[int, Death] = field(default_factory=dict)  # by seed
    pinned: list[int] = field(default_factory=list)  # checkpoints from before a seed's death

    def notes(self) -> dict[str, Any]:
        """Return what a checkpoint notes beside the arrays, as JSON has it."""
        names = ("logged", "training_s", "logged_s", "saving_s", "wall_s", "pinned")
        return {name: getattr(self, name) for name in names} | {"dead": as_json(self.dead)}

    @staticmethod
    def from_notes(
        train_state: TrainState, best: Best, update: int, notes: Mapping[str, Any]
    ) -> "RunProgress":
        """Return the progress that `notes` were taken of."""
        dead = {int(seed): Death(**death) for seed, death in notes["dead"].items()}
        return RunProgress(train_state, best, update, **{**notes, "dead": dead})


class Session:
    """Trains a run to its end, unless it is stopped.

    Args:
      run: what is trained, with the seeds of all runs that train together.
      env: its environment.
      algorithm: its method.
      functions: their compiled functions.
      tasks: the evaluation tasks' descriptions, in their order.
      progress: where to start; changed in place.
      writer: writes the run directory.
      checkpoints: writes its checkpoints.
      interval: how often it does.
      devices: the kind of each.
      watch: the progress callback.
    """

    def __init__(
        self,
        run: Run,
        env: Trial,
        algorithm: Algorithm,
        functions: CompiledFunctions,
        tasks: list[dict[str, Any]],
        progress: RunProgress,
        writer: Writer,
        checkpoints: checkpoint.CheckpointWriter | NullCheckpointWriter,
        interval: Interval,
        devices: list[str],
        watch: Watch,
    ):
        self.run, self.env, self.algorithm, self.functions = run, env, algorithm, functions
        self.tasks, self.progress, self.writer = tasks, progress, writer
        self.checkpoints, self.interval = checkpoints, interval
        self.devices, self.watch = devices, watch
        self.per_update = run.frames_per_update(env.env.horizon)
        self.updates = run.updates(env.env.horizon)
        self.log_every = -(-run.log_every // self.per_update)
        self.eval_every = -(-run.evaluation.every // self.per_update)
        self.start_time = time.monotonic() - progress.wall_s
        self.save_time = time.monotonic()
        self.updates_per_s = 0.0  # in the last chunk
        self.norms = self.parameter_norms()
        writer.update_manifest(dead_seeds=as_json(progress.dead))

    def params(self) -> Params:
        """Return all seeds' parameters, on the devices."""
        return self.algorithm.params(self.progress.train_state.state)

    def trained(self) -> Trained:
        """Return the agents' parameters, the last and the best ones."""
        return Trained(self.functions.gather(self.params()), self.progress.best)

    def to_host(self, tree: Any) -> Any:
        """Return arrays of the devices, of whichever process, on the host."""
        return jax.device_get(self.functions.gather(tree))

    def train(self, stop_asked: Callable[[], str | None]) -> None:
        """Train to the end and save.

        Raises:
          Preempted: `stop_asked` named a signal; what was done is saved.
          NonFiniteError: no seed is left.
          CheckpointError: a checkpoint could not be written.
        """
        progress = self.progress
        self.watch(self.status())
        if progress.update == 0:
            self.evaluate()
        while progress.update < self.updates:
            if signal := hosts.any_signal(stop_asked()):
                self.save_and_stop(signal)
            self.train_until(hosts.broadcast_int(self.next_due()))
            status = self.status()
            evaluation_due = progress.update in (self.updates, self.last_due(self.eval_every))
            none_finite = len(progress.dead) == self.run.seeds
            if evaluation_due or progress.update == self.last_due(self.log_every):
                self.write_metrics()
                if none_finite:
                    raise NonFiniteError(describe_deaths(progress.dead))
            if evaluation_due:
                self.evaluate()
            if not none_finite:
                self.report(status)
            if hosts.broadcast_int(self.save_due()) and not none_finite:
                self.save()
        self.save_unless_saved()
        frames = self.updates * self.per_update
        self.writer.update_manifest(
            saved=self.checkpoints.wait_until_saved(),
            frames_per_seed=frames,
            frames_per_s=round(self.run.seeds * frames / progress.training_s, 1),
            saving_s=round(progress.saving_s, 3),
        )

    def last_due(self, every: int) -> int:
        """Return the last multiple of `every` up to here."""
        return self.progress.update // every * every

    def next_due(self) -> int:
        """Return the update at which something is due, or a chunk has lasted long enough."""
        chunk = max(1, int(CHUNK_S * self.updates_per_s))
        periods = (self.log_every, self.eval_every, self.interval.updates or self.updates)
        due = (self.last_due(every) + every for every in periods)
        return min(self.updates, self.progress.update + chunk, *due)

    def train_until(self, until: int) -> None:
        """Train up to an update, and notice seeds that became non-finite."""
        progress, start = self.progress, time.monotonic()
        count = until - progress.update
        first = jnp.int32(progress.update)
        progress.train_state = self.functions.chunk(progress.train_state, first, jnp.int32(count))
        first_bad = self.to_host(progress.train_state.progress.first_bad)
        seconds = time.monotonic() - start
        self.updates_per_s = count / seconds
        progress.update, progress.training_s = until, progress.training_s + seconds
        norms, self.norms = self.norms, self.parameter_norms()
        self.record_nonfinite(first_bad, norms)

    def means(self) -> dict[str, np.ndarray]:
        """Return the metrics' means since the last log line, [seeds]."""
        count = self.progress.update - self.progress.logged
        total = self.to_host(self.progress.train_state.progress.total)
        return {name: x / count for name, x in total.items()} if count else {}

    def write_metrics(self) -> None:
        """Append a line per seed to metrics.jsonl; a dead seed's last one covers its failure."""
        progress = self.progress
        frames = self.run.seeds * (progress.update - progress.logged) * self.per_update
        clock = {
            "wall_s": round(time.monotonic() - self.start_time, 3),
            "frames_per_s": round(frames / (progress.training_s - progress.logged_s), 1),
        }
        means = self.means()
        real = self.algorithm.real_frames
        taken = {
            "frames": progress.update * self.per_update,
            "real_frames": progress.update * (self.per_update if real is None else real),
        }
        for seed in range(self.run.seeds):
            if seed in progress.dead and progress.dead[seed].update < progress.logged:
                continue
            at = {"seed": seed, **taken}
            own = {k: float(v[seed]) for k, v in means.items()}
            self.writer.metrics({**at, "update": progress.update, **clock, **own})
        sums = self.functions.zero_metric_sums()
        progress.train_state = progress.train_state._replace(progress=sums)
        progress.logged, progress.logged_s = progress.update, progress.training_s

    def evaluate(self) -> None:
        """Append the evaluation of all finite seeds, and keep each one's best parameters."""
        progress, params = self.progress, self.params()
        result = self.to_host(self.functions.evaluate(params))
        rows = evaluation_rows(
            result, progress.update * self.per_update, self.tasks,
            self.run.evaluation.rollouts, self.env,
        )  # fmt: skip
        self.writer.evaluation([row for row in rows if row[1] not in progress.dead])
        first_split = [t["split"] == self.tasks[0]["split"] for t in self.tasks]
        score = result["greedy"][0][:, first_split, -1].mean(1)
        finite = [seed not in progress.dead for seed in range(self.run.seeds)]
        params = self.to_host(params)
        progress.best = update_best(progress.best, params, score, finite, progress.update)

    def report(self, status: Status) -> None:
        """Call the progress callback; where it raises, in any process, what was done is saved.

        Raises:
          Preempted: another process's callback raised.
          BaseException: what this one's did.
        """
        failure = None
        try:
            self.watch(status)
        except BaseException as error:
            failure = error
        if hosts.any_process(failure is not None):
            self.save_and_wait()
            raise failure or Preempted("the progress callback of another process raised an error")

    def status(self) -> Status:
        """Return what the progress callback gets."""
        progress = self.progress
        finite = [seed for seed in range(self.run.seeds) if seed not in progress.dead]
        means = self.means() if finite else {}
        return Status(
            frames=progress.update * self.per_update,
            total=self.updates * self.per_update,
            frames_per_s=self.run.seeds * self.per_update * self.updates_per_s,
            metrics={k: float(v[finite].mean()) for k, v in means.items()},
            per_update=self.per_update,
            devices=self.devices,
        )

    def save_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        if self.interval.updates:
            return self.progress.update % self.interval.updates == 0
        return time.monotonic() - self.save_time >= self.interval.seconds

    def save_unless_saved(self) -> None:
        """Begin to write a checkpoint of what was done, if there is none."""
        if self.progress.update and self.checkpoints.newest() != self.progress.update:
            self.save()

    def save(self) -> None:
        """Begin to write a checkpoint."""
        progress, start = self.progress, time.monotonic()
        progress.wall_s = start - self.start_time
        items = {COURSE: self.functions.gather(progress.train_state), AGENT: self.trained()}
        notes = {"sizes": self.writer.sizes(), "journey": progress.notes()}
        before = self.checkpoints.save(progress.update, items, notes)
        self.writer.update_manifest(saved=before)
        self.save_time = time.monotonic()
        progress.saving_s += self.save_time - start

    def save_and_wait(self) -> None:
        """Write a checkpoint of what was done, and the manifest that names it."""
        self.save_unless_saved()
        saved = hosts.run_on_process_0(self.checkpoints.wait_until_saved)
        self.writer.update_manifest(saved=saved)

    def save_and_stop(self, signal: str) -> None:
        """Save and leave.

        Raises:
          Preempted: always.
        """
        self.save_and_wait()
        raise Preempted(f"{signal}: stopped after update {self.progress.update} of {self.updates}")

    def parameter_norms(self) -> dict[str, np.ndarray]:
        """Return every parameter's norm by name, [seeds]."""
        return checkpoint.flatten_with_names(self.to_host(self.functions.norms(self.params())))

    def record_nonfinite(
        self, first_bad: dict[str, np.ndarray], norms: dict[str, np.ndarray]
    ) -> None:
        """Record seeds whose metrics or parameters became non-finite; `norms`: before."""
        progress = self.progress
        for seed in range(self.run.seeds):
            bad = {name: int(x[seed]) for name, x in first_bad.items() if x[seed] >= 0}
            if not bad or seed in progress.dead:
                continue
            quantity = min(bad, key=lambda name: (bad[name], data_flow_rank(name)))
            update = bad[quantity]
            good = self.checkpoints.newest()
            if good is not None:
                progress.pinned.append(good)
            progress.dead[seed] = Death(update, quantity)
            self.writer.nan_report(
                seed,
                {
                    **progress.dead[seed]._asdict(),
                    "first_update": bad,
                    "last_good_checkpoint": good,
                    "norms_before": finite_or_none(norms, seed),
                    "norms_after": finite_or_none(self.norms, seed),
                },
            )
            self.writer.update_manifest(dead_seeds=as_json(progress.dead))
            log.warning("seed %d died: %s is not finite at update %d", seed, quantity, update)


def data_flow_rank(name: str) -> tuple[int, str]:
    """Return where a metric stands in an update's flow of data, whose causes come first.

    Rewards make returns, these losses; entropies are means over a learner's steps, of which a bad
    loss spoils the later ones.
    """
    if name.startswith("return"):
        return 0, name
    return 1 + (AFTER_LOSSES.index(name) + 1 if name in AFTER_LOSSES else 0), name


def describe_deaths(dead: dict[int, Death]) -> str:
    """Return in words at which update, and in which quantity, seeds became non-finite."""
    return "; ".join(
        f"update {death.update}, seed {seed}: {death.quantity} is not finite"
        for seed, death in sorted(dead.items())
    )


def finite_or_none(values: dict[str, np.ndarray], seed: int) -> dict[str, float | None]:
    """Return one seed's values, None for what JSON cannot hold."""
    return {k: float(v[seed]) if np.isfinite(v[seed]) else None for k, v in values.items()}
