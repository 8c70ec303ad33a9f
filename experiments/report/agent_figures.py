"""The figures of a report that need the agents themselves, as far as there are checkpoints."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.analysis.run_record import Results
from experiments.analysis.summary import undefined
from experiments.figures.style import save
from jaxmeta.config.registry import env_spec, is_registered_elsewhere
from jaxmeta.errors import CheckpointError, ConfigError

# Robots with figures of their motion, by prefix: a task is a velocity, a direction or a goal.
MOVING = ("half-cheetah-velocity", "ant-direction", "ant-goal")


def draw_agents(results: list[Results], folder: Path) -> tuple[list[Path], list[str]]:
    """Draw the behaviour and the beliefs of runs' last agents; return files and remarks."""
    env = results[0].run.env
    if env in ("gridworld", "gridworld-extrapolation"):
        return draw_maps(results, folder)
    if is_registered_elsewhere("environments", env) or not env_spec(env).simulated:
        return [], []
    motions, remarks = draw_motions(results, folder)
    latents, more = draw_latents(results, folder)
    return motions + latents, remarks + more


def draw_maps(results: list[Results], folder: Path) -> tuple[list[Path], list[str]]:
    """Draw the gridworld's maps, as far as there are checkpoints; return files and remarks."""
    from experiments.analysis import reward_maps, trained_beliefs
    from experiments.figures import gridworld_maps

    drawings: dict[str, Figure] = {"cells": gridworld_maps.draw_returns(results)}
    remarks, counted = [], {}
    imagined, errors = [], []
    trials: dict[str, list[Any]] = {"train_trials": [], "trials": []}
    for result in results:
        try:
            agents = [trained_beliefs.load_final(result, seed) for seed in result.finite_seeds]
        except (CheckpointError, ConfigError) as error:
            remarks.append(f"{result.label}: no maps of its agent: {error}")
            continue
        first = agents[0]
        trials["train_trials"].append((result, reward_maps.best_trial(first, result.splits[:1])))
        trials["trials"].append((result, reward_maps.best_trial(first, result.splits[1:])))
        if first.algorithm.belief is None:
            continue
        map_errors = reward_maps.map_errors(agents)
        errors.append((result, map_errors))
        known = [
            {k: None if undefined(v) else v for k, v in by_split.items()} for by_split in map_errors
        ]
        by_seed = dict(zip(result.finite_seeds, known, strict=True))
        counted[result.label] = {"reward_map_error": by_seed}
        if result.run.get("imagination") is not None:
            imagined.append((result, reward_maps.imagine(first)))
            shares = reward_maps.imagined_shares(*imagined[-1])
            counted[result.label] |= shares
            remarks += share_lines(result.label, shares)
    for stem, played in trials.items():
        if played and not results[0].compared:  # trials of unequal length do not align
            drawings[stem] = gridworld_maps.draw_trials(played)
    if imagined:
        drawings["imagined"] = gridworld_maps.draw_imagined(imagined)
    files = []
    if errors:
        drawings["map_errors"] = gridworld_maps.draw_map_errors(errors)
        files.append(folder / "maps.json")
        files[0].parent.mkdir(parents=True, exist_ok=True)
        files[0].write_text(json.dumps(counted, indent=1) + "\n", encoding="utf-8")
    for stem, drawn in drawings.items():
        files += save(drawn, folder, stem)
    return files, remarks


def draw_motions(results: list[Results], folder: Path) -> tuple[list[Path], list[str]]:
    """Draw how robots move, as far as there are checkpoints; return files and remarks."""
    from experiments.analysis import robot_motion
    from experiments.figures import motion_figures  # import jax and mujoco

    env, by, remarks = results[0].run.env, [], []
    changes = env == "half-cheetah-velocity-switching"
    if not env.startswith(MOVING) or (env.endswith("switching") and not changes):
        return [], []
    for result in results:
        try:
            by.append((result, robot_motion.motions_of(result.path, result.finite_seeds)))
        except (CheckpointError, ConfigError) as error:
            remarks.append(f"{result.label}: no motion of its agent: {error}")
    if not by:
        return [], remarks
    if changes:
        remarks += motion_figures.response_lines(by)
        return save(motion_figures.draw_response(by), folder, "response"), remarks
    if env.startswith("half-cheetah-velocity"):
        remarks += motion_figures.tracking_lines(by)
        return save(motion_figures.draw_velocities(by), folder, "velocities"), remarks
    files = save(motion_figures.draw_paths(by), folder, "paths")
    imagining = [result for result, _ in by if result.run.get("imagination") is not None]
    if env in ("ant-goal", "ant-goal-contact") and imagining:
        files += draw_imagined_goals(imagining, folder)
    return files, remarks


def draw_latents(results: list[Results], folder: Path) -> tuple[list[Path], list[str]]:
    """Draw agents' latents, of methods that act on them; return files and remarks."""
    from experiments.analysis import latent_points  # import jax
    from experiments.figures import latent_figures

    by: latent_figures.By = []
    remarks, files = [], []
    for result in results:
        try:
            found = latent_points.latents_of(result.path, result.finite_seeds)
        except (CheckpointError, ConfigError) as error:
            remarks.append(f"{result.label}: no latents of its agent: {error}")
            continue
        if found:
            by.append((result, found))
    if not by:
        return [], remarks
    one = next(iter(by[0][1].values()))
    if one.names:
        files += save(latent_figures.draw_families(by), folder, "latents")
    if one.targets is not None:
        files += save(latent_figures.draw_targets(by), folder, "linearity")
    return files, remarks + latent_figures.remarks(by)


def draw_imagined_goals(results: list[Results], folder: Path) -> list[Path]:
    """Draw the goals that the first seeds' mixture workers imagine."""
    from experiments.analysis import trained_beliefs
    from experiments.figures import imagined_goals

    found = {}
    for result in results:
        agent = trained_beliefs.load_final(result)
        for beta in imagined_goals.BETAS:
            goals = imagined_goals.imagined_goals(agent, beta)
            found[f"{result.label}, β = {beta:g}"] = goals
    return save(imagined_goals.draw_goals(found), folder, "imagined_goals")


def share_lines(label: str, counted: dict[str, Any]) -> list[str]:
    """Return in words how often imagined rewards are on test cells."""
    return [
        f"{label}, dropout {state}: {share['paid']:.0%} of {counted['mixtures']} imagined maps"
        f" reward some {split} cell (p > 0.5); {share['peak']:.0%} have their peak on one."
        for state, by_split in counted["dropout"].items()
        for split, share in by_split.items()
    ]
