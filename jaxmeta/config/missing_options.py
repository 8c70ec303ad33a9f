"""What to do about an option that a run does not have: who has it, or what may be meant."""

import difflib
from collections.abc import Iterable
from typing import Any

from jaxmeta.config import registry, resolve
from jaxmeta.config.untrusted_text import safe_name

SEED = "seeds = N trains the seeds 0 to N - 1 together; one of them alone cannot be chosen"
KEPT = "a run keeps the options that it began with, its frames too; train another one for others"


def advice(name: str, run: Any) -> str:
    """Return what to do about a dotted name that the run does not have."""
    section, _, _ = name.rpartition(".")
    known = run.fields()
    if name == "seed":
        return SEED
    if section and run.get(section) is None and (owner := owner_of(section, run)):
        return f"section {section} {owner}"
    near = difflib.get_close_matches(safe_name(name), known, n=1, cutoff=0.7)
    if near:
        return f"did you mean {near[0]}?"
    beside = [other for other in known if other.rpartition(".")[0] == section]
    if not beside:
        return f"sections are {', '.join(dict(run.sections))}"
    return f"fields are {', '.join(beside)}"


def owner_of(section: str, run: Any) -> str | None:
    """Return in words which runs have a section, None where no registered part declares it."""
    if section == resolve.ENV_SECTION:
        return f"has an environment's own options, and {safe_name(run.env)} has none"
    for rl, place in registry.RL_SECTIONS.items():
        if resolve.section_class(place).section == section:
            if rl in registry.method_spec(run.method).rl:
                return f"belongs to rl = {rl}, and here it is {run.rl}: add --rl {rl}"
            able = [m for m, spec in registry.specs("methods").items() if rl in spec.rl]
            return f"belongs to rl = {rl}, of the methods {joined(able)}"
    methods = [
        method
        for method, spec in registry.specs("methods").items()
        if section in {resolve.section_class(place).section for place in spec.sections}
    ]
    return f"belongs to --method {joined(methods)}" if methods else None


def joined(names: Iterable[str]) -> str:
    """Return names in words."""
    *others, last = sorted(names)
    return f"{', '.join(others)} or {last}" if others else last
