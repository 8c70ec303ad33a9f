"""The replay against a plain list."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from jaxmeta.replay import ring_buffer

CAPACITY = 5


EXAMPLE = {"id": jnp.zeros((), jnp.int32), "cells": jnp.zeros((3, 2), jnp.int8)}


add = jax.jit(ring_buffer.add, static_argnames="mode")


sample = jax.jit(ring_buffer.sample, static_argnums=2)


def rows(first, n):
    """Return n recognisable rows; their ids count up from `first`."""
    ids = first + np.arange(n)
    cells = np.broadcast_to(ids[:, None, None] % 100, (n, 3, 2))
    return {"id": jnp.asarray(ids, jnp.int32), "cells": jnp.asarray(cells, jnp.int8)}


def plain(mode):
    """Return a list with the same rules."""
    if mode == "ring":
        return deque(maxlen=CAPACITY)

    class Frozen(list):
        def append(self, item):
            if len(self) < CAPACITY:
                super().append(item)

    return Frozen()


def check(replay, stored, key):
    drawn = jax.device_get(sample(replay, key, 64))
    assert set(drawn["id"].tolist()) <= set(stored)
    assert (drawn["cells"] == (drawn["id"] % 100)[:, None, None]).all()
    kept = sorted(np.asarray(replay.data["id"])[: len(stored)].tolist())
    assert kept == sorted(stored)


@pytest.mark.parametrize("mode", ["ring", "frozen"])
@settings(max_examples=30, derandomize=True)
@given(sizes=st.lists(st.sampled_from([1, 2, 5]), min_size=1, max_size=12))
def test_what_is_stored_and_drawn_is_what_a_list_would_hold(mode, sizes):
    replay, stored, offered = ring_buffer.empty(EXAMPLE, CAPACITY), plain(mode), 1
    for n in sizes:
        replay = add(replay, rows(offered, n), mode=mode)
        for i in range(n):
            stored.append(offered + i)
        offered += n
        check(replay, stored, jax.random.key(offered))


def test_a_ring_is_correct_after_many_rounds():
    replay, stored = ring_buffer.empty(EXAMPLE, CAPACITY), deque(maxlen=CAPACITY)
    for i in range(200):
        replay = add(replay, rows(2 * i, 2), mode="ring")
        stored.extend([2 * i, 2 * i + 1])
    check(replay, stored, jax.random.key(0))


def test_rows_are_drawn_uniformly_and_with_replacement():
    replay = add(ring_buffer.empty(EXAMPLE, CAPACITY), rows(10, 2), mode="ring")
    replay = add(replay, rows(12, 1), mode="ring")
    drawn = np.asarray(sample(replay, jax.random.key(0), 3000)["id"])
    counts = np.bincount(drawn - 10, minlength=3)
    assert counts.sum() == 3000 and len(counts) == 3
    assert chisquare(counts).pvalue > 1e-3
    pairs = drawn.reshape(-1, 2)
    again = (pairs[:, 0] == pairs[:, 1]).mean()
    assert abs(again - 1 / 3) < 4 * np.sqrt(2 / 9 / len(pairs))


def test_every_array_keeps_its_own_dtype_and_shape():
    replay = ring_buffer.empty(EXAMPLE, CAPACITY)
    assert replay.data["id"].shape == (CAPACITY,) and replay.data["id"].dtype == jnp.int32
    assert replay.data["cells"].shape == (CAPACITY, 3, 2)
    assert replay.data["cells"].dtype == jnp.int8
    assert add(replay, rows(0, 2), mode="ring").data["cells"].dtype == jnp.int8
