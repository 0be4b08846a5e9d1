"""What keeps starting light: values that are cheap to define, modules that are imported when they are used.
The lowest room: everyone may use it.

Every worker process imports what it needs afresh, and so does every script. A frozen dataclass costs 0.5 ms
to define, ``dataclasses`` itself 6 ms and ``typing`` 10 ms; the classes below take a tenth of that. To a
type checker they are what they stand for.

``NamedTuple``  as `typing.NamedTuple`: for what is taken apart, or made very often
``Frozen``      as ``dataclass(frozen=True, slots=True)``: equal to its own kind only, and no tuple
``imported``    a module, whole
``later``       a module that most runs do not need, or not at once. It stands where the imports are, with the
                import itself beside it for type checkers
``Generic``, ``overload``  as those of `typing`; and type variables: ``T`` of what is in a class (covariant,
                as that of `Iterator`), ``R`` and ``S`` of a function, ``P`` for its parameters
"""

from __future__ import annotations

import gc
import sys
from collections import namedtuple

TYPE_CHECKING = False  # as in typing, which would have to be imported; type checkers know the name
if TYPE_CHECKING:
    import pickle as pickle
    import signal as signal
    from typing import Any as Any
    from typing import Generic as Generic
    from typing import NamedTuple as NamedTuple
    from typing import ParamSpec, dataclass_transform
    from typing import Self as Self
    from typing import overload as overload

    from typing_extensions import TypeVar  # whose type variables may have a default

    T = TypeVar("T", covariant=True, default=Any)
    R = TypeVar("R")
    S = TypeVar("S")
    P = ParamSpec("P")
else:
    # What `pickle` and `signal` take their functions from: they cost 6 ms, for what nobody needs here.
    import _pickle as pickle  # noqa: F401
    import _signal as signal  # noqa: F401

    Any = Self = T = R = S = object  # of annotations, which nobody reads here

    class P(list):  # a list is what stands for parameters in a Callable
        args = kwargs = object

    P = P()

    class Generic:
        __slots__ = ()
        __class_getitem__ = classmethod(type(list[int]))

    def overload(function):
        return function

    class _MakeTuple(type):
        def __new__(cls, name, bases, body):
            fields = body.get("__annotations__", {})
            defaults = [body[field] for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            for key, value in body.items():
                if key not in fields and key not in ("__module__", "__qualname__", "__annotations__"):
                    setattr(made, key, value)
            made.__annotations__ = fields
            made.__qualname__ = body["__qualname__"]
            return made

    NamedTuple = type.__new__(_MakeTuple, "NamedTuple", (), {"__slots__": ()})

    def dataclass_transform(**_):
        return lambda kind: kind


class _MakeFrozen(type):
    """Its fields become slots, in their order; their values in the class are the defaults."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _MakeFrozen:
        fields = tuple(body.get("__annotations__", ()))
        defaults = {field: body.pop(field) for field in fields if field in body}
        names = {"__match_args__": fields} if fields or not bases else {}  # else those of its base
        made = super().__new__(cls, name, bases, {**body, "__slots__": fields, **names})
        if fields:
            made.__init__ = _initial(made, fields, defaults)  # type: ignore[misc]
        return made


def _initial(kind: type, fields: tuple[str, ...], defaults: dict[str, Any]) -> Any:
    """An ``__init__`` as fast as one that is written by hand: it is written, and compiled."""
    parameters = ", ".join(f"{field}=_d_{field}" if field in defaults else field for field in fields)
    steps = "".join(f"\n    _s_{field}(self, {field})" for field in fields)
    names = {f"_s_{field}": kind.__dict__[field].__set__ for field in fields}
    names.update((f"_d_{field}", value) for field, value in defaults.items())
    exec(f"def __init__(self, {parameters}):{steps}", names)  # of names that stand in our own classes
    return names["__init__"]


@dataclass_transform(frozen_default=True)
class Frozen(metaclass=_MakeFrozen):
    """A value with named fields, which does not change.

    >>> class Point(Frozen):
    ...     x: int
    ...     y: int = 0
    >>> Point(1), Point(1) == Point(1, y=0), Point(1).replaced(y=3)
    (Point(x=1, y=0), True, Point(x=1, y=3))
    """

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, field) for field in self.__match_args__])  # type: ignore[attr-defined]

    def replaced(self, **changes: Any) -> Self:
        """The same with other values in some fields."""
        values = dict(zip(self.__match_args__, self._values(), strict=True))  # type: ignore[attr-defined]
        return type(self)(**{**values, **changes})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        fields = zip(self.__match_args__, self._values(), strict=True)  # type: ignore[attr-defined]
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in fields)})"

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), self._values()


def imported(name: str) -> Any:
    """Import a module. No garbage is collected meanwhile: its finalizers may use what is half imported."""
    collects = gc.isenabled()
    gc.disable()
    try:
        # Always an import: a module stands in `sys.modules` before it is whole, and only an import waits for
        # another thread that is at it.
        __import__(name)
    finally:
        if collects:
            gc.enable()
    return sys.modules[name]


class _Later:
    """Stands for a module until something is asked of it, and then asks the module."""

    __slots__ = ("_module", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._module: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._module is None:
            self._module = imported(self._name)
        return getattr(self._module, name)

    def __reduce__(self) -> tuple[Any, ...]:  # a function of ours may travel by value, with what it refers to
        return _Later, (self._name,)


def later(module: str) -> Any:
    """The module of this name, imported when something of it is first used.

    >>> text = later("textwrap")
    >>> text.shorten("one two three", 9)
    'one [...]'
    """
    return _Later(module)
