"""What can happen to a run, tried on real processes: nothing is lost, and it is said aloud."""

import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from jaxmeta.rundir import layout, reading
from tests.processes import Process, arguments, assert_same, end_all, newest, resumed_from, saving
from tests.tiny import METHODS

FRAMES = {"quick": 120_000, "long": 600_000}  # updates of 240


def train(out, method, length, every="20u", display=None, **overrides):
    """Start training; the log lies beside the run's directory."""
    words = ["train", "gridworld", *arguments(method, FRAMES[length], **overrides)]
    log = out.with_suffix(f".{time.monotonic_ns()}.log")
    words += ["--out", out, "--checkpoint-every", every]
    return Process(*words, log=log, **(display or {}))


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    end_all()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Return a function from method and length to the run that nothing happened to."""
    folder, made = tmp_path_factory.mktemp("reference"), {}

    def run(method, length):
        if (method, length) not in made:
            made[method, length] = folder / f"{method}-{length}"
            code, said = train(made[method, length], method, length).finish()
            assert code == 0, said
        return made[method, length]

    return run


@pytest.mark.slow
def test_two_seeds_have_two_cores(reference):
    cores = min(2, len(os.sched_getaffinity(0)))
    assert reading.read_manifest(reference("rl2", "quick"))["devices"] == ["cpu cpu"] * cores


def kill_again_and_again(out, method, length, every, kills, seed):
    """Kill a run at random moments, each behind a new checkpoint, every second in a save."""
    moments = random.Random(seed)
    for kill in range(kills):
        process, before = train(out, method, length, every), newest(out)
        process.wait_until(lambda before=before: newest(out) > before)
        time.sleep(moments.uniform(0.0, 0.4))
        if kill % 2:
            process.wait_until(lambda: saving(out))
        process.kill()
    code, said = train(out, method, length, every).finish()
    assert code == 0, said
    updates = resumed_from(out)
    assert len(updates) == kills
    assert updates == sorted(updates)
    assert updates[0] > 0


@pytest.mark.slow
@pytest.mark.fault("SIGKILL at random moments, half of them during a save")
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, reference, record_property):
    record_property("tried", 2)
    kill_again_and_again(tmp_path / "a", "rl2", "quick", "20u", 2, seed=0)
    assert_same(tmp_path / "a", reference("rl2", "quick"))


@pytest.mark.slow
@pytest.mark.fault("SIGKILL at random moments, half of them during a save")
@pytest.mark.parametrize("every", ["20u", "0.3s"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_survives_many_kills(method, every, tmp_path, reference, record_property):
    kills = 5 if every == "20u" else 4
    record_property("tried", kills)
    kill_again_and_again(tmp_path / "a", method, "long", every, kills, seed=1)
    assert_same(tmp_path / "a", reference(method, "long"))


@pytest.mark.slow
@pytest.mark.fault("SIGKILL at random moments, half of them during a save")
def test_a_full_size_run_is_killed_twice(tmp_path, record_property):
    """The paper's sizes, XLA's optimisations on, 400,000 frames of LDM with 2 seeds."""
    record_property("tried", 2)
    words = ["train", "gridworld", "--method", "ldm", "--frames", "400_000", "--seeds", "2"]
    words += ["--checkpoint-every", "20u"]

    def start(out):
        log = out.with_suffix(f".{time.monotonic_ns()}.log")
        return Process(*words, "--out", out, log=log, JAX_DISABLE_MOST_OPTIMIZATIONS="0")

    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert start(alone).finish(900)[0] == 0
    for before in (0, 40):
        process = start(killed)
        process.wait_until(lambda before=before: newest(killed) > before, 600)
        time.sleep(1.0)
        process.kill()
    assert start(killed).finish(900)[0] == 0
    updates = resumed_from(killed)
    assert len(updates) == 2
    assert 0 < updates[0] < updates[1]
    assert_same(killed, alone)


@pytest.mark.slow
@pytest.mark.fault("SIGKILL before the first checkpoint")
def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, reference):
    out = tmp_path / "a"
    process = train(out, "rl2", "quick", "1000000u")
    process.wait_until(lambda: (out / layout.METRICS).is_file() and reading.read_metrics(out))
    process.kill()
    assert newest(out) == 0
    code, said = train(out, "rl2", "quick").finish()
    assert code == 0
    assert "before its first checkpoint; it starts from the beginning" in said
    assert resumed_from(out) == [0]
    assert_same(out, reference("rl2", "quick"))


@pytest.mark.fault("SIGTERM or SIGINT once")
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_one_signal_saves_and_exits_with_75(number, tmp_path, reference):
    out = tmp_path / "a"
    process = train(out, "rl2", "quick", "1000000u")
    process.wait_until(lambda: (out / layout.METRICS).is_file() and reading.read_metrics(out))
    process.send(number)
    code, said = process.finish()
    assert code == 75, said
    assert f"{number.name}: finishing this chunk, then saving" in said
    assert reading.status(out) == "preempted"
    assert newest(out) > 0
    code, said = Process("resume", out, log=tmp_path / "resumed.log").finish()
    assert code == 0, said
    assert f"resumes after update {resumed_from(out)[0]}" in said
    assert_same(out, reference("rl2", "quick"))


@pytest.mark.slow
@pytest.mark.fault("SIGHUP, SIGUSR1 or SIGUSR2, once and again")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_warning_saves_however_often_it_comes(number, tmp_path, reference):
    out = tmp_path / "a"
    process = train(out, "rl2", "quick", "1000000u")
    process.wait_until(lambda: (out / layout.METRICS).is_file() and reading.read_metrics(out))
    process.send(number)
    process.wait_until(lambda: f"{number.name}: finishing this chunk" in process.log.read_text())
    process.send(number)
    assert_preempted_and_whole(process, out, reference)


def assert_preempted_and_whole(process, out, reference):
    """Assert that a stopped process saved, and that its run goes on to the same bits."""
    code, said = process.finish()
    assert code == 75, said
    assert reading.status(out) == "preempted"
    assert newest(out) > 0
    code, said = train(out, "rl2", "quick").finish()
    assert code == 0, said
    assert resumed_from(out)[-1] > 0
    assert_same(out, reference("rl2", "quick"))


def closed():
    """Return a Process's arguments, to begin without stdout and stderr."""
    return {"through": ("sh", "-c", 'exec "$@" >&- 2>&-', "sh")}, lambda: None


def unread():
    """Return those for a pipe, and what takes its reader away."""
    reader, writer = os.pipe()

    def end():
        os.close(reader)
        os.close(writer)

    return {"streams": {"stdout": writer, "stderr": writer}}, end


def full():
    """Return those for a disk without room."""
    target = os.open("/dev/full", os.O_WRONLY)
    return {"streams": {"stdout": target, "stderr": target}}, lambda: os.close(target)


CONTROL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(1, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def terminal():
    """Return those for a terminal of the process's own, and what takes it away."""
    ours, theirs = pty.openpty()

    def end():
        os.close(theirs)
        os.close(ours)

    streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    return {"streams": streams, "through": (sys.executable, "-c", CONTROL)}, end


@pytest.mark.slow
@pytest.mark.fault("stdout and stderr closed, full, or gone while training")
@pytest.mark.parametrize("display", [closed, unread, full, terminal])
def test_a_run_outlives_whoever_reads_what_it_prints(display, tmp_path, reference):
    """A terminal that goes away sends SIGHUP itself."""
    out = tmp_path / "a"
    arguments, end = display()
    process = train(out, "rl2", "quick", "1000000u", arguments)
    process.wait_until(lambda: (out / layout.METRICS).is_file() and reading.read_metrics(out))
    end()
    process.send(signal.SIGUSR1)
    assert_preempted_and_whole(process, out, reference)


@pytest.mark.slow
@pytest.mark.fault("a pipe whose reader leaves before the end")
def test_a_run_whose_reader_leaves_finishes(tmp_path, reference):
    out = tmp_path / "a"
    arguments, end = unread()
    process = train(out, "rl2", "quick", display=arguments)
    end()
    assert process.finish()[0] == 0
    assert_same(out, reference("rl2", "quick"))


@pytest.mark.slow
@pytest.mark.fault("SIGHUP under nohup is ignored")
def test_nohup_lets_a_run_finish(tmp_path, reference):
    out = tmp_path / "a"
    process = train(out, "rl2", "quick", display={"through": ("nohup",)})
    process.wait_until(lambda: newest(out) > 0)
    process.send(signal.SIGHUP)
    assert process.finish()[0] == 0
    assert_same(out, reference("rl2", "quick"))


@pytest.mark.slow
@pytest.mark.fault("two signals: the second exits at once")
def test_two_signals_leave_a_run_that_goes_on(tmp_path, reference):
    out = tmp_path / "a"
    process = train(out, "rl2", "quick")
    process.wait_until(lambda: newest(out) > 0)
    process.send(signal.SIGTERM)
    process.send(signal.SIGINT)  # another one: two of a kind may arrive as one
    code, said = process.finish(30)
    assert code == 75, said
    assert train(out, "rl2", "quick").finish()[0] == 0
    assert_same(out, reference("rl2", "quick"))


@pytest.mark.fault("two processes on one directory")
def test_a_directory_in_use_is_refused(tmp_path, reference):
    out = tmp_path / "a"
    first = train(out, "rl2", "quick")
    first.wait_until(lambda: newest(out) > 0)
    first.send(signal.SIGSTOP)  # it must not end before the second one has looked
    code, said = train(out, "rl2", "quick").finish()
    first.send(signal.SIGCONT)
    assert code == 2
    assert f"in use by process {first.process.pid} on" in said
    assert first.finish()[0] == 0
    assert_same(out, reference("rl2", "quick"))


@pytest.fixture
def mounted(tmp_path):
    """Return a function that mounts a small file system, undone at the end."""
    points = []

    def mount(options):
        point = tmp_path / f"disk{len(points)}"
        point.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", point]
        if os.geteuid() or shutil.which("mount") is None or subprocess.run(command).returncode:
            pytest.skip("mounting needs privileges that are not there")
        points.append(point)
        return point

    yield mount
    end_all()  # a process that writes there keeps it busy
    for point in points:
        subprocess.run(["umount", point], check=True)


@pytest.mark.fault("read-only directory")
def test_a_read_only_directory_is_refused_at_once(tmp_path, mounted):
    if os.geteuid():
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o555)
    else:  # root may write whatever the permissions say
        folder = mounted("size=1m")
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    code, said = Process(
        "train", "gridworld", *arguments("rl2", 1000), "--out", folder / "a", log=tmp_path / "log"
    ).finish()
    assert code == 2
    assert "must be writable" in said


@pytest.mark.slow
@pytest.mark.fault("disk full, for real")
def test_a_full_disk_is_an_error_and_the_last_checkpoint_is_whole(tmp_path, mounted, reference):
    disk = mounted("size=64m")
    out, ballast = disk / "a", disk / "ballast"
    process = train(out, "rl2", "quick", "20u")
    process.wait_until(lambda: newest(out) > 0)
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(2**16))
    code, said = process.finish()
    assert code == 1, said
    assert "older ones are intact" in said or "No space left" in said
    ballast.unlink()
    code, said = Process("resume", out, log=tmp_path / "resumed.log").finish()
    assert code == 0, said
    assert resumed_from(out)[-1] > 0
    assert_same(out, reference("rl2", "quick"))
