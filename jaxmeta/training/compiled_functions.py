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
from jaxmeta.devices.seed_axis import gather, map_over_seeds
from jaxmeta.env import Array
from jaxmeta.training.evaluation import evaluate
from jaxmeta.trial import Trial

PARAMS = "params"  # the name in `first_bad` of the parameters themselves


class MetricSums(NamedTuple):
    """Metrics since the last log line, for one seed."""

    total: Metrics  # sums over updates
    first_bad: dict[str, Array]  # by metric or PARAMS: the first update it was not finite, or -1


class TrainState(NamedTuple):
    """What updates read and write, and a checkpoint holds."""

    state: State
    progress: MetricSums


def metric_sum_shapes(algorithm: Algorithm, state: State) -> MetricSums:
    """Return the shapes of one seed's sums; `state` may be shapes."""
    metrics = jax.eval_shape(algorithm.step, state)[1]
    update: Any = jax.ShapeDtypeStruct((), jnp.int32)
    return MetricSums(metrics, dict.fromkeys((*metrics, PARAMS), update))


def zero_metric_sums(like: MetricSums) -> MetricSums:
    """Return the sums before the first update, in the shapes of `like`."""
    return MetricSums(
        jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like.total),
        jax.tree.map(lambda x: jnp.full(x.shape, -1, x.dtype), like.first_bad),
    )


class Members(NamedTuple):
    """The (configuration, seed) pairs that train together, run by run."""

    seed: Array  # [members]
    hp: Hyper  # [members]


def make_members(*runs: Run) -> Members:
    """Return the members of runs of equal structure."""
    seed = jnp.concatenate([jnp.arange(run.seeds) for run in runs])
    of_runs = jax.tree.map(lambda *xs: jnp.stack(xs), *(hyper(run) for run in runs))
    counts = jnp.array([run.seeds for run in runs])
    hp = jax.tree.map(lambda x: jnp.repeat(x, counts, total_repeat_length=len(seed)), of_runs)
    return Members(seed, hp)


def initial_states(members: Members, algorithm: Algorithm) -> State:
    """Return all members' states, [members, ...]; seed s starts from `jax.random.key(s)`."""
    return jax.vmap(lambda seed, hp: algorithm.init(jax.random.key(seed), hp))(*members)


def init_train_state(
    member: Members, algorithm: Algorithm, like: MetricSums | None = None
) -> TrainState:
    """Return one member's first state; with `like` its step is not traced for its metrics."""
    state = algorithm.init(jax.random.key(member.seed), member.hp)
    return TrainState(state, zero_metric_sums(like or metric_sum_shapes(algorithm, state)))


def compile_init(
    mesh: jax.sharding.Mesh, algorithm: Algorithm, like: MetricSums | None = None
) -> Callable[[Members], TrainState]:
    """Return the compiled function from all members to their first states, on their devices.

    `like` is the shapes of one member's sums, if they are known. One member after the other on
    a CPU device: XLA's QR of a batch, for orthogonal weights, waits for threads that the other
    device's QR holds, and hangs.
    """
    spread = NamedSharding(mesh, P(SEEDS))
    return jax.jit(
        map_over_seeds(mesh, lambda m: init_train_state(m, algorithm, like)), out_shardings=spread
    )


def train_state_shapes(members: Members, algorithm: Algorithm) -> TrainState:
    """Return the shapes of the members' states."""
    return jax.eval_shape(jax.vmap(lambda m: init_train_state(m, algorithm)), members)


def run_updates(algorithm: Algorithm) -> Callable[[TrainState, Array, Array], TrainState]:
    """Return (train state, first, count) -> train state: `count` updates of one seed.

    The count is traced: one compilation serves every length. Sums continue from chunk to
    chunk: it does not matter into which chunks updates are cut.
    """

    def update(train_state: TrainState, at: Array) -> TrainState:
        state, metrics = algorithm.step(train_state.state)
        params = all_finite(algorithm.params(state))
        good = jax.tree.map(jnp.isfinite, metrics) | {PARAMS: params}
        note = lambda bad, good: jnp.where((bad < 0) & ~good, at, bad)
        total, first_bad = train_state.progress
        progress = MetricSums(
            jax.tree.map(jnp.add, total, metrics), jax.tree.map(note, first_bad, good)
        )
        return TrainState(state, progress)

    def updates(train_state: TrainState, first: Array, count: Array) -> TrainState:
        return lax.fori_loop(0, count, lambda i, now: update(now, first + i), train_state)

    return updates


def all_finite(params: Params) -> Array:
    """Return whether every parameter is finite, []."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(params)]).all()


class CompiledFunctions(NamedTuple):
    """Compiled functions; arguments and results lead with the seeds.

    Attributes:
      init: () -> the train state before the first update.
      to_devices: puts a train state from the host on the devices.
      chunk: (train state, first, count) -> train state; the argument is donated.
      zero_metric_sums: () -> a train state's sums before the first update.
      evaluate: params -> `evaluate`'s result.
      norms: params -> the norm of every leaf.
      gather: makes what the others return readable in every process (`seed_axis.gather`).
    """

    init: Callable[[], TrainState]
    to_devices: Callable[[TrainState], TrainState]
    chunk: Callable[[TrainState, Array, Array], TrainState]
    zero_metric_sums: Callable[[], MetricSums]
    evaluate: Callable[[Params], Any]
    norms: Callable[[Params], Any]
    gather: Callable[[Any], Any]


def compile_functions(
    members: Members,
    run: Run,
    env: Trial,
    algorithm: Algorithm,
    mesh: jax.sharding.Mesh,
    tasks: Any,
    like: TrainState,
) -> CompiledFunctions:
    """Return the functions of members with the structure of `run`; the chunk is compiled.

    `like` is what `train_state_shapes` returns for them.
    """

    def test(params: Params) -> Any:
        return evaluate(algorithm.agent, env, params, tasks, run.evaluation.rollouts)

    def norms(params: Params) -> Any:
        return jax.tree.map(lambda x: jnp.sqrt((x * x).sum()), params)

    spread = NamedSharding(mesh, P(SEEDS))
    of_one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), like.progress)
    init = compile_init(mesh, algorithm, of_one)
    placed = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=spread)
    # What comes out must fit what goes in, wherever the compiler would rather leave it.
    updates = map_over_seeds(mesh, run_updates(algorithm))
    chunk = jax.jit(updates, donate_argnums=0, out_shardings=spread)
    compiled = chunk.lower(jax.tree.map(placed, like), jnp.int32(0), jnp.int32(1)).compile()
    return CompiledFunctions(
        init=lambda: init(members),
        to_devices=jax.jit(lambda host: jax.tree.map(jnp.copy, host), out_shardings=spread),
        chunk=compiled,
        zero_metric_sums=jax.jit(lambda: zero_metric_sums(like.progress), out_shardings=spread),
        evaluate=jax.jit(map_over_seeds(mesh, test)),
        norms=jax.jit(jax.vmap(norms)),
        gather=gather(mesh),
    )
