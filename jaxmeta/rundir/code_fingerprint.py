"""Fingerprints of a user's code: of a file, and of an object by its source text and attributes.

They are the same in every process, on every machine and under every version of Python: no id, no
address and no bytecode is in them. What a library holds counts by its name only.
"""

import dis
import enum
import functools
import hashlib
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import (
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np

from jaxmeta.rundir.imported_files import source_sha256

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
DESCRIPTORS = (GetSetDescriptorType, MemberDescriptorType)
# Of a class's entries, those that Python derives from the others.
DERIVED = {
    "__abstractmethods__", "__annotations__", "__dataclass_fields__", "__dataclass_params__",
    "__dict__", "__doc__", "__firstlineno__", "__match_args__", "__module__", "__orig_bases__",
    "__parameters__", "__qualname__", "__slots__", "__static_attributes__", "__weakref__",
    "_abc_impl",
}  # fmt: skip
GENERATED = "<string>"  # the file of what dataclasses and named tuples generate
OURS = [Path(__file__).parents[2] / name for name in ("jaxmeta", "envs", "experiments")]
STDLIB = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]


class Untellable(Exception):
    """Something of which no process can tell whether it is the same: its text says what."""


def fingerprint(value: Any, what: str) -> str:
    """Return the sha256 of an object: its class or function as source text, and all that it holds.

    Functions count with their defaults, with what they enclose, and with the globals that they
    read; classes with their methods and the classes that they extend.

    Raises:
      Untellable: it holds something without source text or state; `what` is its name there.
    """
    return Walk().digest(value, what)


class Walk:
    """Digests of objects that lead to one another, each taken once."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}
        self.kept: list[Any] = []  # an id is that of one object only while it lives

    def digest(self, value: Any, where: str) -> str:
        """Return the digest of any object; where it leads back to itself, of the way there."""
        if type(value) in PLAIN:
            return digest_of(type(value).__name__, repr(value))
        if id(value) not in self.known:
            self.known[id(value)] = "itself"
            self.kept.append(value)
            self.known[id(value)] = digest_of(*self.parts(value, where))
        return self.known[id(value)]

    def parts(self, value: Any, where: str) -> Iterator[str]:
        """Yield what makes an object what it is, as text."""
        if found_by_name(value):
            yield library_name(value)
        elif isinstance(value, type):
            yield from self.class_parts(value, where)
        elif isinstance(value, FunctionType):
            yield from self.function_parts(value, where)
        elif isinstance(value, ModuleType):
            yield self.module_digest(value, where)
        elif isinstance(value, MethodType):
            yield from self.each((value.__func__, value.__self__), where)
        elif isinstance(value, functools.partial):
            yield from self.each((value.func, value.args, value.keywords), where)
        elif isinstance(value, (staticmethod, classmethod)):
            yield from (type(value).__name__, self.digest(value.__func__, where))
        elif isinstance(value, property):
            yield from self.each((value.fget, value.fset), where)
        elif isinstance(value, functools.cached_property):
            yield self.digest(value.func, where)
        elif isinstance(value, enum.Enum):
            yield from self.each((type(value), value.value), where)
        elif is_array(value):
            yield from array_parts(value, where)
        elif isinstance(value, (dict, MappingProxyType)):
            yield from (type(value).__name__, *self.items(value, where))
        elif isinstance(value, (list, tuple)):
            yield from (self.digest(type(value), where), *self.each(value, where))
        elif isinstance(value, (set, frozenset)):
            yield from (type(value).__name__, *sorted(self.each(value, where)))
        elif callable(value) and hasattr(value, "__wrapped__"):  # jitted, or with a cache
            yield self.digest(value.__wrapped__, where)
        else:
            yield from self.instance_parts(value, where)

    def each(self, values: Iterable[Any], where: str) -> Iterator[str]:
        """Yield the digest of each."""
        for value in values:
            yield self.digest(value, where)

    def items(self, named: Mapping[Any, Any], where: str) -> Iterator[str]:
        """Yield the digests of keys and values, in their order."""
        for name, value in named.items():
            yield self.digest(name, where)
            yield self.digest(value, f"{where}.{name}")

    def class_parts(self, cls: type, where: str) -> Iterator[str]:
        """Yield a class: a library's by its name, a user's by all that its body holds."""
        if is_library_module(cls.__module__):
            yield library_name(cls)
            return
        yield cls.__qualname__
        yield from self.each(cls.__bases__, where)
        yield from self.items(entries(cls), where)

    def function_parts(self, function: FunctionType, where: str) -> Iterator[str]:
        """Yield a function's source text, a library's name, and what it reads beside arguments."""
        code = function.__code__
        if is_library_file(code.co_filename):
            yield library_name(function)
        else:
            yield source(code, where)
            for name, read in sorted(globals_of(function).items()):
                yield from (name, self.digest(read, f"{where}, {name}"))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":  # of `super`: the class that leads here
                yield from (name, *self.each(contents(cell), f"{where}, {name}"))
        yield from self.each((function.__defaults__, function.__kwdefaults__), where)
        attributes = {k: v for k, v in vars(function).items() if k != "__wrapped__"}
        yield from self.items(dict(sorted(attributes.items())), where)

    def module_digest(self, module: ModuleType, where: str) -> str:
        """Return a module: a library's name, the content of a user's file."""
        if is_library_module(module.__name__):
            return module.__name__.partition(".")[0]
        if getattr(module, "__file__", None) is None:
            raise Untellable(f"{where} is a module without a file")
        return source_sha256(Path(str(module.__file__)))

    def instance_parts(self, value: Any, where: str) -> Iterator[str]:
        """Yield an object's class and attributes, or what it is copied from."""
        yield self.digest(type(value), where)
        if hasattr(value, "__dict__"):
            lazy = functools.cached_property  # whether one was read yet makes no difference
            held = {
                k: v
                for k, v in sorted(vars(value).items())
                if not isinstance(inspect.getattr_static(type(value), k, None), lazy)
            }
            yield from self.items(held, where)
            return
        try:
            copied = value.__reduce_ex__(4)
        except Exception:  # whatever an object without a state of its own raises
            raise Untellable(
                f"{where} is a {type(value).__name__}, whose state is unknown"
            ) from None
        yield from self.each(copied[1:] if isinstance(copied, tuple) else [copied], where)


def entries(cls: type) -> dict[str, Any]:
    """Return what a class's body holds, by name, without what Python adds to it."""
    held = dict(sorted(vars(cls).items()))
    if issubclass(cls, enum.Enum):
        methods = (FunctionType, staticmethod, classmethod, property)
        own = {k: v for k, v in held.items() if isinstance(v, methods) and not is_generated(v)}
        return own | {name: member.value for name, member in cls.__members__.items()}
    filled = "__dataclass_fields__" in held or issubclass(cls, tuple)
    fields = getattr(cls, "_fields", ())  # of a named tuple, whose entries are descriptors
    return {
        name: value
        for name, value in held.items()
        if name not in DERIVED
        and name not in fields
        and not isinstance(value, DESCRIPTORS)
        and not (filled and is_generated(value))
    }


def is_generated(value: Any) -> bool:
    """Whether a class's entry is a function that was made for it, as a dataclass's __init__ is."""
    made = inspect.unwrap(getattr(value, "__func__", value))
    if not isinstance(made, FunctionType):
        return False
    return made.__code__.co_filename == GENERATED or is_library_file(made.__code__.co_filename)


def digest_of(*parts: str) -> str:
    """Return the sha256 of texts, each with its length."""
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{len(part)}:{part}".encode(errors="surrogatepass"))
    return found.hexdigest()


def source(code: CodeType, where: str) -> str:
    """Return a function's source text.

    Raises:
      Untellable: it was typed at a prompt, or made by `exec`.
    """
    try:
        return textwrap.dedent(inspect.getsource(code))
    except OSError:
        raise Untellable(f"{where} is a function whose source text is in no file") from None


def contents(cell: Any) -> list[Any]:
    """Return what a closure's cell holds, [] for one that is still empty."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def globals_of(function: FunctionType) -> dict[str, Any]:
    """Return the globals that a function reads, and the modules that it imports."""
    found: dict[str, Any] = {}
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop()
        waiting += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval in function.__globals__:
                found[step.argval] = function.__globals__[step.argval]
            elif step.opname == "IMPORT_NAME" and step.argval in sys.modules:
                found[step.argval] = sys.modules[step.argval]
    return found


def is_array(value: Any) -> bool:
    """Whether a value is an array of NumPy or, once that was imported, of JAX."""
    jax = sys.modules.get("jax")
    return isinstance(value, (np.ndarray, np.generic)) or (
        jax is not None and isinstance(value, jax.Array)
    )


def array_parts(value: Any, where: str) -> Iterator[str]:
    """Yield an array's dtype, shape and bytes; of random keys, those of their data.

    Raises:
      Untellable: it is no number: an object, or what is being traced.
    """
    dtype = str(value.dtype)
    if dtype.startswith("key<"):
        value = sys.modules["jax"].random.key_data(value)
    try:
        held = np.ascontiguousarray(value)
    except TypeError:  # what JAX raises for what is being traced
        raise Untellable(f"{where} is an array without values") from None
    if held.dtype.hasobject:
        raise Untellable(f"{where} is an array of objects")
    yield from ("array", dtype, str(np.shape(value)), hashlib.sha256(held.tobytes()).hexdigest())


def found_by_name(value: Any) -> bool:
    """Whether a value is what a library's module has under the value's own name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    name = name or getattr(value, "__name__", None)
    if not isinstance(name, str):
        return False
    if not isinstance(module, str):  # a method of a built-in class, such as dict.fromkeys
        return inspect.isbuiltin(value) or inspect.ismethoddescriptor(value)
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value and is_library_module(module)


def library_name(value: Any) -> str:
    """Return the package and the name of what a library holds; modules within it may change."""
    package = str(getattr(value, "__module__", None) or "builtins").partition(".")[0]
    return f"{package}:{getattr(value, '__qualname__', None) or value.__name__}"


def is_library_module(name: str) -> bool:
    """Whether a module is Python's, of an installed package or ours, not the user's."""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and is_library_file(file)


@functools.cache
def is_library_file(name: str) -> bool:
    """Whether a file is Python's, of an installed package or ours, not the user's."""
    if name.startswith("<frozen"):
        return True
    path = Path(name)
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(installed) or any(map(path.resolve().is_relative_to, [*OURS, *STDLIB]))
