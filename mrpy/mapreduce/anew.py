"""The code of a single call, and where the function travels.

One that is known not to have changed is in the code, and open on the workers (``reuse.py``). Of others - an
object with a ``__call__``, a method of one, a partial, what holds a list - nobody can tell. They go with the
data, as a pickle of their own, and each call opens it anew: what it changes in there, no other call finds.

    submit        ──>  one pickle  ──>  call              the code has no function, and is sent once
    Executor.map  ──>  one pickle  ──>  call, call, call
"""

from __future__ import annotations

from _contextvars import copy_context
from collections.abc import Callable
from functools import update_wrapper

from mrpy.light import TYPE_CHECKING, Frozen, pickle
from mrpy.mapreduce.kernels import Submitted
from mrpy.mapreduce.steps import itself, name_of
from mrpy.scheduler import codec
from mrpy.scheduler.calls import Code
from mrpy.scheduler.reuse import code_for, reused

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from mrpy.mapreduce.kernels import Announce
    from mrpy.scheduler.backends.base import Backend

    Found: TypeAlias = "tuple[Code, tuple[Any, ...]]"  # and what its data end with


class SubmittedAnew(Frozen):
    """The kernel of a single call that brings its function along. In a context of its own, as a code has one:
    what is set there, of `decimal` say, no other function finds."""

    def __call__(
        self,
        call: tuple[tuple[Any, ...], dict[str, Any], int | None, int, Callable[..., Any]],
        announce: Announce | None = None,
    ) -> Any:
        args, kwargs, seed, number, function = call

        def apart(*args: Any, **kwargs: Any) -> Any:
            return copy_context().run(function, *args, **kwargs)

        return Submitted(apart)((args, kwargs, seed, number), announce)


class Once:
    """A function for calls that are made at once: all of them find what it holds at the first of them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function, updated=())  # a class of the user's may have a `submit` of its own
        self.function = function
        self.__qualname__ = name_of(function)
        self._found: tuple[Backend, Found] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __reduce__(self) -> Any:
        return itself, (self.function,)

    def code(self, name: str, backend: Backend) -> Found:
        """The same for each call, where they are sent one by one."""
        if not (backend.remote and backend.near):
            return _code(self.function, name, backend)
        if self._found is None or self._found[0] is not backend:
            self._found = backend, _code(self.function, name, backend, keep=True)
        return self._found[1]


def single_code(function: Callable[..., Any], name: str, backend: Backend) -> Found:
    """The code of a single call, and what its data end with. Raises `SerializationError`."""
    return function.code(name, backend) if isinstance(function, Once) else _code(function, name, backend)


def _code(function: Callable[..., Any], name: str, backend: Backend, *, keep: bool = False) -> Found:
    """``keep``: it is for later calls too."""

    def make() -> Code:
        return Code(Submitted(function), name, announce=True)

    def make_anew() -> Code:
        return Code(SubmittedAnew(), name, announce=True)

    if not backend.remote:
        return make(), ()
    code = reused((function,), make, name)
    if code is None and backend.near:  # else workers may be of another Python
        return code_for((), make_anew, name), (_Enclosed(function, name, keep=keep),)
    return code or make(), ()


class _Enclosed:
    """A function within data. Arrays that it holds are copied when the data are, or at once: to `keep` it."""

    def __init__(self, function: Callable[..., Any], name: str, *, keep: bool) -> None:
        body, buffers = codec.encode_function(function, name, same_python=True)
        self._body = codec.Apart(body)
        self._buffers = list(map(codec.copy_of, buffers)) if keep else buffers

    def __reduce__(self) -> Any:
        buffers = list(map(pickle.PickleBuffer, self._buffers))
        return codec.open_function, (pickle.PickleBuffer(self._body), buffers)
