"""The 7 x 7 gridworld of LDM (Lee & Chung 2021, 5.1) and its extrapolation form (5.1.2).

The agent starts in the corner (0, 0) and looks for one goal cell; a step that ends on the
goal has reward 1, every other step -0.1. Goals are sorted by rings: the ring of a cell is
max(x, y). Rings 0 and 1 never hold a goal.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.env import Array, Binary, Box, Cells, Discrete, Env, Key, Step, Task, mdp_step

SIZE = 7
# stay, up (y + 1), right (x + 1), down (y - 1), left (x - 1)
MOVES = np.array([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]], np.int8)


class Gridworld(Env):
    """A task is a goal cell (x, y), int8 [2]; obs is the agent's cell, int8 [2]."""

    obs_space = Box((2,), 0, SIZE - 1, "int8")
    action_space = Discrete(len(MOVES))
    reward = Binary(low=-0.1, high=1.0)
    horizon = 30
    fixed_length = True
    cells = Cells(SIZE * SIZE, lambda obs: SIZE * obs[0].astype(jnp.int32) + obs[1])

    def __init__(self, rings: dict[str, tuple[int, ...]]):
        """Make the environment whose split `s` holds the goals on `rings[s]`."""
        self.splits = tuple(rings)
        self.rings = dict(rings, oracle=tuple(r for rs in rings.values() for r in rs))

    def sample_task(self, key: Key, split: str) -> Task:
        """Return a goal drawn uniformly from the split."""
        goals = jnp.asarray(ring_cells(self.rings[split]))
        return goals[jax.random.randint(key, (), 0, len(goals))]

    def eval_tasks(self, split: str) -> Task:
        """Return all goals of the split, sorted by (x, y)."""
        return jnp.asarray(ring_cells(self.rings[split]))

    def reset(self, key: Key, task: Task) -> tuple[Array, Array]:
        """Put the agent into the corner."""
        cell = jnp.zeros(2, jnp.int8)
        return cell, cell

    def step(self, noise: Key, state: Array, action: Array, task: Task) -> tuple[Array, Step]:
        """Move one cell; at the border the agent stays where it is."""
        cell = jnp.clip(state + jnp.asarray(MOVES)[action], 0, SIZE - 1)
        reward = jnp.where((cell == task).all(), self.reward.high, self.reward.low)
        return cell, mdp_step(cell, reward)

    def best_return(self, task: Task) -> Array:
        """Return 31 - d - 0.1 (d - 1), the straight walk to a goal d moves away."""
        distance = task.astype(jnp.float32).sum()
        return self.horizon + 1 - distance - 0.1 * (distance - 1)


def ring_cells(rings: tuple[int, ...]) -> np.ndarray:
    """Return the cells (x, y) with max(x, y) in `rings`, sorted, int8 [cells, 2]."""
    cells = [(x, y) for x in range(SIZE) for y in range(SIZE) if max(x, y) in rings]
    return np.array(cells, np.int8)


def gridworld() -> Gridworld:
    """Train on rings {2, 6} (18 goals), test on {3, 4, 5} (27 goals)."""
    return Gridworld({"train": (2, 6), "test": (3, 4, 5)})


def gridworld_extrapolation() -> Gridworld:
    """Train on rings {2, 5}, test between them ("test1": {3, 4}) and outside ("test2": {6}).

    The paper moves "the outermost cells inside" and leaves open by how much. One ring is
    the most literal reading and the one taken here; {2, 4}, {3} and {5, 6} is another.
    """
    return Gridworld({"train": (2, 5), "test1": (3, 4), "test2": (6,)})
