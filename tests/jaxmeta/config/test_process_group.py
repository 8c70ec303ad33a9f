"""Who trains together, from options and from SLURM."""

import pytest

from jaxmeta.config.process_group import SINGLE_PROCESS, Cluster, cluster
from jaxmeta.errors import ConfigError


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch):
    for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def test_options_name_the_processes():
    assert cluster() == SINGLE_PROCESS
    assert cluster("10.0.0.1:1234", "4", "3") == Cluster("10.0.0.1:1234", 4, 3)
    assert cluster("[::1]:1234", 2, 0) == Cluster("[::1]:1234", 2, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("10.0.0.1:1234", 4, None), "process_id: missing; coordinator, num_processes, process_id"),
        ((None, 4, 0), "coordinator: missing"),
        (("10.0.0.1", 4, 0), "coordinator = '10.0.0.1': must be HOST:PORT"),
        (("10.0.0.1:70000", 4, 0), "coordinator = '10.0.0.1:70000': must be HOST:PORT"),
        (("a:1", 4, 4), "process_id = 4: must be 0 to num_processes - 1"),
        (("a:1", 4, -1), "process_id = -1: must be 0"),
        (("a:1", 0, 0), "num_processes = 0: must be 1 to"),
        (("a:1", "two", 0), "num_processes = 'two': must be a whole number"),
        ((None, 1, 1), "coordinator: missing"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        cluster(*options)


def test_several_tasks_of_a_slurm_step_train_together(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "2")
    assert cluster() == Cluster(None, 4, 2)
    assert cluster(num_processes=1) == SINGLE_PROCESS
    assert cluster(num_processes="1", process_id="0") == SINGLE_PROCESS  # the command line's


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},  # a sweep's job
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # a batch script itself, outside srun
    ],
)
def test_one_task_is_alone(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cluster() == SINGLE_PROCESS
