"""The paper's claims, tested on runs with known answers."""

import numpy as np
import pytest

from experiments.analysis import lee_2021_claims
from experiments.analysis.lee_2021_claims import ABSENT, FAILS, HOLDS, INCONCLUSIVE
from experiments.analysis.run_record import read
from jaxmeta.config.run import Run
from tests.written import write_run


def verdicts(folder):
    """Return the verdicts on the runs in a folder, by the claim's beginning."""
    return {claim.statement: verdict for claim, verdict in lee_2021_claims.verdicts(read([folder]))}


def said(verdicts, words):
    """Return the verdict on the one claim that holds these words."""
    (found,) = [verdict for claim, verdict in verdicts.items() if words in claim]
    return found


def spread(middle, seeds):
    """Return five evaluations of as many seeds, all different, around a return."""
    return [[middle + 0.1 * s] * 5 for s in range(seeds)]


def write(folder, seeds=4, **by_name):
    """Write gridworld runs with the paper's settings; each is (train return, test return)."""
    for name, (train, test) in by_name.items():
        method, _, oracle = name.partition("_")
        run = Run(method=method, seeds=seeds, train_split="oracle" if oracle else "train")
        write_run(folder / name, run, spread(train, seeds), spread(test, seeds))


def test_what_holds_and_what_does_not(tmp_path):
    runs = {"ldm": (23, 15), "mixreg": (23, 9), "rl2": (23, 5), "varibad": (20, 1)}
    write(tmp_path, **runs, rl2_oracle=(23, 20))
    found = verdicts(tmp_path)
    verdict = said(found, "highest return")
    assert verdict.word == HOLDS
    assert "LDM 15.2, RL² 5.2, p = 0.029" in verdict.ours
    assert said(found, "Mixreg generalises").word == HOLDS
    assert said(found, "narrows the gap").word == HOLDS
    assert said(found, "same, optimal").word == FAILS  # variBAD
    assert "variBAD 20.1 [19.9, 20.4]" in said(found, "same, optimal").ours
    assert said(found, "misses fewer").word == INCONCLUSIVE  # all reach 2 goals
    assert said(found, "19 of the 27").word == FAILS
    assert said(found, "variBAD fails").word == HOLDS
    assert said(found, "E-MAML").word == ABSENT


def test_the_opposite_does_not_hold_and_few_seeds_decide_nothing(tmp_path):
    write(tmp_path / "four", ldm=(23, 1), mixreg=(23, 9), rl2=(23, 5), varibad=(23, 1))
    assert said(verdicts(tmp_path / "four"), "highest return").word == FAILS
    write(tmp_path / "three", 3, ldm=(23, 15), mixreg=(23, 9), rl2=(23, 5), varibad=(23, 1))
    assert said(verdicts(tmp_path / "three"), "highest return").word == INCONCLUSIVE
    write(tmp_path / "one", 1, ldm=(23, 15), mixreg=(23, 9), rl2=(23, 5), varibad=(23, 1))
    assert {v.word for v in verdicts(tmp_path / "one").values()} == {INCONCLUSIVE, ABSENT}


def test_a_run_with_other_settings_is_no_evidence(tmp_path):
    write(tmp_path, mixreg=(23, 9), rl2=(23, 5), varibad=(23, 1))
    other = Run(method="ldm", seeds=4).replace({"vae.batch": 16})
    write_run(tmp_path / "ldm", other, spread(23, 4), spread(15, 4))
    assert said(verdicts(tmp_path), "highest return").word == ABSENT
    assert said(verdicts(tmp_path), "19 of").word == ABSENT


def test_the_longest_run_counts_and_budgets_may_differ(tmp_path):
    write(tmp_path, rl2=(23, 5))
    shorter = Run(method="rl2", seeds=4, frames=10**6).replace({"evaluation.every": 1000})
    logged = ({"seed": 0, "frames": 1000, "wall_s": 1.0, "frames_per_s": 100.0},)
    path = tmp_path / "short"
    write_run(path, shorter, [[1.0]] * 4, [[1.0]] * 4, logged=logged)
    found = lee_2021_claims.by_method(read([tmp_path]))
    assert [len(found["rl2"]), lee_2021_claims.longest_run(found, "rl2").frames] == [2, 4000]


def test_rl2_decays_from_the_second_fifth_on(tmp_path):
    falls = [[0, 0, 10 + s, 10, 5, 5, 5, 5, 1, 1] for s in range(4)]
    write_run(tmp_path / "a" / "rl2", Run(method="rl2", seeds=4), falls, falls)
    verdict = said(verdicts(tmp_path / "a"), "overfits")
    assert verdict.word == HOLDS
    assert "10.8 in the second fifth" in verdict.ours
    rises = [sorted(values) for values in falls]
    write_run(tmp_path / "b" / "rl2", Run(method="rl2", seeds=4), rises, rises)
    assert said(verdicts(tmp_path / "b"), "overfits").word == FAILS


@pytest.mark.parametrize(("slope", "word"), [(3, HOLDS), (-3, FAILS), (0, INCONCLUSIVE)])
def test_trends_with_beta(tmp_path, slope, word):
    base = Run(env="gridworld-extrapolation", method="ldm", seeds=2)
    for beta in (1.0, 1.5, 2.0, 2.5):
        values = spread(10 + slope * beta, 2)
        run = base.replace({"imagination.beta": beta})
        write_run(tmp_path / f"{beta}", run, values, values, tests=("test1", "test2"))
    found = verdicts(tmp_path)
    assert said(found, "beyond the training goals rises").word == word
    opposite = {HOLDS: FAILS, FAILS: HOLDS}.get(word, word)
    assert said(found, "between the training goals falls").word == opposite
    assert said(found, "β of 1 and 1.5").word == FAILS  # test1 and test2 are alike


def test_intervals_decide_about_numbers():
    sure, unsure = np.array([19.0, 19.2, 18.8, 19.1]), np.array([10.0, 27.0])
    assert lee_2021_claims.above_bound(sure, 18.5, "").word == HOLDS
    assert lee_2021_claims.above_bound(sure, 19.5, "").word == FAILS
    assert lee_2021_claims.above_bound(unsure, 18.5, "").word == INCONCLUSIVE
    assert lee_2021_claims.above_bound(sure[:1], 1.0, "").word == INCONCLUSIVE
