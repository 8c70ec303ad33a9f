"""What of an object counts, that the same is told in every process, and what cannot be told."""

import functools
import importlib.util
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld import gridworld
from jaxmeta.rundir.code_fingerprint import Untellable, fingerprint

ROOT = Path(__file__).parents[3]
TEXT = '''
import functools
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxmeta

BONUS = 1.0
TABLE = {"a": [1, 2], "b": (3.5, None)}


class Kind(Enum):
    SOFT = 1
    HARD = 2


class State(NamedTuple):
    x: int = 3


@dataclass(frozen=True)
class Rules:
    size: int = 4
    kinds: tuple = (Kind.SOFT,)
    holes: list = field(default_factory=lambda: [1, 2])


def helper(x):
    return x * BONUS


@jax.jit
def fast(x):
    return helper(x) + TABLE["a"][0]


class Base:
    def step(self, x):
        return fast(x)


class Own(Base):
    """Documented."""

    rate = 0.5
    scale = staticmethod(lambda x: x * 2)

    def __init__(self, size=4, noise=0.1):
        self.rules = Rules(size)
        self.noise = noise
        self.grid = jnp.arange(3.0)
        self.walls = np.eye(2)
        self.key = jax.random.key(7)
        self.reward = self.pay(noise)
        self.partial = functools.partial(helper, 2)

    @staticmethod
    def pay(amount):
        def inner(x, *, scale=3):
            return x * amount * scale

        return inner

    @functools.cached_property
    def lazy(self):
        return State(5)

    @property
    def width(self):
        return self.rules.size


def make(size=4, noise=0.1):
    return Own(size, noise)
'''
CHANGES = {  # what else the text says then, and in how many places
    "a method": ("return fast(x)", "return fast(x) + 1"),
    "a function that a method calls": ("return x * BONUS", "return x / BONUS"),
    "a global that it reads": ("BONUS = 1.0", "BONUS = -1.0"),
    "an entry of a global": ("(3.5, None)", "(3.6, None)"),
    "a class attribute": ("rate = 0.5", "rate = 0.6"),
    "a lambda": ("x: x * 2", "x: x * 3"),
    "a default": ("noise=0.1):\n        self", "noise=0.2):\n        self"),
    "a keyword's default": ("scale=3", "scale=4"),
    "an array of JAX": ("jnp.arange(3.0)", "jnp.arange(3.0) + 1"),
    "an array's dtype": ("np.eye(2)", "np.eye(2, dtype=np.float32)"),
    "an array's shape": ("np.eye(2)", "np.eye(2).ravel()"),
    "a random key": ("random.key(7)", "random.key(8)"),
    "a partial's argument": ("partial(helper, 2)", "partial(helper, 3)"),
    "a dataclass's field": ("size: int = 4", "size: int = 4\n    more: int = 5"),
    "an enum": ("(Kind.SOFT,)", "(Kind.HARD,)"),
    "a property": ("self.rules.size", "self.rules.size + 1"),
    "a lazy property": ("State(5)", "State(6)"),
    "a base class": ("class Own(Base)", "class Own(State)"),
}


def load(path, text):
    """Return a module of that text, as a user's file is loaded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(f"own_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def own(tmp_path):
    return load(tmp_path / "own.py", TEXT)


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_an_object_is_made_of_counts(tmp_path, own, name):
    before, after = CHANGES[name]
    assert before in TEXT
    changed = load(tmp_path / "changed" / "own.py", TEXT.replace(before, after))
    if name == "a base class":
        assert fingerprint(own.Own, "env") != fingerprint(changed.Own, "env")
    else:
        assert fingerprint(own.make(), "env") != fingerprint(changed.make(), "env")


def test_arguments_count_and_what_is_made_twice_is_the_same(own):
    assert fingerprint(own.make(), "env") == fingerprint(own.make(), "env")
    made = [own.make(), own.make(size=5), own.make(noise=0.2)]
    assert len({fingerprint(env, "env") for env in made}) == 3
    a, b = (functools.partial(own.make, size) for size in (4, 5))
    assert fingerprint(a, "method") != fingerprint(b, "method")
    assert fingerprint(gridworld(), "env") == fingerprint(gridworld(), "env")


def test_where_a_file_is_and_what_was_read_before_make_no_difference(tmp_path, own):
    moved = load(tmp_path / "elsewhere" / "other_name.py", TEXT + "\n\nUNUSED = 3\n")
    used = moved.make()
    assert used.lazy.x == 5  # is kept by the object from here on
    assert fingerprint(used, "env") == fingerprint(own.make(), "env")


def test_another_process_tells_the_same(tmp_path, own):
    """With other hashes of strings and other addresses."""
    code = f"""
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("m", {str(tmp_path / "own.py")!r})
        m = importlib.util.module_from_spec(spec)
        sys.modules["m"] = m
        spec.loader.exec_module(m)
        from jaxmeta.rundir.code_fingerprint import fingerprint
        print(fingerprint(m.make(), "env"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == fingerprint(own.make(), "env"), done.stderr


def test_every_version_tells_what_this_one_does(own):
    """Of Python, of JAX and of this library: runs would be refused where it changes."""
    told = "54203d9369a027e4604b19872255f4fa2755cb1597b5e335add3b22f2b74c711"
    assert fingerprint(own.make(), "env") == told


def test_what_leads_back_to_itself_ends(own):
    a, b = own.make(), own.make()
    a.me, b.me = a, b
    assert fingerprint(a, "env") == fingerprint(b, "env") != fingerprint(own.make(), "env")


def test_plain_values_are_told_apart():
    values = [
        0, False, None, 0.0, "0", b"0", (0,), [0], {0: 0}, {0}, frozenset({0}), np.int32(0),
        np.int64(0), jnp.int32([0]), slice(0), range(0), len, jnp.where, jnp.add, jnp.float32,
        np.dtype("int32"), -0.0,
    ]  # fmt: skip
    found = {fingerprint(value, "env"): value for value in values}
    # A number of JAX's and of NumPy's of one dtype, shape and value are the same.
    assert len(found) == len(values)
    names = ("a", "bc"), ("ab", "c")
    assert len({fingerprint(pair, "env") for pair in names}) == 2


def test_what_cannot_be_told_is_named(own):
    env = own.make()
    namespace = {}
    exec("def pay(x):\n    return x", namespace)
    for value, said in (
        (namespace["pay"], "env.pay is a function whose source text is in no file"),
        (threading.Lock(), "env.pay is a lock, whose state is unknown"),
        ((x for x in "ab"), "env.pay is a generator, whose state is unknown"),
        (np.array([env, None]), "env.pay is an array of objects"),
    ):
        env.pay = value
        with pytest.raises(Untellable) as refused:
            fingerprint(env, "env")
        assert str(refused.value) == said


def test_what_is_being_traced_cannot_be_told():
    def trace(x):
        with pytest.raises(Untellable, match="env is an array without values"):
            fingerprint(x, "env")
        return x

    jax.jit(trace)(1.0)
