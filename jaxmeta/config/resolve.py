"""What a Run is filled in with: defaults of method, environment and preset, the last one counts."""

from typing import Any

from jaxmeta.config import registry
from jaxmeta.config.options import PRESETS


def base_values(
    env: registry.EnvSpec, method: registry.MethodSpec, preset: str
) -> dict[str, dict[str, Any]]:
    """Return values by section ("": of the run itself).

    They are the method's, the environment's, the preset's; the last one counts.
    """
    layers = [
        method.defaults,
        env.defaults.get("*", {}),
        env.defaults.get(method.name, {}),
        PRESETS[preset].get(method.name, {}),
    ]
    if preset == "reference":
        layers += [env.reference.get("*", {}), env.reference.get(method.name, {})]
    sections: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for name, value in layer.items():
            section, _, leaf = name.rpartition(".")
            sections.setdefault(section, {})[leaf] = value
    return sections
