"""Runs that released versions wrote: every leaf is restored, they resume, they are reported."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import jaxmeta
from experiments.__main__ import main
from jaxmeta.config.data_format import FORMAT
from jaxmeta.rundir import checkpoint, evaluation_csv, layout, reading
from jaxmeta.sweeps import sweep_folder
from jaxmeta.sweeps.train_program import run_program
from jaxmeta.training.build import build_together
from jaxmeta.training.compiled_functions import train_state_shapes
from jaxmeta.training.saved_items import AGENT, COURSE, start_of
from tests import written_runs

VERSIONS = sorted((Path(__file__).parent / "written_by").iterdir())
RUNS = written_runs.runs()
STOPPED = 2  # the update of the checkpoint

every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)


def read_all(folder, built):
    """Return a checkpoint's items and the index that it was written with."""
    like = {COURSE: train_state_shapes(built.members, built.algorithm), AGENT: built.trained}
    start = start_of(built.algorithm, built.members)
    items, _ = checkpoint.read_checkpoint(folder / layout.CHECKPOINTS, STOPPED, like, start)
    index = json.loads((folder / layout.CHECKPOINTS / str(STOPPED) / "index/metadata").read_text())
    return items, index


def leaves_of(items):
    return {
        (item, name): checkpoint.to_host(x)
        for item, tree in items.items()
        for name, x in checkpoint.flatten_with_names(tree).items()
    }


def assert_every_leaf(folder, built):
    """Every leaf of the index is where the code has it, with the content that was written."""
    items, index = read_all(folder, built)
    found = leaves_of(items)
    by_item = index["leaves"].items()
    wrote = {(item, name): leaf for item, of in by_item for name, leaf in of.items()}
    younger = {name for name in found.keys() - wrote.keys() if ".state.hp." in f".{name[1]}"}
    assert found.keys() - younger == wrote.keys()
    for name, leaf in wrote.items():
        assert leaf["sha256"] == checkpoint.sha256(found[name].data), name


@every_version
@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_restored_resumed_and_reported(version, name, tmp_path, capsys):
    path = shutil.copytree(version / name, tmp_path / name)
    wanted, code = RUNS[name]
    run = reading.read_run(path)
    assert run.fields() == wanted.fields()
    assert 1 <= reading.read_manifest(path)["format"] <= FORMAT
    assert_every_leaf(path, build_together([run.with_code(**code)], **code))
    before = evaluation_csv.read_evaluation(path)

    result = jaxmeta.resume(path, **code)
    assert reading.status(path) == "finished"
    assert reading.read_manifest(path)["resumed_from"][-1]["update"] == STOPPED
    assert [row["update"] for row in result.metrics] == [*range(1, written_runs.UPDATES + 1)]
    for column, values in before.items():
        np.testing.assert_array_equal(result.evaluation[column][: len(values)], values)
    assert len(set(result.evaluation["frames"])) == written_runs.UPDATES + 1
    assert main(["report", str(path)]) == 0
    assert "nothing" not in capsys.readouterr().out


@every_version
def test_a_sweeps_program_is_restored_and_resumed(version, tmp_path):
    out = shutil.copytree(version / "sweep", tmp_path / "sweep")
    (program,) = (out / sweep_folder.PROGRAMS).iterdir()
    runs = sweep_folder.read_program(program)
    assert len(runs) == 2 and all(path.is_dir() for path in runs)
    assert_every_leaf(program, build_together(list(runs.values())))
    run_program(program)
    for path, run in runs.items():
        assert sweep_folder.is_done(path, run)
        assert jaxmeta.load(path)[1].keys() == {"encoder", "policy"}
