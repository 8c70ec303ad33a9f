"""C MuJoCo in one callback per step, for any number of robots.

The callback reads and writes the program's own memory, by NumPy only: using JAX inside could wait
for the very program that waits for the callback, and `pure_callback`, which does, takes 85 us for
what takes 3 here.
"""

import contextlib
import copy
import functools
import itertools
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.experimental.buffer_callback import Buffer, buffer_callback
from mujoco.batch import Batch

from jaxmeta.env import Array

from .physics_interface import Advance, Fields


class BatchPool:
    """Batches by their size and the names of the arrays that differ; each serves one caller.

    Two devices may step at once: the second finds no free batch and makes one.
    """

    def __init__(self, model: mujoco.MjModel):
        self.model = model
        self._free: dict[tuple, list[Batch]] = defaultdict(list)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def borrow(self, size: int, names: tuple[str, ...]) -> Iterator[Batch]:
        """Lend a batch of a size whose simulations have their own values of the named arrays.

        Its state is that which the last user left.
        """
        with self._lock:
            free = self._free[size, names]
            batch = free.pop() if free else None
        if batch is None:
            batch = Batch(self.model, size, min(size, cores()))
        try:
            yield batch
        finally:
            with self._lock:
                free.append(batch)


def cores() -> int:
    """Return the number of cores that this process may use; MuJoCo would count the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def c_advance(model: mujoco.MjModel, frame_skip: int, forces: bool) -> Advance:
    """Return one step of C MuJoCo, in float64 on all cores, with contact forces or without.

    A simulation's result is bitwise that of mj_step alone, independent of the rest of the batch.
    """
    model = copy.copy(model)
    # MuJoCo would reset a diverged simulation to qpos0 and continue; here it stays diverged, so
    # that the caller sees it.
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    pool = BatchPool(model)
    inputs = (model.nq, model.nv, model.nv, model.nu)
    outputs = (model.nq, model.nv, model.nv, 3, *([6 * model.nbody] if forces else []))

    def on_host(names: tuple[str, ...], context: Any, out: Buffer, packed: Buffer) -> None:
        """Write [..., sum(outputs)] for [..., sum(inputs)], which the named fields follow."""
        given, after = np.asarray(packed), np.asarray(out)
        sizes = (*inputs, *(getattr(model, name).size for name in names))
        rows = given.reshape(-1, given.shape[-1])
        qpos, qvel, warmstart, ctrl, *fields = split(rows, sizes)
        with pool.borrow(len(qpos), names) as batch:
            for name, values in zip(names, fields, strict=True):
                array = batch.expand(name)
                array[:] = values.reshape(array.shape)
            # A simulation's next step depends on nothing else.
            batch.qpos, batch.qvel, batch.qacc_warmstart, batch.ctrl = qpos, qvel, warmstart, ctrl
            torso = batch.xpos[:, 1]  # a view, filled by the step
            batch.step(nstep=frame_skip)
            parts = [batch.qpos, batch.qvel, batch.qacc_warmstart, torso]
            if forces:
                parts = [part.copy() for part in parts]  # what follows writes to views
                contact_forces = batch.cfrc_ext
                batch.forward()
                parts.append(contact_forces.reshape(len(contact_forces), -1))
            with np.errstate(over="ignore"):  # a diverged simulation
                np.concatenate(
                    parts, axis=1, out=after.reshape(-1, sum(outputs)), casting="same_kind"
                )

    def advance(
        qpos: Array, qvel: Array, warmstart: Array, ctrl: Array, fields: Fields
    ) -> tuple[Array, ...]:
        flat = [x.ravel() for x in fields.values()]
        packed = jnp.concatenate([qpos, qvel, warmstart, ctrl, *flat])
        stepped = functools.partial(on_host, tuple(fields))
        shape = jax.ShapeDtypeStruct((sum(outputs),), packed.dtype)
        after = buffer_callback(stepped, shape, vmap_method="broadcast_all")(packed)
        return split(after, outputs)

    return advance


def split(x: Any, sizes: tuple[int, ...]) -> Any:
    """Return the pieces of x [..., sum(sizes)] along its last axis."""
    ends = list(itertools.accumulate(sizes, initial=0))
    return tuple(x[..., a:b] for a, b in itertools.pairwise(ends))
