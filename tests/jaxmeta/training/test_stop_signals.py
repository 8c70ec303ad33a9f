"""Requests to stop: one asks, the second ends the process, both are heard by all."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from jaxmeta.training.stop_signals import stop_requests

DEAF = """
import signal, time
from jaxmeta.training.stop_signals import stop_requests
with stop_requests():
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
"""


@pytest.mark.fault("two signals: the second exits at once")
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_process_that_does_not_listen(second):
    command = [sys.executable, "-c", DEAF]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
            assert b"SIGTERM: finishing this chunk" in process.stderr.readline()
            assert process.poll() is None
            process.send_signal(second)
            assert process.wait(10) == 75
            assert b"stopped at once" in process.stderr.readline()
        finally:
            process.kill()


def test_what_came_is_named_and_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_requests() as asked:
        assert asked() is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked() == "SIGTERM"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    with stop_requests() as asked:
        assert asked() is None  # it is over


def test_a_study_hears_of_what_came_during_its_runs():
    with stop_requests() as study:
        with stop_requests() as run:
            os.kill(os.getpid(), signal.SIGINT)
        assert run() == study() == "SIGINT"


def test_in_another_thread_nothing_is_caught():
    heard = []

    def work():
        with stop_requests() as asked:
            heard.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [None]
