"""Views of arrays - a tile, a transposed stack, a channel - keep the order of their memory as they travel.

NumPy pickles what is not contiguous as a C-ordered copy that may be written to. It sums in the order of
memory, axes that lie in one piece at once, and gives BLAS what has steps of one item: so the last bits of a
sum over such a copy may differ from those over the view. Here it is a copy too, but with the view's layout:

    view   axes in the order of their steps    ──>  the same order, and directions
           next to each other, or with a gap   ──>  next to each other, or with a gap of one item
           steps of one item, or more          ──>  one item, or two
"""

from __future__ import annotations

import copyreg
import io
import sys
from collections.abc import Callable
from functools import lru_cache

from mrpy.light import TYPE_CHECKING, later, pickle
from mrpy.scheduler.importable import end_of_names

if TYPE_CHECKING:
    from typing import Any

    from mrpy.scheduler import tensors
else:
    tensors = later("mrpy.scheduler.tensors")

_MARK = b"_reconstruct"  # by which NumPy's pickles have what is not contiguous, and arrays of objects
_expected = False  # such were in the last pickle; it decides what is tried first, and nothing else


def dumps(
    value: Any, buffer_callback: Callable[[Any], Any] | None = None, buffers: list[Any] | None = None
) -> bytes:
    """``pickle.dumps(value, 5)``, but for views. ``buffers``: what the callback fills."""
    if not _expected and "torch" not in sys.modules:  # a row of a tensor would be all of it
        body = pickle.dumps(value, 5, buffer_callback=buffer_callback)
        if "numpy" not in sys.modules or not _is_marked(body):
            return body
        if buffers is not None:
            buffers.clear()
    return _dumps(value, buffer_callback)


def _dumps(value: Any, buffer_callback: Callable[[Any], Any] | None) -> bytes:
    global _expected
    _expected = False
    with io.BytesIO() as file:
        pickler = pickle.Pickler(file, 5, buffer_callback=buffer_callback)
        pickler.dispatch_table = with_views(copyreg.dispatch_table)
        pickler.dump(value)
        body = file.getvalue()
    _expected = _expected or _is_marked(body)
    return body


def _is_marked(body: bytes) -> bool:
    return body.rfind(_MARK, 0, end_of_names(body)) >= 0


def with_views(table: dict[type, Any]) -> dict[type, Any]:
    """A dispatch table of pickle that has such views, too."""
    numpy: Any = sys.modules.get("numpy")
    kinds = [getattr(numpy, name, None) for name in ("ndarray", "memmap")]  # it may be imported just now
    ours: dict[Any, Any] = dict.fromkeys(filter(None, kinds), _reduced)
    if (tensor := getattr(sys.modules.get("torch"), "Tensor", None)) is not None:
        ours[tensor] = tensors.reduced
    return {**ours, **table}  # the user's own way comes first


def _reduced(array: Any) -> Any:
    global _expected
    flags, dtype = array.flags, array.dtype
    numpy: Any = sys.modules["numpy"]
    if type(array) is not numpy.ndarray:  # a file in memory: its own pickles can always be written to
        _expected = True
        return numpy.ndarray.view, (array.view(numpy.ndarray), type(array))
    if flags.c_contiguous or flags.f_contiguous or dtype.hasobject or dtype.kind == "T":  # of texts
        return array.__reduce_ex__(5)
    _expected = True
    shape = array.shape
    order, steps, size, first, once = _layout(shape, array.strides, array.itemsize)
    upright = array.transpose(order)
    if upright.flags.c_contiguous:  # newer versions of NumPy do so themselves
        return numpy.transpose, (upright, sorted(order, key=order.__getitem__))
    odd = not flags.aligned  # as a field of packed records: NumPy goes through these in another way
    memory = numpy.zeros(size + odd, "u1")
    numpy.ndarray(shape, dtype, memory, first + odd, steps)[once] = array[once]
    memory.flags.writeable = flags.writeable
    return numpy.ndarray, (shape, dtype, pickle.PickleBuffer(memory), first + odd, steps)


@lru_cache(maxsize=100)  # tiles of an image have one
def _layout(
    shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int
) -> tuple[list[int], tuple[int, ...], int, int, tuple[slice, ...]]:
    """Of the copy of such a view: the axes, that of the longest step first; their steps; how many bytes it
    has; where its first item is; and what of the view is copied, each item once."""
    order = sorted(range(len(shape)), key=lambda axis: -abs(strides[axis]))
    steps = [0] * len(shape)
    end = end_there = 0  # bytes to the next stretch of the axes so far, if there is no gap: here, in the view
    for axis in reversed(order):
        there = abs(strides[axis])
        if there == 0:  # all of it is one item, as `numpy.broadcast_to` has it
            continue
        if shape[axis] == 1:
            steps[axis] = end or itemsize
            continue
        if end == 0:
            step = itemsize if there == itemsize else 2 * itemsize
        else:
            step = end if there == end_there else end + itemsize
        end, end_there = step * shape[axis], there * shape[axis]
        steps[axis] = step if strides[axis] > 0 else -step
    ways = [(length - 1) * step for length, step in zip(shape, steps, strict=True)]
    first = sum(-way for way in ways if way < 0)
    once = tuple(slice(None if step else 1) for step in steps)
    return order, tuple(steps), sum(map(abs, ways)) + itemsize, first, once
