"""Several processes, on one host or many, that train one run together.

All run the same programs in the same order. What depends on a file or a clock is decided by process
0 and broadcast to the others, and a signal to any of them counts for all, so that all take the same
branch. Process 0 alone writes. One process alone decides for itself, and nothing is sent.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax._src.xla_bridge import backends_are_initialized  # there is no public name for it
from jax.experimental import multihost_utils

from jaxmeta.config.process_group import SINGLE_PROCESS, Cluster, cluster
from jaxmeta.config.untrusted_text import one_line
from jaxmeta.env import is_key
from jaxmeta.errors import (
    EXIT_CODE,
    CheckpointError,
    ConfigError,
    NonFiniteError,
    PeerLost,
    Preempted,
)

# A process that was silent for so long is lost; a closed connection says it at once.
HEARTBEAT_S = 10
PEER_LOSS_MARKERS = ("gloo", "nccl", "connection", "coordination service", "distributed service")
ERRORS = {kind.__name__: kind for kind in (ConfigError, CheckpointError)}  # that all can share

T = TypeVar("T")
U = TypeVar("U")

_here = SINGLE_PROCESS


def join_hosts(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Make this process one of several that train together; call it before JAX is used.

    Every process then calls `train` with the same arguments. Without arguments they are the
    tasks that SLURM's srun started; where it started one, or there is no SLURM, nothing is done.

    Args:
      coordinator: HOST:PORT, where process 0 listens.
      num_processes: how many there are.
      process_id: which of them this one is, from 0.

    Raises:
      ConfigError: bad arguments, JAX was used already, or the others cannot be reached.
    """
    join(cluster(coordinator, num_processes, process_id))


def join(wanted: Cluster) -> None:
    """Do what `join_hosts` does, with options that are known to be good."""
    global _here
    if wanted.processes == 1:
        return
    if backends_are_initialized() or _here != SINGLE_PROCESS:
        raise ConfigError("num_processes: too late; processes join once, before JAX is used")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    exit_on_abort(wanted)
    by_slurm = wanted.coordinator is None
    try:
        jax.distributed.initialize(
            wanted.coordinator,
            None if by_slurm else wanted.processes,
            None if by_slurm else wanted.process,
            heartbeat_timeout_seconds=HEARTBEAT_S,
            shutdown_timeout_seconds=HEARTBEAT_S,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"coordinator = {wanted.coordinator or 'as SLURM has it'}: not all"
            f" {wanted.processes} processes meet there ({one_line(str(error))})"
        ) from None
    _here = wanted


def exit_on_abort(who: Cluster) -> None:
    """Have this process end like a stopped one where JAX's runtime would abort it.

    It aborts, from a thread of its own, when the coordinator is gone or a process silent. In
    Python that cannot be caught, and the callback that jaxlib offers instead fails (0.10.2).
    """
    said = f"jaxmeta: process {who.process}: {peer_lost_message(who)}\n".encode()

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def handle(number: int) -> None:
        with contextlib.suppress(OSError):  # nobody may read it
            if sys.__stderr__ is not None:  # else descriptor 2 is somebody's file
                os.write(sys.__stderr__.fileno(), said)
        os._exit(EXIT_CODE)

    exit_on_abort.handler = handle  # type: ignore[attr-defined]  # C keeps no reference
    library = ctypes.CDLL(None)
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    library.signal.restype = ctypes.c_void_p
    library.signal(signal.SIGABRT, ctypes.cast(handle, ctypes.c_void_p))


def process_count() -> int:
    """Return how many processes train together."""
    return _here.processes


def is_process_0() -> bool:
    """Whether this is process 0, which writes."""
    return _here.process == 0


def require_single_process(what: str) -> None:
    """Refuse what is not made for several processes.

    Raises:
      ConfigError: there are several.
    """
    if process_count() > 1:
        raise ConfigError(f"num_processes = {process_count()}: must be 1 for {what}")


def peer_lost_message(who: Cluster) -> str:
    """Return in words that another process is gone."""
    other = f"process {1 - who.process}" if who.processes == 2 else "another process"
    return (
        f"{other} of this run is gone, or cannot be reached; what the last checkpoint holds is"
        " safe, and the same command, in all processes, resumes from there"
    )


@contextlib.contextmanager
def detect_peer_loss() -> Iterator[None]:
    """Turn the failure of a computation that lost another process into a PeerLost.

    Raises:
      PeerLost: it is.
    """
    try:
        yield
    except (ConfigError, CheckpointError, NonFiniteError, Preempted):
        raise
    except (RuntimeError, ValueError) as error:  # ValueError: what XLA makes of gloo's
        said = str(error).lower()
        if process_count() == 1 or not any(sign in said for sign in PEER_LOSS_MARKERS):
            raise
        raise PeerLost(f"{peer_lost_message(_here)} ({one_line(str(error))})") from error


def run_on_process_0(make: Callable[[], Any]) -> Any:
    """Run `make` on process 0 and return its result, which JSON can hold, on all processes.

    Raises:
      ConfigError, CheckpointError: `make` did; all raise it, so that none waits for another.
    """
    if process_count() == 1:
        return make()
    said: dict[str, Any] = {}
    if is_process_0():
        try:
            said = {"value": make()}
        except tuple(ERRORS.values()) as error:
            said = {"error": type(error).__name__, "message": str(error)}
    said = json.loads(broadcast_bytes(json.dumps(said).encode()))
    if "error" in said:
        raise ERRORS[said["error"]](said["message"])
    return said["value"]


def only_on_process_0(make: Callable[[], T], elsewhere: U) -> T | U:
    """Return what `make` does on process 0, and `elsewhere` on others.

    Raises:
      ConfigError, CheckpointError: `make` did, on process 0; all raise it.
    """
    made: list[T] = []
    run_on_process_0(lambda: made.append(make()))
    return made[0] if made else elsewhere


def broadcast(make: Callable[[], tuple[Any, Any]], like: Any) -> tuple[Any, Any]:
    """Return process 0's `make()` on all: JSON, and host arrays such as `like`; None, None stay.

    Raises:
      ConfigError, CheckpointError: `make` did; all raise it.
    """
    if process_count() == 1:
        return make()
    made: list[Any] = [None, None]

    def facts() -> Any:
        made[:] = make()
        return made[0]

    known = run_on_process_0(facts)
    return (None, None) if known is None else (known, broadcast_arrays(made[1], like))


def broadcast_int(number: int) -> int:
    """Return process 0's number."""
    return (
        int(multihost_utils.broadcast_one_to_all(np.int32(number)))
        if process_count() > 1
        else number
    )


def any_signal(name: str | None) -> str | None:
    """Return the signal that came to any process, None if none did; `name`: to this one."""
    if process_count() == 1:
        return name
    own = np.int32(signal.Signals[name] if name else 0)
    came = [n for n in multihost_utils.process_allgather(own).tolist() if n]
    return signal.Signals(came[0]).name if came else None


def any_process(own: bool) -> bool:
    """Whether something holds in any process."""
    if process_count() == 1:
        return own
    return bool(multihost_utils.process_allgather(np.int32(own)).any())


def broadcast_bytes(own: bytes) -> bytes:
    """Return process 0's bytes."""
    size = broadcast_int(len(own))
    buffer = np.zeros(1 << size.bit_length(), np.uint8)  # few sizes, as each is compiled for
    if is_process_0():
        buffer[:size] = np.frombuffer(own, np.uint8)
    return multihost_utils.broadcast_one_to_all(buffer)[:size].tobytes()


def broadcast_arrays(own: Any, like: Any) -> Any:
    """Return process 0's host arrays, whose shapes and dtypes are those of `like`.

    As bytes: what JAX broadcasts is a sum, which loses the sign of a zero.
    """
    plain = lambda tree: jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)
    shapes, structure = jax.tree.flatten(jax.eval_shape(plain, like))
    sizes = [x.size * x.dtype.itemsize for x in shapes]
    buffer = np.zeros(sum(sizes), np.uint8)
    if is_process_0():
        leaves = [np.asarray(x) for x in jax.tree.leaves(plain(own))]
        buffer = np.concatenate([np.frombuffer(x.tobytes(), np.uint8) for x in leaves])
    parts = np.split(multihost_utils.broadcast_one_to_all(buffer), np.cumsum(sizes)[:-1])
    found = [
        np.frombuffer(part.tobytes(), x.dtype).reshape(x.shape)
        for part, x in zip(parts, shapes, strict=True)
    ]
    keyed = lambda x, data: jax.random.wrap_key_data(data) if is_key(x) else data
    return jax.tree.map(keyed, like, jax.tree.unflatten(structure, found))
