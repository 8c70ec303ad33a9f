"""The list of mutants stays alive: each replaces text that is there, once."""

import pytest

from tests.mutants import MUTANTS, ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.trap)
def test_a_mutant_changes_exactly_one_place(mutant):
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.old != mutant.new
    file, _, test = mutant.test.partition("::")
    assert f"def {test.partition('[')[0]}" in (ROOT / file).read_text()


def test_the_table_in_the_docs_lists_every_mutant():
    lines = (ROOT / "docs" / "mutants.md").read_text().splitlines()
    for mutant in MUTANTS:
        assert f"| {mutant.trap} (`{mutant.file}`) | `{mutant.test}` |" in lines
    assert len(lines) - lines.index("|---|---|") - 1 == len(MUTANTS)
