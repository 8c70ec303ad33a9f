"""The sizes of networks."""

from jaxmeta.config.option_fields import section, setting, units


@section("networks")
class Networks:
    """Sizes of the agent's networks."""

    state_embedding: int = units(32, "units of the state embedding")
    action_embedding: int = units(16, "units of the action embedding; 0: none", low=0)
    reward_embedding: int = units(16, "units of the reward embedding")
    hidden: int = units(128, "units of the GRU")
    head: int = units(128, "entries of the encoder's mean, and of its logvar")
    policy_layers: tuple[int, ...] = units((128,), "hidden layers of actor and critic", empty=True)
    policy_sees_obs: bool = setting(True, "whether the policy sees the observation too")
