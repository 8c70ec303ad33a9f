"""Following a run: what is shown, and when it ends by itself."""

import contextlib
import io
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from experiments.__main__ import main
from experiments.analysis.run_record import read_results
from experiments.cli import watch
from jaxmeta.rundir import evaluation_csv, layout, lock, reading
from tests.written import (
    cut_short,
    run_on_record,
    two_episodes,
    write_manifest,
    write_metrics,
    write_run,
)

LOGGED = [
    {"seed": seed, "frames": frames, "wall_s": frames / 50, "frames_per_s": 100.0}
    | {"return_train": value, "return_imagined": value - 1}
    for frames, values in ((480, (1.0, 3.0)), (960, (2.0, 6.0)))
    for seed, value in enumerate(values)
]


def write(path, **changes):
    """Write a run of 2 seeds; 5 updates of 8 workers x 2 episodes x 30 steps are 2,400 frames."""
    run = two_episodes(frames=2000, seeds=2).replace({"workers": 8})
    values = [[0, 24.0], [0, 22.0]]
    return write_run(path, run, values, values, **{"logged": LOGGED} | changes)


HELD = {}  # the living processes, by directory


@pytest.fixture
def path(tmp_path):
    """A running run whose process is alive."""
    path = write(tmp_path / "a")
    with contextlib.ExitStack() as process:
        process.enter_context(lock.locked(path))
        HELD[path] = process
        yield path


def seen(path, monkeypatch, *events, every=20.0):
    """Return what a log gets; each event happens between two looks."""
    waiting, clock = iter(events), iter(range(0, 10**6, int(every)))

    def sleep(seconds):
        assert seconds == every
        next(waiting)()

    monkeypatch.setattr("experiments.cli.watch.time.sleep", sleep)
    monkeypatch.setattr("experiments.cli.watch.time.monotonic", lambda: next(clock))
    out = io.StringIO()
    watch.watch(path, every, Console(file=out, highlight=False))
    assert next(waiting, None) is None  # all of them happened
    return out.getvalue().splitlines()


def ends(path, status="finished"):
    def end():
        write_manifest(path, status=status)
        HELD[path].close()

    return end


@pytest.mark.parametrize("before", ["preempted", "failed"])
def test_a_run_that_is_resumed_right_now_is_followed(before, path, monkeypatch):
    write_manifest(path, status=before)
    shown = seen(path, monkeypatch, lambda: write_manifest(path, status="running"), ends(path))
    assert shown[-1].endswith("finished")


def test_a_log_gets_lines_until_the_run_ends(path, monkeypatch):
    grown = [*LOGGED, *({**row, "frames": 1440, "wall_s": 28.8} for row in LOGGED[2:])]
    shown = seen(path, monkeypatch, lambda: write_metrics(path, grown), ends(path))
    assert shown == [
        "RL² on gridworld, running: 1,000 of 2,400 frames (42%);"
        " 0:00:28 left, 100 frames/s, return 4.0, imagined 3.0;"
        " at 1,000 frames, greedy, episode 2: train 23.00 (2.0 of 2 goals),"
        " test 23.00 (2.0 of 3 goals)",
        "RL² on gridworld, running: 1,440 of 2,400 frames (60%);"
        " 0:00:19 left, 100 frames/s, return 4.0, imagined 3.0;"
        " at 1,000 frames, greedy, episode 2: train 23.00 (2.0 of 2 goals),"
        " test 23.00 (2.0 of 3 goals)",
        "RL² on gridworld, finished: 1,440 of 2,400 frames (60%);"
        " 100 frames/s, return 4.0, imagined 3.0;"
        " at 1,000 frames, greedy, episode 2: train 23.00 (2.0 of 2 goals),"
        " test 23.00 (2.0 of 3 goals)",
        f"{path}: finished",
    ]


def test_a_log_gets_a_line_every_15_seconds(path, monkeypatch):
    nothing = lambda: None
    shown = seen(path, monkeypatch, *[nothing] * 7, ends(path, "failed"), every=5.0)
    assert len(shown) == 1 + 7 * 5 // 15 + 1 + 1
    assert shown[-1] == f"{path}: failed"


def test_a_resumed_runs_metrics_may_get_shorter(path, monkeypatch):
    def shorter():
        write_metrics(path, LOGGED[:2])
        (path / layout.EVALUATION).write_text(",".join(evaluation_csv.COLUMNS) + "\r\n")

    shown = seen(path, monkeypatch, shorter, ends(path, "preempted"))
    assert "480 of 2,400 frames (20%); 0:00:38 left" in shown[1]
    assert "return 2.0" in shown[1]
    assert shown[1].endswith("no evaluation yet")
    assert shown[-1] == f"{path}: preempted; `jaxmeta resume {path}` resumes it"


def test_what_is_being_written_is_left_out(path, monkeypatch):
    cut_short(path / layout.METRICS)
    cut_short(path / layout.EVALUATION)
    shown = seen(path, monkeypatch, ends(path))
    assert "960 of 2,400" in shown[0]
    assert "return 2.5" in shown[0]  # seed 0's last, and seed 1's last but one
    assert "at 0 frames" in shown[0]


def test_dead_seeds_are_named_and_in_no_mean(tmp_path, monkeypatch):
    dead = {"1": {"update": 1, "quantity": "value_loss"}}
    nulls = dict.fromkeys(("return_train", "return_imagined")) | {"finite": False}
    logged = [LOGGED[0], LOGGED[1] | nulls, LOGGED[2]]
    path = write(tmp_path / "a", logged=logged, dead_seeds=dead, status="failed")
    (shown, _) = seen(path, monkeypatch)
    assert "return 2.0, imagined 1.0" in shown
    assert "train 24.00" in shown
    assert shown.endswith("; seed 1 became non-finite at update 1 (value_loss)")


def test_a_dead_seed_that_the_manifest_does_not_name_yet_is_in_no_mean(path, monkeypatch):
    write_metrics(path, [LOGGED[2], LOGGED[3] | {"return_train": None, "finite": False}])
    assert "return 2.0, imagined 3.0" in seen(path, monkeypatch, ends(path))[0]


def test_all_seeds_may_be_dead(tmp_path, monkeypatch):
    dead = {str(seed): {"update": 1, "quantity": "kl"} for seed in range(2)}
    shown, _ = seen(write(tmp_path / "a", dead_seeds=dead, status="failed"), monkeypatch)
    assert "100 frames/s; no evaluation yet; seed 0 became non-finite at update 1 (kl);" in shown
    assert shown.endswith("seed 1 became non-finite at update 1 (kl)")


def test_a_run_before_its_first_line_is_followed(path, monkeypatch):
    for name in (layout.TASKS, layout.METRICS, layout.EVALUATION, layout.MANIFEST):
        (path / name).unlink()
    shown = seen(path, monkeypatch, ends(path))
    assert shown[0] == (
        "RL² on gridworld, without a manifest: 0 of 2,400 frames (0%); no evaluation yet"
    )


def test_a_run_whose_process_has_exited_is_not_waited_for(tmp_path, monkeypatch):
    path = write(tmp_path / "a")
    shown = seen(path, monkeypatch)
    assert shown[-1] == f"{path}: its process has exited; `jaxmeta resume {path}` resumes it"


def test_a_run_that_ends_between_two_reads_is_not_called_exited(tmp_path, monkeypatch):
    path = write(tmp_path / "a")

    def read_and_end(path):
        result = read_results(path)
        write_manifest(path, status="finished")
        return result

    holder = lambda path: "a process" if reading.status(path) == "running" else None
    monkeypatch.setattr("jaxmeta.rundir.lock.holder", holder)
    monkeypatch.setattr("experiments.cli.watch.read_results", read_and_end)
    assert seen(path, monkeypatch, lambda: None)[-1] == f"{path}: finished"


def test_a_terminal_gets_a_picture(path, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.cli.watch.time.sleep", interrupt)
    out = io.StringIO()
    watch.watch(path, console=Console(file=out, force_terminal=True, color_system=None, width=70))
    shown = [line.strip() for line in out.getvalue().splitlines()]
    assert shown[0].endswith("RL² on gridworld, running: 1,000 of 2,400 frames (42%)")
    assert shown[1] == "━" * int(60 * 1000 / 2400)
    assert shown[2:5] == [
        "0:00:28 left, 100 frames/s, return 4.0, imagined 3.0",
        "at 1,000 frames, greedy, episode 2: train 23.00 (2.0 of 2 goals), test",
        "23.00 (2.0 of 3 goals)",
    ]
    assert "exited" not in out.getvalue()


def test_an_environment_from_a_file_is_not_executed(tmp_path):
    run = run_on_record(two_episodes(frames=2000), env=f"{tmp_path}/env.py:make")
    path = write_run(tmp_path / "a", run, [[1]], [[1]], reached="", status="finished")
    first, _, evaluation = watch.lines(read_results(path))
    assert "of 2,000 frames" in first
    assert "train 1.00, test 1.00" in evaluation


def test_another_environment_than_the_named_one_may_have_fewer_frames(tmp_path):
    run = two_episodes(frames=240)  # an update of gridworld would be 960
    path = write_run(tmp_path / "a", run, [[1]], [[1]], status="running")
    assert "of 240 frames" in watch.lines(read_results(path))[0]


@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf", "often"])
def test_the_interval_must_be_a_length_of_time(every, path, capsys):
    assert main(["watch", str(path), "--every", every]) == 2
    error = capsys.readouterr().err
    assert "every" in error
    assert error.count("\n") == 1


def test_no_run_is_bad_input(tmp_path, capsys):
    assert main(["watch", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}: holds no run" in error
    assert error.count("\n") == 1


WATCH = "import sys; from experiments.__main__ import main; print(main(sys.argv[1:]));"


def test_it_imports_no_jax_and_only_reads(tmp_path):
    path = write(tmp_path / "a", status="finished")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    code = WATCH + "print({'jax', 'matplotlib'} & set(sys.modules))"
    command = [sys.executable, "-c", code, "watch", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-3:] == [f"{path}: finished", "0", "set()"]
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_ctrl_c_ends_it_and_is_no_error(path):
    command = [sys.executable, "-u", "-c", WATCH, "watch", str(path), "--every", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert b"running" in process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=20)
    assert (out.split(), error) == ([b"0"], b"")
