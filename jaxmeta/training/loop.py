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
from jaxmeta.config.save_period import Period
from jaxmeta.devices import hosts
from jaxmeta.errors import NonFiniteError, Preempted
from jaxmeta.rundir import checkpoint
from jaxmeta.rundir.layout import Death
from jaxmeta.rundir.non_writing_process import NoCheckpoints
from jaxmeta.rundir.reading import as_json
from jaxmeta.rundir.run_writer import Writer
from jaxmeta.training.compiled_programs import Course, Programs
from jaxmeta.training.evaluation import evaluation_rows
from jaxmeta.training.result import AGENT, Best, Trained
from jaxmeta.trial import Trial

COURSE = "course"  # the checkpoint's item to go on from
CHUNK_S = 5.0  # a chunk is meant to last no longer: signals and displays wait for its end

log = logging.getLogger(__name__)


class Status(NamedTuple):
    """What a progress display is told before the first chunk and after every one."""

    frames: int
    total: int
    frames_per_s: float  # over all seeds; 0 before the first chunk
    metrics: dict[str, float]  # mean over living seeds since the last log line


@dataclass
class Journey:
    """How far a run is: all that its next chunk, log line and checkpoint depend on."""

    course: Course  # on the devices
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
    def going_on(course: Course, best: Best, update: int, notes: Mapping[str, Any]) -> "Journey":
        """Return the journey that `notes` were taken of."""
        dead = {int(seed): Death(**death) for seed, death in notes["dead"].items()}
        return Journey(course, best, update, **{**notes, "dead": dead})


class Session:
    """Trains a run to its end, unless it is stopped.

    Args:
      run: what is trained.
      env: its environment.
      algorithm: its method.
      programs: their compiled programs.
      described: the evaluation tasks, in their order.
      journey: where to start; changed in place.
      writer: the run directory.
      checkpoints: its checkpoints.
      every: how often one is written.
      watch: is told how it goes.
    """

    def __init__(
        self,
        run: Run,
        env: Trial,
        algorithm: Algorithm,
        programs: Programs,
        described: list[dict[str, Any]],
        journey: Journey,
        writer: Writer,
        checkpoints: checkpoint.Writer | NoCheckpoints,
        every: Period,
        watch: Callable[[Status], None],
    ):
        self.run, self.env, self.algorithm, self.programs = run, env, algorithm, programs
        self.described, self.journey, self.writer = described, journey, writer
        self.checkpoints, self.every, self.watch = checkpoints, every, watch
        self.per_update = run.frames_per_update(env.env.horizon)
        self.updates = run.updates(env.env.horizon)
        self.log_every = -(-run.log_every // self.per_update)
        self.eval_every = -(-run.evaluation.every // self.per_update)
        self.began = time.monotonic() - journey.wall_s
        self.saved_at = time.monotonic()
        self.pace = 0.0  # updates per second in the last chunk
        self.norms = self.parameter_norms()
        writer.note(dead_seeds=as_json(journey.dead))

    def params(self) -> Params:
        """Return all seeds' parameters, on the devices."""
        return self.algorithm.params(self.journey.course.state)

    def trained(self) -> Trained:
        """Return what there is to act with."""
        return Trained(self.programs.whole(self.params()), self.journey.best)

    def read(self, tree: Any) -> Any:
        """Return arrays of the devices, of whichever process, on the host."""
        return jax.device_get(self.programs.whole(tree))

    def go(self, stop_asked: Callable[[], str | None]) -> None:
        """Train to the end and save.

        Raises:
          Preempted: `stop_asked` named a signal; what was done is saved.
          NonFiniteError: no seed is left.
          CheckpointError: a checkpoint could not be written.
        """
        journey = self.journey
        self.tell()
        if journey.update == 0:
            self.evaluate()
        while journey.update < self.updates:
            if signal := hosts.first_signal(stop_asked()):
                self.stop(signal)
            self.advance(hosts.of_first(self.next_mark()))
            evaluation_due = journey.update in (self.updates, self.mark(self.eval_every))
            nobody_left = len(journey.dead) == self.run.seeds
            if evaluation_due or journey.update == self.mark(self.log_every):
                self.write_metrics()
                if nobody_left:
                    raise NonFiniteError(obituary(journey.dead))
            if evaluation_due:
                self.evaluate()
            if hosts.of_first(self.save_due()) and not nobody_left:
                self.save()
        if self.checkpoints.newest() != journey.update:
            self.save()
        frames = self.updates * self.per_update
        self.writer.note(
            saved=self.checkpoints.confirm(),
            frames_per_seed=frames,
            frames_per_s=round(self.run.seeds * frames / journey.training_s, 1),
            saving_s=round(journey.saving_s, 3),
        )

    def mark(self, every: int) -> int:
        """Return the last multiple of `every` up to here."""
        return self.journey.update // every * every

    def next_mark(self) -> int:
        """Return the update at which something is due, or a chunk has lasted long enough."""
        chunk = max(1, int(CHUNK_S * self.pace))
        marks = (self.log_every, self.eval_every, self.every.updates or self.updates)
        due = (self.mark(every) + every for every in marks)
        return min(self.updates, self.journey.update + chunk, *due)

    def advance(self, until: int) -> None:
        """Train up to an update, and notice seeds that became non-finite."""
        journey, began = self.journey, time.monotonic()
        count = until - journey.update
        first = jnp.int32(journey.update)
        journey.course = self.programs.chunk(journey.course, first, jnp.int32(count))
        first_bad = self.read(journey.course.progress.first_bad)
        seconds = time.monotonic() - began
        self.pace = count / seconds
        journey.update, journey.training_s = until, journey.training_s + seconds
        norms, self.norms = self.norms, self.parameter_norms()
        self.bury(first_bad, norms)
        self.tell()

    def means(self) -> dict[str, np.ndarray]:
        """Return the metrics' means since the last log line, [seeds]."""
        count = self.journey.update - self.journey.logged
        total = self.read(self.journey.course.progress.total)
        return {name: x / count for name, x in total.items()} if count else {}

    def write_metrics(self) -> None:
        """Append a line per seed to metrics.jsonl; a dead seed's last one tells of its death."""
        journey = self.journey
        frames = self.run.seeds * (journey.update - journey.logged) * self.per_update
        clock = {
            "wall_s": round(time.monotonic() - self.began, 3),
            "frames_per_s": round(frames / (journey.training_s - journey.logged_s), 1),
        }
        means = self.means()
        for seed in range(self.run.seeds):
            if seed in journey.dead and journey.dead[seed].update < journey.logged:
                continue
            at = {"seed": seed, "frames": journey.update * self.per_update}
            own = {k: float(v[seed]) for k, v in means.items()}
            self.writer.metrics({**at, "update": journey.update, **clock, **own})
        journey.course = journey.course._replace(progress=self.programs.no_progress())
        journey.logged, journey.logged_s = journey.update, journey.training_s

    def evaluate(self) -> None:
        """Append the evaluation of all living seeds, and remember who was never better."""
        journey, params = self.journey, self.params()
        result = self.read(self.programs.test(params))
        rows = evaluation_rows(
            result, journey.update * self.per_update, self.described,
            self.run.evaluation.rollouts, self.env,
        )  # fmt: skip
        self.writer.evaluation([row for row in rows if row[1] not in journey.dead])
        first_split = [t["split"] == self.described[0]["split"] for t in self.described]
        score = result["greedy"][0][:, first_split, -1].mean(1)
        living = [seed not in journey.dead for seed in range(self.run.seeds)]
        journey.best = better(journey.best, self.read(params), score, living, journey.update)

    def tell(self) -> None:
        """Report to whoever watches."""
        journey = self.journey
        living = [seed for seed in range(self.run.seeds) if seed not in journey.dead]
        means = self.means() if living else {}
        self.watch(
            Status(
                frames=journey.update * self.per_update,
                total=self.updates * self.per_update,
                frames_per_s=self.run.seeds * self.per_update * self.pace,
                metrics={k: float(v[living].mean()) for k, v in means.items()},
            )
        )

    def save_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        if self.every.updates:
            return self.journey.update % self.every.updates == 0
        return time.monotonic() - self.saved_at >= self.every.seconds

    def save(self) -> None:
        """Begin to write a checkpoint."""
        journey, began = self.journey, time.monotonic()
        journey.wall_s = began - self.began
        items = {COURSE: self.programs.whole(journey.course), AGENT: self.trained()}
        notes = {"sizes": self.writer.sizes(), "journey": journey.notes()}
        before = self.checkpoints.save(journey.update, items, notes)
        self.writer.note(saved=before)
        self.saved_at = time.monotonic()
        journey.saving_s += self.saved_at - began

    def stop(self, signal: str) -> None:
        """Save and leave.

        Raises:
          Preempted: always.
        """
        update = self.journey.update
        if update and self.checkpoints.newest() != update:
            self.save()
        self.writer.note(saved=hosts.told(self.checkpoints.confirm))
        raise Preempted(f"{signal}: stopped after update {update} of {self.updates}")

    def parameter_norms(self) -> dict[str, np.ndarray]:
        """Return every parameter's norm by name, [seeds]."""
        return checkpoint.named(self.read(self.programs.norms(self.params())))

    def bury(self, first_bad: dict[str, np.ndarray], norms: dict[str, np.ndarray]) -> None:
        """Mark seeds whose metrics or parameters are not finite any more; `norms`: before."""
        journey = self.journey
        for seed in range(self.run.seeds):
            bad = {name: int(x[seed]) for name, x in first_bad.items() if x[seed] >= 0}
            if not bad or seed in journey.dead:
                continue
            update, quantity = min((at, name) for name, at in bad.items())
            good = self.checkpoints.newest()
            if good is not None:
                journey.pinned.append(good)
            journey.dead[seed] = Death(update, quantity)
            self.writer.bury(
                seed,
                {
                    **journey.dead[seed]._asdict(),
                    "first_update": bad,
                    "last_good_checkpoint": good,
                    "norms_before": finite_or_none(norms, seed),
                    "norms_after": finite_or_none(self.norms, seed),
                },
            )
            self.writer.note(dead_seeds=as_json(journey.dead))
            log.warning("seed %d died: %s is not finite at update %d", seed, quantity, update)


def obituary(dead: dict[int, Death]) -> str:
    """Return in words when and of what seeds died."""
    return "; ".join(
        f"update {death.update}, seed {seed}: {death.quantity} is not finite"
        for seed, death in sorted(dead.items())
    )


def finite_or_none(values: dict[str, np.ndarray], seed: int) -> dict[str, float | None]:
    """Return one seed's values, None for what JSON cannot hold."""
    return {k: float(v[seed]) if np.isfinite(v[seed]) else None for k, v in values.items()}


def better(best: Best, params: Params, score: np.ndarray, living: list[bool], update: int) -> Best:
    """Return each living seed's better parameters: the new ones where they score higher."""
    chosen = (score > best.score) & np.array(living)

    def pick(new: Any, old: Any) -> Any:
        return np.where(chosen.reshape(-1, *[1] * (np.ndim(old) - 1)), new, old)

    return Best(
        jax.tree.map(pick, params, best.params),
        pick(score, best.score),
        pick(np.int32(update), best.update),
    )
