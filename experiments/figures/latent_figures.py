"""Figures of latents: in two dimensions, coloured by family; along one, against the target."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from experiments.analysis.latent_points import (
    Latents,
    first_principal_component,
    linearity,
    purities,
    tsne_2d,
)
from experiments.analysis.run_record import Results
from experiments.figures.style import STYLE, figure

By = list[tuple[Results, dict[int, Latents]]]  # each method's latents by seed
MARKERS = "os^Dv"  # by split


def remarks(by: By) -> list[str]:
    """Return in words how pure clusters are, and how linear latents are in the target."""
    found = []
    for result, seeds in by:
        one = next(iter(seeds.values()))
        if len(one.names) > 1:
            known = [purities(x.points, x.families) for x in seeds.values()]
            pure, chance = zip(*known, strict=True)
            found.append(
                f"{result.label}: purity of the latents' {len(one.names)} clusters (k-means) at"
                f" the trials' end, by seed: {', '.join(f'{x:.2f}' for x in pure)}"
                f" (by chance {np.mean(chance):.2f})"
            )
        if one.targets is not None:
            for split in dict.fromkeys(one.splits):
                linear = ", ".join(f"{on_line(x, split):.2f}" for x in seeds.values())
                found.append(
                    f"{result.label}: share of the targets' variance that a line over the latents'"
                    f" first principal component explains, {split} tasks, by seed: {linear}"
                )
    return found


def on_line(latents: Latents, split: str) -> float:
    """Return how linear a split's targets are in the first principal component of all points."""
    assert latents.targets is not None
    chosen = latents.splits == split
    return linearity(first_principal_component(latents.points)[chosen], latents.targets[chosen])


def draw_families(by: By) -> Figure:
    """Draw the first seeds' latents in two dimensions by t-SNE: colours are families."""
    with matplotlib.rc_context(STYLE):
        drawn = figure(3.6 * len(by) + 1.6, 3.8)
        grid: Any = drawn.subplots(1, len(by), squeeze=False)[0]
        for axes, (result, seeds) in zip(grid, by, strict=True):
            seed, one = next(iter(seeds.items()))
            flat = tsne_2d(one.points)
            colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
            for split, marker in zip(dict.fromkeys(one.splits), MARKERS, strict=False):
                for family, name in enumerate(one.names):
                    chosen = (one.families == family) & (one.splits == split)
                    axes.scatter(
                        *flat[chosen].T,
                        s=18,
                        color=colours[family % len(colours)],
                        marker=marker,
                        label=f"{name}, {split}",
                    )
            pure, _ = purities(one.points, one.families)
            axes.set_title(f"{result.label}, seed {seed}: purity {pure:.2f}")
            axes.set_xticks([])
            axes.set_yticks([])
        handles, labels = grid[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=7)
        drawn.supxlabel("t-SNE of the latents at the trials' end", fontsize=8, color="0.35")
    return drawn


def draw_targets(by: By) -> Figure:
    """Draw where latents lie along their first principal component, against the target."""
    with matplotlib.rc_context(STYLE):
        drawn = figure(3.4 * len(by) + 0.8, 3.4)
        grid: Any = drawn.subplots(1, len(by), squeeze=False)[0]
        for axes, (result, seeds) in zip(grid, by, strict=True):
            for shade, one in zip(np.linspace(1.0, 0.4, len(seeds)), seeds.values(), strict=True):
                assert one.targets is not None
                along = first_principal_component(one.points)
                along = along * np.sign(np.corrcoef(along, one.targets)[0, 1])
                along = along / along.std()
                for split, marker in zip(dict.fromkeys(one.splits), MARKERS, strict=False):
                    chosen = one.splits == split
                    axes.scatter(
                        one.targets[chosen],
                        along[chosen],
                        s=16,
                        marker=marker,
                        color=result.colour,
                        alpha=shade,
                        facecolors="none" if split == one.splits[0] else None,
                    )
            axes.set_title(result.label)
            axes.set_xlabel("target")
        grid[0].set_ylabel("first principal component (standard deviations)")
        drawn.supxlabel(
            "Latents at the trials' end; hollow: training tasks; a shade per seed.",
            fontsize=8,
            color="0.35",
        )
    return drawn
