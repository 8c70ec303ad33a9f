"""Two real processes tell each other what one of them knows."""

import subprocess
import sys

import jax
import pytest

from jaxmeta.config.process_group import Cluster
from jaxmeta.devices import hosts
from jaxmeta.errors import ConfigError, PeerLost, Preempted
from tests.processes import ENVIRONMENT, free_port

TALK = """
import sys
import jax
import jax.numpy as jnp
import numpy as np
import jaxmeta
from jaxmeta.devices import hosts
from jaxmeta.errors import CheckpointError

me = int(sys.argv[2])
jaxmeta.join_hosts(sys.argv[1], 2, me)
assert (hosts.process_count(), hosts.is_process_0()) == (2, me == 0)

assert hosts.broadcast_int(7 + me) == 7
assert hosts.run_on_process_0(lambda: {"me": me}) == {"me": 0}
assert hosts.only_on_process_0(lambda: "made", "not made") == ("not made" if me else "made")
assert hosts.any_signal("SIGTERM" if me else None) == "SIGTERM"
assert hosts.any_signal(None) is None
assert hosts.any_process(bool(me))
assert not hosts.any_process(False)

def refuse():
    raise CheckpointError("damaged")

try:
    hosts.run_on_process_0(refuse)
except CheckpointError as error:
    assert str(error) == "damaged"
else:
    raise AssertionError("nothing was raised")

tree = {
    "a": np.array([0.0, -0.0, np.nan, np.inf, 1e-40], np.float32),
    "b": np.array([True, False]),
    "c": np.int32(-3),
    "key": jax.random.split(jax.random.key(5), 3),
}
like = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, tree))
facts, got = hosts.broadcast(lambda: ({"x": 1}, tree), like)
assert facts == {"x": 1}
assert got["key"].dtype == tree["key"].dtype
assert (jax.random.key_data(got["key"]) == jax.random.key_data(tree["key"])).all()
for name in "abc":
    assert (got[name].dtype, got[name].shape) == (tree[name].dtype, tree[name].shape)
    assert got[name].tobytes() == tree[name].tobytes(), name
assert hosts.broadcast(lambda: (None, None), like) == (None, None)
print("all of it")
"""


def test_what_one_process_knows_all_are_told():
    address = f"127.0.0.1:{free_port()}"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", TALK, address, str(me)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for me in range(2)
    ]
    try:
        for process in running:
            said = process.communicate(timeout=120)[0]
            assert process.returncode == 0, said
            assert "all of it" in said
    finally:
        for process in running:
            process.kill()


def test_a_process_alone_decides_for_itself():
    assert (hosts.process_count(), hosts.is_process_0()) == (1, True)
    value = {"a": (1, 2)}
    assert hosts.run_on_process_0(lambda: value) is value
    assert hosts.only_on_process_0(lambda: value, None) is value
    assert hosts.broadcast_int(3) == 3
    assert hosts.any_signal("SIGINT") == "SIGINT"


def test_joining_is_too_late_once_jax_was_used():
    jax.devices()
    with pytest.raises(ConfigError, match="too late"):
        hosts.join(Cluster("127.0.0.1:1", 2, 0))


def test_a_lost_process_is_named(monkeypatch):
    monkeypatch.setattr(hosts, "_here", Cluster("127.0.0.1:1", 2, 0))
    with pytest.raises(PeerLost, match=r"^process 1 of this run is gone.*resumes from there"):  # noqa: SIM117
        with hosts.detect_peer_loss():
            raise ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer")
    assert issubclass(PeerLost, Preempted)


@pytest.mark.parametrize("error", [ValueError("shapes differ"), ConfigError("connection = 1")])
def test_other_errors_stay_what_they_are(error, monkeypatch):
    monkeypatch.setattr(hosts, "_here", Cluster("127.0.0.1:1", 2, 0))
    with pytest.raises(type(error)) as found, hosts.detect_peer_loss():
        raise error
    assert found.value is error


def test_what_is_not_made_for_several_is_refused(monkeypatch):
    hosts.require_single_process("a sweep")
    monkeypatch.setattr(hosts, "_here", Cluster("127.0.0.1:1", 2, 0))
    with pytest.raises(ConfigError, match="num_processes = 2: must be 1 for a sweep"):
        hosts.require_single_process("a sweep")
