"""One run trained by two real processes, and what can happen to them."""

import signal
import time

import chex
import pytest

import jaxmeta
from jaxmeta.rundir import reading
from tests.processes import Process, arguments, end_all, free_port, newest
from tests.tiny import tiny_run

UPDATES = 20
SIZES = {"seeds": 1, "workers": 8, "log_every": 4800}  # 2 groups, one for each process
FRAMES = UPDATES * 480
ENDS_S = 30.0  # by when the other process must have ended


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    end_all()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return the result of one process on one device."""
    overrides = {"frames": FRAMES, "evaluation.every": 24_000, **SIZES}
    run = tiny_run("ldm", overrides)
    return jaxmeta.train(run, tmp_path_factory.mktemp("alone") / "a", mesh="seeds=1")


def start(out, frames=FRAMES, every="1u", **environment):
    """Start two processes that train one run together."""
    words = ["train", "gridworld", *arguments("ldm", frames, **SIZES), "--out", out]
    words += ["--checkpoint-every", every, "--num-processes", 2]
    words += ["--coordinator", f"127.0.0.1:{free_port()}"]
    logs = [out.with_suffix(f".{time.monotonic_ns()}.{i}.log") for i in range(2)]
    return [Process(*words, "--process-id", i, log=logs[i]) for i in range(2)]


def assert_close(result, alone):
    chex.assert_trees_all_close(result.params, alone.params, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_close(result.best.params, alone.best.params, rtol=1e-4, atol=1e-4)
    assert result.evaluation["return"] == pytest.approx(alone.evaluation["return"], abs=1e-3)


def lose(processes, out, victim, number):
    """Take one process away in the middle; return the other's code and words, and the seconds."""
    processes[0].wait_until(lambda: newest(out) >= UPDATES // 4)
    processes[victim].send(number)
    began = time.monotonic()
    code, said = processes[1 - victim].finish(ENDS_S + 30)
    return code, said, time.monotonic() - began


def assert_lost_and_resumed(out, alone, victim, number):
    """Assert that the other process ends soon and clearly, and that one alone finishes the run."""
    code, said, seconds = lose(start(out), out, victim, number)
    assert code == 75, said
    assert seconds < ENDS_S, said
    assert f"process {victim} of this run is gone, or cannot be reached" in said
    assert "Traceback" not in said
    assert reading.status(out) in ("running", "preempted")
    end_all()
    result = jaxmeta.resume(out, mesh="seeds=1")
    (entry,) = reading.read_manifest(out)["resumed_from"]
    assert UPDATES // 4 <= entry["update"] < UPDATES
    assert set(entry["changed"]) >= {"devices"}
    assert_close(result, alone)


@pytest.mark.slow
@pytest.mark.fault("SIGKILL of one of two processes that train together")
def test_a_killed_peer_ends_the_other_and_one_process_goes_on(tmp_path, alone):
    assert_lost_and_resumed(tmp_path / "a", alone, 1, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.fault("SIGKILL of one of two processes that train together")
def test_a_killed_coordinator_ends_the_other(tmp_path, alone):
    assert_lost_and_resumed(tmp_path / "a", alone, 0, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.fault("one of two processes that train together falls silent")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_silent_peer_ends_the_other(victim, tmp_path, alone):
    """No connection is closed, as when a machine or the network is gone: heartbeats tell."""
    assert_lost_and_resumed(tmp_path / "a", alone, victim, signal.SIGSTOP)


@pytest.mark.slow
def test_two_processes_give_what_one_gives_and_say_it_once(tmp_path, alone):
    out = tmp_path / "a"
    (code, said), (other_code, other_said) = (p.finish(120) for p in start(out, every="100u"))
    assert (code, other_code) == (0, 0), said + other_said
    manifest = reading.read_manifest(out)
    assert manifest["mesh"] == {"seeds": 1, "groups": 2}
    assert manifest["processes"] == 2
    assert manifest["saved"] == UPDATES
    assert "finished" in said
    assert "frames" not in other_said
    assert_close(jaxmeta.resume(out), alone)


@pytest.mark.slow
@pytest.mark.fault("SIGTERM to one of two processes that train together")
def test_a_signal_to_one_stops_all_at_the_same_update(tmp_path, alone):
    """And two go on, from the checkpoint that the first one reads, to the end."""
    out = tmp_path / "a"
    processes = start(out)
    processes[0].wait_until(lambda: newest(out) >= UPDATES // 4)
    processes[1].send(signal.SIGTERM)
    ended = [p.finish(60) for p in processes]
    assert [code for code, _ in ended] == [75, 75], ended
    told = [next(x for x in said.splitlines() if "stopped after" in x) for _, said in ended]
    assert told[0] == told[1]
    assert reading.status(out) == "preempted"
    again = [p.finish(120) for p in start(out)]
    assert [code for code, _ in again] == [0, 0], again
    assert_close(jaxmeta.resume(out), alone)


@pytest.mark.slow
def test_what_the_first_refuses_all_refuse(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    for code, said in [p.finish(60) for p in start(tmp_path / "a")]:
        assert code == 2, said
        assert "must be empty, new, or a run's folder" in said
