"""A finished run of LDM, with returns that are known."""

import pytest

from experiments.analysis import run_record
from jaxmeta.config.run import Run
from tests.written import write_returns


@pytest.fixture
def ldm(tmp_path):
    """Two seeds, evaluated three times."""
    run = Run(method="ldm", seeds=2)
    return run_record.read([write_returns(tmp_path / "ldm", run, [[-3, 1], [3, 5], [6, 10]])])[0]
