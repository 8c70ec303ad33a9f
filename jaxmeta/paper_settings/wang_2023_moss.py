"""MoSS (Wang et al. 2023): meta-RL by task inference and self-supervision.

Its table of hyper-parameters has three columns: Cheetah-Vel, Cheetah-Multi-Task and ML1 Push. The
first column's numbers are the general defaults of `inference`, `sac` and `replay`; rows below
hold the differences. How often to evaluate is ours.
"""

from jaxmeta.paper_settings.lee_2021_ldm import ROBOTS, SWITCHING
from jaxmeta.paper_settings.settings_row import ANY, Row

EPISODE = {"frames": 3_000_000, "trial.episodes": 1, "evaluation.every": 60_000}

# Method defaults, of lower precedence than the environment's.
DEFAULTS = Row(
    "paper",
    (ANY,),
    ("moss",),
    {"workers": 30, "trial.episodes": 1, "evaluation.every": 60_000},
    "paper, table of hyper-parameters, Cheetah-Vel: 30 trials of one episode between updates",
)


def multi_task(training: int, components: int) -> dict[str, object]:
    """Return the settings where tasks differ in kind: a worker for each training task."""
    return {
        "frames": 42_000_000,
        "workers": training,
        "replay.tasks": training,
        "inference.latent": 8,
        "inference.components": components,
        "evaluation.every": 30 * 200 * training,  # there are many tasks to evaluate
    }


ROWS = (
    Row(
        "paper",
        (*ROBOTS, *SWITCHING),
        ("moss",),
        EPISODE,
        "paper, table of hyper-parameters, Cheetah-Vel: 501 rounds of 30 trials of 200 steps",
    ),
    Row(
        "paper",
        SWITCHING,
        ("moss",),
        {"inference.contrast_weight": 0.0, "evaluation.every": 10 * 30 * 600},
        "paper, on the contrastive term: switched off where tasks change within a trajectory",
    ),
    Row(
        "paper",
        ("half-cheetah-multi-task",),
        ("moss",),
        multi_task(70, 4),
        "paper, table of hyper-parameters, Cheetah-Multi-Task: 70 training tasks, K = 4",
    ),
    Row(
        "paper",
        ("ant-multi-task",),
        ("moss",),
        multi_task(90, 3),
        "paper: three base tasks, which K = 3 matches; 90 training tasks as in the code of TIGR",
    ),
)
