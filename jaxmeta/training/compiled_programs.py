"""What runs on the devices: chunks of updates and evaluations, for all seeds at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmeta.agent import Params
from jaxmeta.algorithm import Algorithm, Hyper, Metrics, State, hyper
from jaxmeta.axes import SEEDS
from jaxmeta.config.run import Run
from jaxmeta.devices.seed_axis import over_seeds, whole
from jaxmeta.env import Array
from jaxmeta.training.evaluation import evaluate
from jaxmeta.trial import Trial

PARAMS = "params"  # the name in `first_bad` of the parameters themselves


class Progress(NamedTuple):
    """Metrics since the last log line, for one seed."""

    total: Metrics  # sums over updates
    first_bad: dict[str, Array]  # by metric or PARAMS: the first update it was not finite, or -1


class Course(NamedTuple):
    """What a chunk of updates advances, and a checkpoint holds."""

    state: State
    progress: Progress


def progress_like(algorithm: Algorithm, state: State) -> Progress:
    """Return the shapes of one seed's progress; `state` may be shapes."""
    metrics = jax.eval_shape(algorithm.step, state)[1]
    update: Any = jax.ShapeDtypeStruct((), jnp.int32)
    return Progress(metrics, dict.fromkeys((*metrics, PARAMS), update))


def no_progress(like: Progress) -> Progress:
    """Return what stands before the first update, in the shapes of `like`."""
    return Progress(
        jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like.total),
        jax.tree.map(lambda x: jnp.full(x.shape, -1, x.dtype), like.first_bad),
    )


class Members(NamedTuple):
    """Who trains together: every seed of one run or of several, run by run."""

    seed: Array  # [members]
    hp: Hyper  # [members]


def members(*runs: Run) -> Members:
    """Return the members of runs of equal structure."""
    seed = jnp.concatenate([jnp.arange(run.seeds) for run in runs])
    of_runs = jax.tree.map(lambda *xs: jnp.stack(xs), *(hyper(run) for run in runs))
    counts = jnp.array([run.seeds for run in runs])
    hp = jax.tree.map(lambda x: jnp.repeat(x, counts, total_repeat_length=len(seed)), of_runs)
    return Members(seed, hp)


def initial_states(who: Members, algorithm: Algorithm) -> State:
    """Return all members' states, [members, ...]; seed s starts from `jax.random.key(s)`."""
    return jax.vmap(lambda seed, hp: algorithm.init(jax.random.key(seed), hp))(*who)


def begin(member: Members, algorithm: Algorithm, like: Progress | None = None) -> Course:
    """Return where one member begins; with `like` its step need not be traced for its metrics."""
    state = algorithm.init(jax.random.key(member.seed), member.hp)
    return Course(state, no_progress(like or progress_like(algorithm, state)))


def starter(
    mesh: jax.sharding.Mesh, algorithm: Algorithm, like: Progress | None = None
) -> Callable[[Members], Course]:
    """Return the compiled function from all members to where they begin, on their devices.

    `like` is one member's progress, if it is known. One member after the other on a CPU device:
    XLA's QR of a batch, for orthogonal weights, waits for threads that the other device's QR
    holds, and hangs.
    """
    spread = NamedSharding(mesh, P(SEEDS))
    return jax.jit(over_seeds(mesh, lambda m: begin(m, algorithm, like)), out_shardings=spread)


def course_like(who: Members, algorithm: Algorithm) -> Course:
    """Return the shapes of the members' course."""
    return jax.eval_shape(jax.vmap(lambda m: begin(m, algorithm)), who)


def run_updates(algorithm: Algorithm) -> Callable[[Course, Array, Array], Course]:
    """Return (course, first, count) -> course, `count` updates of one seed as one program.

    The count is traced: one compilation serves every length. Sums go on from where they
    were: it does not matter into which chunks updates are cut.
    """

    def update(course: Course, at: Array) -> Course:
        state, metrics = algorithm.step(course.state)
        params = all_finite(algorithm.params(state))
        good = jax.tree.map(jnp.isfinite, metrics) | {PARAMS: params}
        note = lambda bad, good: jnp.where((bad < 0) & ~good, at, bad)
        total, first_bad = course.progress
        progress = Progress(
            jax.tree.map(jnp.add, total, metrics), jax.tree.map(note, first_bad, good)
        )
        return Course(state, progress)

    def updates(course: Course, first: Array, count: Array) -> Course:
        return lax.fori_loop(0, count, lambda i, course: update(course, first + i), course)

    return updates


def all_finite(params: Params) -> Array:
    """Return whether every parameter is finite, []."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(params)]).all()


class Programs(NamedTuple):
    """Compiled programs; arguments and results lead with the seeds.

    Attributes:
      start: () -> the course before the first update.
      place: puts a course from the host on the devices.
      chunk: (course, first, count) -> course; the argument is donated.
      no_progress: () -> a course's progress before the first update.
      test: params -> `evaluate`'s result.
      norms: params -> the norm of every leaf.
      whole: makes what the others return readable in every process (`seeds.whole`).
    """

    start: Callable[[], Course]
    place: Callable[[Course], Course]
    chunk: Callable[[Course, Array, Array], Course]
    no_progress: Callable[[], Progress]
    test: Callable[[Params], Any]
    norms: Callable[[Params], Any]
    whole: Callable[[Any], Any]


def compile_programs(
    who: Members,
    run: Run,
    env: Trial,
    algorithm: Algorithm,
    mesh: jax.sharding.Mesh,
    tasks: Any,
    like: Course,
) -> Programs:
    """Return the programs of members with the structure of `run`; the chunk is compiled.

    `like` is what `course_like` returns for them.
    """

    def test(params: Params) -> Any:
        return evaluate(algorithm.agent, env, params, tasks, run.evaluation.rollouts)

    def norms(params: Params) -> Any:
        return jax.tree.map(lambda x: jnp.sqrt((x * x).sum()), params)

    spread = NamedSharding(mesh, P(SEEDS))
    of_one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), like.progress)
    start = starter(mesh, algorithm, of_one)
    placed = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=spread)
    # What comes out must fit what goes in, wherever the compiler would rather leave it.
    updates = over_seeds(mesh, run_updates(algorithm))
    chunk = jax.jit(updates, donate_argnums=0, out_shardings=spread)
    compiled = chunk.lower(jax.tree.map(placed, like), jnp.int32(0), jnp.int32(1)).compile()
    return Programs(
        start=lambda: start(who),
        place=jax.jit(lambda course: jax.tree.map(jnp.copy, course), out_shardings=spread),
        chunk=compiled,
        no_progress=jax.jit(lambda: no_progress(like.progress), out_shardings=spread),
        test=jax.jit(over_seeds(mesh, test)),
        norms=jax.jit(jax.vmap(norms)),
        whole=whole(mesh),
    )
