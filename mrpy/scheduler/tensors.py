"""Tensors of PyTorch travel as the arrays of NumPy do: as large as they are, and out of the pickle.

PyTorch pickles all the memory that a tensor is a view of: of a row, all rows. Two tensors of one item share
no memory where they arrive, as when they are pickled.
"""

from __future__ import annotations

import sys
from importlib import import_module

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_PLAIN = ("_rebuild_tensor_v2", "_rebuild_tensor_v3")  # by which PyTorch makes what is plain memory
_WHOLE = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}  # by bytes: for what NumPy has no numbers of


def reduced(tensor: Any) -> Any:
    """What pickle is told of one. Those that are not plain memory of this process travel in PyTorch's way."""
    torch: Any = sys.modules["torch"]
    way = tensor.__reduce_ex__(5)
    if way[0].__name__ not in _PLAIN or tensor.device.type != "cpu":
        return way
    whole = getattr(torch, _WHOLE.get(tensor.element_size(), ""), None)
    try:
        plain = tensor.detach()
        try:
            return tensor_of, (plain.numpy(), None, tensor.requires_grad)
        except TypeError:  # bfloat16, say
            return tensor_of, (plain.view(whole).numpy(), tensor.dtype, tensor.requires_grad)
    except (RuntimeError, TypeError):  # a conjugate, or there is no NumPy
        return way


def tensor_of(array: Any, dtype: Any, requires_grad: bool) -> Any:
    """The tensor over an array. Files of checkpoints refer to this by its name."""
    if not array.flags.writeable:  # as those are that Dask hands out; all tensors can be written to
        array = array.copy("K")
    tensor = import_module("torch").from_numpy(array)
    if dtype is not None:
        tensor = tensor.view(dtype)
    return tensor.requires_grad_() if requires_grad else tensor
