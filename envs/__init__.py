"""Concrete environments. This module only lists them and imports no jax."""

from typing import Any

from jaxmeta.config.registry import EnvSpec

# Settings for any method; those that papers have for single ones are in `jaxmeta.paper_settings`.

# Lee & Chung 2021 and its public code: LDM's gridworld encoders see no action, its policy
# sees no observation, its decoder reads the latent and the next state.
GRIDWORLD = {
    "*": {
        "networks.action_embedding": 0,
        "networks.reward_embedding": 8,
        "networks.head": 32,
        "networks.policy_layers": (32,),
        "networks.policy_sees_obs": False,
        "vae.latent": 32,
        "vae.decoder_inputs": ("next_obs",),
        "vae.decoder_layers": (32, 32),
        "vae.dropout": 0.7,
    },
}


def robot_fields(
    sees_obs: bool, latent: int, clip: float, minibatches: int, evaluate_every: int
) -> dict[str, dict[str, Any]]:
    """Return a robot task's fields: trials of two episodes of 200 steps.

    The same sources. RL2's and LDM's policies see the observation in Ant-direction only.
    """
    return {
        "*": {
            "trial.episodes": 2,
            "networks.policy_sees_obs": sees_obs,
            "vae.latent": latent,
            "vae.dropout": 0.5,
            "vae.batch": 10,
            "vae.capacity": 10_000,
            "vae.elbo_latents": 50,
            "vae.elbo_steps": 50,
            "ppo.clip": clip,
            "ppo.minibatches": minibatches,
            "evaluation.every": evaluate_every,
        }
    }


CHEETAH = robot_fields(False, 5, 0.1, 4, 1_600_000)
ANT_DIRECTION = robot_fields(True, 5, 0.05, 4, 1_600_000)
ANT_GOAL = robot_fields(False, 10, 0.05, 1, 3_200_000)

ENVIRONMENTS = {
    "gridworld": EnvSpec(
        f"{__name__}.gridworld:gridworld",
        "7 x 7 cells, hidden goal: 18 training goals, 27 test goals",
        horizon=30,
        frames=100_000_000,
        defaults=GRIDWORLD,
    ),
    "gridworld-extrapolation": EnvSpec(
        f"{__name__}.gridworld:gridworld_extrapolation",
        "the same with test goals between (test1) and outside (test2) the training goals",
        horizon=30,
        frames=100_000_000,
        defaults=GRIDWORLD,
        like="gridworld",
    ),
    "half-cheetah-velocity": EnvSpec(
        f"{__name__}.locomotion.half_cheetah:half_cheetah_velocity",
        "run at a hidden velocity: train on 0 to 0.5 and 3 to 3.5 m/s, test between",
        horizon=200,
        frames=50_000_000,
        defaults=CHEETAH,
        rl="ppo",
        simulated=True,
    ),
    "half-cheetah-velocity-uniform": EnvSpec(
        f"{__name__}.locomotion.half_cheetah:half_cheetah_velocity_uniform",
        "run at a hidden velocity of 0 to 3 m/s, training and test tasks alike",
        horizon=200,
        frames=50_000_000,
        defaults=CHEETAH,
        like="half-cheetah-velocity",
        rl="ppo",
        simulated=True,
    ),
    "ant-direction": EnvSpec(
        f"{__name__}.locomotion.ant:ant_direction",
        "walk in a hidden direction: train on 0, 90, 180, 270 degrees, test on the diagonals",
        horizon=200,
        frames=200_000_000,
        defaults=ANT_DIRECTION,
        rl="ppo",
        simulated=True,
    ),
    "ant-goal": EnvSpec(
        f"{__name__}.locomotion.ant:ant_goal",
        "walk to a hidden goal: train within 1 m and from 2.5 to 3 m, test between",
        horizon=200,
        frames=200_000_000,
        defaults=ANT_GOAL,
        rl="ppo",
        simulated=True,
    ),
    "walker-random-params": EnvSpec(
        f"{__name__}.locomotion.walker:walker_random_params",
        "run forward with one of 50 bodies that differ in masses, friction, damping; 10 for tests",
        horizon=200,
        frames=50_000_000,
        defaults=ANT_DIRECTION,
        like="ant-direction",
        rl="ppo",
        simulated=True,
    ),
    "humanoid-direction": EnvSpec(
        f"{__name__}.locomotion.humanoid:humanoid_direction",
        "walk in a hidden direction, any of them, training and test tasks alike",
        horizon=200,
        frames=200_000_000,
        defaults=ANT_DIRECTION,
        like="ant-direction",
        rl="ppo",
        simulated=True,
    ),
    "half-cheetah-multi-task": EnvSpec(
        f"{__name__}.locomotion.multi_task:half_cheetah_multi_task",
        "run, reach a place, stand or jump: seven sub-families, test tasks between training tasks",
        horizon=200,
        frames=50_000_000,
        defaults=CHEETAH,
        like="half-cheetah-velocity",
        rl="ppo",
        simulated=True,
    ),
    "ant-multi-task": EnvSpec(
        f"{__name__}.locomotion.multi_task:ant_multi_task",
        "walk, reach a place or jump: nine sub-families, test tasks between training tasks",
        horizon=200,
        frames=200_000_000,
        defaults=ANT_GOAL,
        like="ant-goal",
        rl="ppo",
        simulated=True,
    ),
}

# Other distributions of tasks, or rewards, in the settings of an environment above.
RELATIVES = {
    "half-cheetah-velocity": {
        "half-cheetah-velocity-medium": "train on 0 to 2.5 m/s, test on 2.5 to 3",
        "half-cheetah-velocity-hard": "train on 0 to 1.5 m/s, test on 2.5 to 3",
        "half-cheetah-direction": "run forward or backward, training and test tasks alike",
    },
    "ant-direction": {
        "ant-direction-2": "walk at 0 or at 180 degrees, training and test tasks alike",
    },
    "ant-goal": {
        "ant-goal-uniform": "walk to a hidden goal within 3 m, training and test tasks alike",
    },
}
ENVIRONMENTS |= {
    name: ENVIRONMENTS[near]._replace(
        make=f"{ENVIRONMENTS[near].make.partition(':')[0]}:{name.replace('-', '_')}",
        about=about,
        like=near,
    )
    for near, relatives in RELATIVES.items()
    for name, about in relatives.items()
}

# Tasks that change within episodes of 600 steps, of which a trial has one: in a second one they
# would change at the same times. No public code has them with PPO.
SWITCHING = {
    "half-cheetah-velocity": "run at a hidden velocity of 0 to 3 m/s",
    "half-cheetah-direction": "run forward or backward",
    "ant-direction-2": "walk at 0 or at 180 degrees",
}

ENVIRONMENTS |= {
    f"{name}-switching": ENVIRONMENTS[name]._replace(
        make=f"{ENVIRONMENTS[name].make}_switching",
        about=f"{what}, which may change every 100 steps of 600",
        horizon=600,
        defaults={"*": {**ENVIRONMENTS[name].defaults["*"], "trial.episodes": 1}},
        like="",
    )
    for name, what in SWITCHING.items()
}

# The same with real contact forces, which the public code's version of MuJoCo leaves at zero.
CONTACT = {
    "ant-direction": "that cost",
    "ant-goal": "that are seen, and cost",
    "humanoid-direction": "that are seen, and cost",
}
ENVIRONMENTS |= {
    f"{name}-contact": ENVIRONMENTS[name]._replace(
        make=f"{ENVIRONMENTS[name].make}_contact",
        about=f"{name} with contact forces {what}",
        like=ENVIRONMENTS[name].like or name,
    )
    for name, what in CONTACT.items()
}

# The short names of Rakelly et al. (2019) and Wang et al. (2023).
ALIASES = {
    "half-cheetah-velocity-uniform": ("cheetah-vel",),
    "half-cheetah-velocity": ("cheetah-vel-ood",),
    "half-cheetah-direction": ("cheetah-dir",),
    "half-cheetah-direction-switching": ("cheetah-direction-non-stat",),
    "half-cheetah-multi-task": ("cheetah-multi-task",),
    "ant-direction-2": ("ant-dir",),
    "walker-random-params": ("walker-rand-params",),
    "humanoid-direction": ("humanoid-dir",),
}
ENVIRONMENTS |= {name: ENVIRONMENTS[name]._replace(aliases=also) for name, also in ALIASES.items()}
