"""The sections of a Run: what each may hold, its defaults, and the presets.

Fields that are floats become traced numbers in the compiled step, so a sweep over them is a
`vmap`; integers and words are structure.
"""

from dataclasses import dataclass
from typing import Any

from jaxmeta.config.fields import count, frame_count, setting, units


@dataclass(frozen=True)
class TrialOptions:
    """The trial: several episodes of one task."""

    episodes: int = count(4, "episodes of a trial (N)")
    boundary: str = setting(
        "terminal",
        "what the agent sees at an episode's end: its last observation, or the next start",
        choices=("terminal", "start"),
    )


@dataclass(frozen=True)
class Networks:
    """Sizes of the agent's networks."""

    state_embedding: int = units(32, "units of the state embedding")
    action_embedding: int = units(16, "units of the action embedding; 0: not seen", low=0)
    reward_embedding: int = units(16, "units of the reward embedding")
    hidden: int = units(128, "units of the GRU")
    head: int = units(128, "entries of the encoder's mean, and of its logvar")
    policy_layers: tuple[int, ...] = units((128,), "hidden layers of actor and critic")
    policy_sees_obs: bool = setting(True, "whether the policy reads the observation itself")


@dataclass(frozen=True)
class A2C:
    """Advantage actor-critic, one gradient step per update (LDM's gridworld settings)."""

    learning_rate: float = setting(7e-4, "of the policy (RMSprop)", low=0.0)
    encoder_learning_rate: float = setting(7e-4, "of an encoder trained by RL (Adam)", low=0.0)
    gamma: float = setting(0.95, "discount", low=0.0, high=1.0)
    gae_lambda: float = setting(0.95, "decay of generalised advantages", low=0.0, high=1.0)
    credit: str = setting(
        "trial",
        "how far it reaches back: over a trial's episodes, or not beyond an episode that ended at"
        " its time limit, whose last step has no advantage (episode; the public code on robots)",
        choices=("trial", "episode"),
    )
    value_coef: float = setting(0.5, "weight of the value loss", low=0.0)
    entropy_coef: float = setting(0.1, "weight of the entropy bonus", low=0.0)
    max_grad_norm: float = setting(0.5, "largest gradient norm, per parameter group", low=0.0)
    rmsprop_decay: float = setting(0.99, "decay of the mean square", low=0.0, below=1.0)
    rmsprop_eps: float = setting(1e-5, "added to the root, not under it", low=0.0)


@dataclass(frozen=True)
class PPO:
    """Proximal policy optimisation, several gradient steps per update (LDM's MuJoCo settings)."""

    learning_rate: float = setting(7e-4, "of the policy (Adam)", low=0.0)
    encoder_learning_rate: float = setting(7e-4, "of an encoder trained by RL (Adam)", low=0.0)
    gamma: float = setting(0.97, "discount", low=0.0, high=1.0)
    gae_lambda: float = setting(0.9, "decay of generalised advantages", low=0.0, high=1.0)
    credit: str = setting(
        "trial",
        "how far it reaches back: over a trial's episodes, or not beyond an episode that ended at"
        " its time limit, whose last step has no advantage (episode; the public code on robots)",
        choices=("trial", "episode"),
    )
    update: str = setting(
        "trial",
        "when policy and belief learn: after each trial, or after each of its episodes (the public"
        " code on robots)",
        choices=("trial", "episode"),
    )
    memory: str = setting(
        "kept",
        "where an update begins in the middle of a trial, memories are computed anew from what was"
        " lived, or emptied (cleared; the public code's RL2)",
        choices=("kept", "cleared"),
    )
    epochs: int = count(2, "passes over an update's steps")
    minibatches: int = count(4, "gradient steps per pass")
    clip: float = setting(0.1, "range of the ratio and of the value's change", low=0.0)
    value_coef: float = setting(0.5, "weight of the value loss", low=0.0)
    entropy_coef: float = setting(0.01, "weight of the entropy bonus", low=0.0)
    max_grad_norm: float = setting(0.5, "largest gradient norm, per parameter group", low=0.0)
    normalise_obs: bool = setting(
        True, "whether a policy that sees observations sees them by running mean and deviation"
    )
    normalise_rewards: bool = setting(
        True, "whether rewards are divided by the running deviation of discounted returns"
    )


@dataclass(frozen=True)
class VAE:
    """The belief over tasks: latent, reward decoder, evidence lower bound, replay."""

    latent: int = units(5, "dimensions of the latent")
    decoder: str = setting(
        "single",
        "one output for the inputs below, or one per cell from the latent alone (multi)",
        choices=("single", "multi"),
    )
    decoder_inputs: tuple[str, ...] = setting(
        ("obs", "action", "next_obs"),
        "what a single-head decoder reads beside the latent",
        choices=("obs", "action", "next_obs"),
    )
    decoder_layers: tuple[int, ...] = units((64, 32), "hidden layers of the decoder")
    dropout: float = setting(
        0.5, "rate on the decoder's embedded inputs, never on the latent", low=0.0, below=1.0
    )
    learning_rate: float = setting(1e-3, "of encoder and decoder (Adam)", low=0.0)
    updates: int = count(2, "gradient steps per update, where the belief has its own")
    batch: int = count(25, "trajectories per gradient step")
    capacity: int = setting(100_000, "trajectories that the replay holds", low=1, high=10**8)
    replay: str = setting(
        "ring",
        "overwrite the oldest trajectory, or freeze when full (the public code)",
        choices=("ring", "frozen"),
    )
    kl_weight: float = setting(1.0, "weight of the chained KL terms", low=0.0)
    reduction: str = setting(
        "sum",
        "of the reconstruction over decoded steps (mean: the public code of LDM)",
        choices=("sum", "mean"),
    )
    pairs: str = setting(
        "random",
        "(latent, step) pairs that a single-head decoder is trained on",
        choices=("random", "all"),
    )
    elbo_latents: int = count(32, "latents drawn per trajectory, with pairs=random")
    elbo_steps: int = count(30, "steps decoded per latent, with pairs=random")


@dataclass(frozen=True)
class Imagination:
    """LDM's mixture workers."""

    normal: int = count(14, "workers per group that live in real tasks (n)")
    mixture: int = count(2, "workers per group that live in imagined ones", low=0)
    beta: float = setting(
        1.0, "range of the mixture weights; 1: convex, more: beyond the training tasks", low=0.0
    )
    weights: str = setting(
        "per_worker",
        "one weight per normal worker (paper, Eq. 1), or one per latent dimension too (code)",
        choices=("per_worker", "per_dimension"),
    )
    latents: str = setting(
        "samples", "what is mixed: posterior samples or means", choices=("samples", "means")
    )
    dropout: str = setting(
        "on", "the decoder's dropout while it pays mixture workers", choices=("on", "off")
    )
    pay: str = setting(
        "mixture",
        "what pays mixture workers: the mixture, or as controls the latent of one random normal"
        " worker, or nothing (always the low reward; 0 where rewards are real numbers)",
        choices=("mixture", "worker", "nothing"),
    )
    returns: str = setting(
        "imagined",
        "what mixture workers' returns are made of: what paid them, or the real rewards of their"
        " own task, while only memories see what was imagined (real; the public code of 2021 on"
        " robots)",
        choices=("imagined", "real"),
    )
    roles: str = setting(
        "last",
        "mixture workers: the last of each group, or redrawn every update (code)",
        choices=("last", "redrawn"),
    )


@dataclass(frozen=True)
class Mixing:
    """Mixreg's mixtures of trials."""

    alpha: float = setting(0.2, "of Beta(alpha, alpha), the dominant trial's share", low=0.01)


@dataclass(frozen=True)
class SAC:
    """Soft actor-critic, many gradient steps per update, from a replay (MoSS's settings)."""

    learning_rate: float = setting(3e-4, "of actor, critics and a learned temperature", low=0.0)
    gamma: float = setting(0.99, "discount", low=0.0, high=1.0)
    polyak: float = setting(0.005, "step of the target critics (tau)", low=0.0, high=1.0)
    temperature: float = setting(
        0.2, "weight of the entropy; where it is learned, its first value", low=1e-6
    )
    entropy: str = setting(
        "fixed",
        "the temperature stays, or is learned towards an entropy of -1 per action (learned)",
        choices=("fixed", "learned"),
    )
    reward_scale: float = setting(1.0, "factor on rewards", low=0.0)
    max_grad_norm: float = setting(0.5, "largest gradient norm, of actor and of critics", low=0.0)
    layers: tuple[int, ...] = units((300, 300, 300), "hidden layers of actor and critics")
    obs_embedding: int = units(32, "units that observations are embedded in; 0: none", low=0)
    belief_embedding: int = units(32, "units that beliefs are embedded in; 0: none", low=0)
    updates: int = count(2048, "gradient steps per update")
    batch: int = count(256, "transitions per gradient step")


@dataclass(frozen=True)
class Replay:
    """What off-policy methods remember of the tasks they trained on."""

    tasks: int = setting(
        100,
        "training tasks, drawn once or all there are; workers meet them again and again",
        low=1,
        high=2_000,
    )
    mebibytes: int = count(1024, "room for trials, per seed; less where the run is shorter")
    initial: int = count(20_000, "transitions collected before anything learns", low=0)
    encoded: int = count(65_536, "transitions per update whose beliefs are computed for SAC")


@dataclass(frozen=True)
class Inference:
    """MoSS's task inference: a mixture of Gaussians for each step, next-step decoders."""

    latent: int = units(5, "dimensions of a component's latent")
    components: int = setting(1, "Gaussians (K)", low=1, high=1000)
    hidden: int = units(128, "units of the GRU, and of the layer behind it")
    decoder_layers: tuple[int, ...] = units((128, 128), "hidden layers of both decoders")
    window: int = setting(
        64, "last transitions that the GRU reads; 0: all of the trial", low=0, high=100_000
    )
    updates: int = count(128, "gradient steps per update")
    batch: int = count(256, "windows per gradient step")
    learning_rate: float = setting(3e-4, "of encoder and decoders (Adam)", low=0.0)
    max_grad_norm: float = setting(1.0, "largest gradient norm, of both together", low=0.0)
    kl_weight: float = setting(1e-3, "weight of the Gaussians' divergence (alpha)", low=0.0)
    class_weight: float = setting(1e-3, "weight of the categorical's divergence (beta)", low=0.0)
    contrast_weight: float = setting(1.0, "weight of the contrastive term; 0: none", low=0.0)
    contrast_scale: float = setting(1.0, "divides its squared distances", low=1e-6)
    prior: str = setting(
        "previous",
        "of a step's latent: the step before's posterior (Eq. 5), or N(0, I) and uniform (Eq. 1)",
        choices=("previous", "standard"),
    )
    decodes: str = setting(
        "current",
        "what a latent explains: the last transition that it has read, or the next one",
        choices=("current", "next"),
    )
    level: str = setting(
        "step",
        "when the policy's belief changes: after each step, or only behind each episode",
        choices=("step", "episode"),
    )
    belief: str = setting(
        "parameters",
        "what the policy sees of the chosen Gaussian: mean and variance, or a sample",
        choices=("parameters", "sample"),
    )


@dataclass(frozen=True)
class Evaluation:
    """When and how the agent is evaluated on fixed tasks."""

    every: int = frame_count(1_000_000, "frames between evaluations, rounded up to updates")
    rollouts: int = count(4, "trials per task of the sampling policy")


# Paper and public code disagree (Lee & Chung 2021): each field can be set alone, a preset
# sets them together. By method.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "reference": {
        "varibad": {"vae.replay": "frozen"},
        "ldm": {
            "imagination.weights": "per_dimension",
            "imagination.roles": "redrawn",
            "vae.reduction": "mean",
            "vae.replay": "frozen",
            "vae.pairs": "all",
        },
    },
}

SECTIONS: dict[str, type] = {
    "trial": TrialOptions,
    "networks": Networks,
    "a2c": A2C,
    "ppo": PPO,
    "vae": VAE,
    "imagination": Imagination,
    "mixing": Mixing,
    "sac": SAC,
    "replay": Replay,
    "inference": Inference,
    "evaluation": Evaluation,
}
TRACED = (
    "a2c",
    "ppo",
    "vae",
    "imagination",
    "mixing",
    "sac",
    "inference",
)  # their floats are numbers in the step
# Fields that were added since configurations were first published, and what runs did before.
ADDED: dict[str, Any] = {
    "rl": "a2c",
    "physics": "auto",
    "imagination.pay": "mixture",
    "imagination.returns": "imagined",
    "a2c.credit": "trial",
    "ppo.credit": "trial",
    "ppo.update": "trial",
    "ppo.memory": "kept",
}
ADDED_SECTIONS = ("replay", "inference")  # likewise; methods from files have all
RL = ("a2c", "ppo", "sac")  # of which a run has one
COMMON_SECTIONS = ("trial", "evaluation")
