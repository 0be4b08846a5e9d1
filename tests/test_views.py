"""Views of arrays have the layout of their memory wherever they are sent: so sums over them have the same bits."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrpy
from mrpy.scheduler import byvalue, codec, views

STACK = np.random.default_rng(7).random((40, 37, 39))
VIEWS = {
    "a tile": STACK[3:20, 5:18, 4:21],
    "a transposed stack": STACK.transpose(2, 0, 1),
    "a channel": STACK[:, :, 5],
    "every other": STACK[:9, :9, ::2],
    "backwards": STACK[::-1, :, ::-1],
    "small numbers": STACK.astype("f4").transpose(1, 2, 0)[::3],
    "the same again and again": np.broadcast_to(STACK[0, :, ::4], (50, 37, 10)),
    "a field of packed records": np.array([(1, x) for x in STACK[0, 0]], "u1,f8")["f1"],
    "windows": np.lib.stride_tricks.sliding_window_view(STACK[0, 0], 7),
}


def bits(array: Any) -> list[str]:
    """What depends on the order in which numbers are added."""
    short = array[tuple(slice(9) for _ in array.shape)]  # the threads of BLAS share what is long
    product = short @ (np.swapaxes(short, -1, -2) if short.ndim > 1 else short)
    found = [array.sum(), array.std(), np.einsum("...i,...i->...", array, array), product]
    found += [array.sum(axis=axis) for axis in range(array.ndim)]
    return [np.asarray(each).tobytes().hex() for each in found]


@st.composite
def some_view(draw: Any) -> Any:
    array = np.random.default_rng(draw(st.integers(0, 9))).random(draw(st.lists(st.sampled_from([1, 2, 3, 9]), min_size=1, max_size=4)))
    for _ in range(draw(st.integers(1, 3))):
        step = st.sampled_from([1, 1, 2, -1, -2])
        array = array[tuple(slice(None, None, draw(step)) for _ in range(array.ndim))]
        array = array[(..., slice(None, -1))] if draw(st.booleans()) else array
        array = array.transpose(draw(st.permutations(range(array.ndim))))
        array = np.expand_dims(array, 0) if draw(st.booleans()) else array
        array = np.broadcast_to(array, (2, *array.shape)) if draw(st.integers(0, 9)) == 9 else array
    return array


@given(some_view(), st.sampled_from([codec.encode, lambda one: codec.Payload(byvalue.dumps(one))]))
def test_a_view_arrives_as_it_was(array: Any, encode: Any) -> None:
    found = codec.decode(encode(array))
    assert (found.shape, found.dtype, found.flags.writeable) == (array.shape, array.dtype, array.flags.writeable)
    assert np.array_equal(found, array)
    if array.size:
        assert bits(found) == bits(array)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_sums_over_views_have_the_same_bits_everywhere(name: str, backend: str) -> None:
    view = VIEWS[name]
    whole = view.copy(order="K")

    def again(array: Any) -> Any:
        return array[...]

    for function, argument in ((bits, view), (lambda n: bits(view) if n else [], 1)):
        with mrpy.session(backend, workers=2):
            assert list(mrpy.pmap(function, [argument] * 3)) == [bits(view)] * 3
            assert mrpy.submit(function, argument).result() == bits(view)
            back = mrpy.submit(again, view).result()
            assert bits(back) == bits(view) and np.array_equal(back, whole)


def test_what_is_sent_is_about_as_large_as_the_view() -> None:
    for name, view in VIEWS.items():
        sent = codec.encode(view).nbytes
        assert sent < (2.2 if name in ("a channel", "every other", "a field of packed records") else 1.2) * view.nbytes + 400, name
    assert codec.encode(VIEWS["the same again and again"]).nbytes < 7000


def test_a_read_only_view_stays_so() -> None:
    view = STACK.transpose(2, 0, 1)
    assert codec.decode(codec.encode(view)).flags.writeable
    view.flags.writeable = False
    assert not codec.decode(codec.encode(view)).flags.writeable
    with mrpy.session("processes", workers=1):
        assert list(mrpy.pmap(lambda array: array.flags.writeable, [view])) == [False]


def test_a_view_of_a_memmap_is_one(tmp_path: Any) -> None:
    STACK.tofile(tmp_path / "stack")
    whole = np.memmap(tmp_path / "stack", float, "r", shape=STACK.shape)
    for one in (whole, whole[3]):  # what is contiguous too: NumPy's own pickles could be written to
        found = codec.decode(codec.encode(one))
        assert (type(found), found.flags.writeable, bits(found)) == (np.memmap, False, bits(one))
    with mrpy.session("processes", workers=1):
        assert set(mrpy.pmap(lambda array: array.flags.writeable, whole)) == {False}
    tile = whole[3:20, 5:18, 4:21]
    found = codec.decode(codec.encode(tile))
    assert (type(found), found.flags.writeable, bits(found)) == (np.memmap, False, bits(tile))


def test_arrays_of_other_things_are_pickled_as_ever() -> None:
    things: list[Any] = [
        np.array([["a", None], [1, [2]]], object).T[::-1],
        np.array([("a", 1.5), ("b", 2.5)] * 3, "U3,f8")[::2],
        np.ma.masked_greater(STACK[0, :, ::3], 0.5),
        np.zeros((3, 0, 4))[:, :, ::2],
        np.array(["2020-01-01", "NaT"] * 3, "M8[D]")[::2],
        "_reconstruct",
    ]
    if hasattr(np.dtypes, "StringDType"):
        things.append(np.array(["a", "b" * 99, "c"], np.dtypes.StringDType())[::2])
    for thing in things:
        for _ in range(2):  # the first of these decides what is tried first
            found = codec.decode(codec.encode(thing))
            assert type(found) is type(thing) and repr(found) == repr(thing)


def test_contiguous_arrays_take_no_second_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    codec.encode(1)
    monkeypatch.setattr(views, "_dumps", None)
    value = [STACK, STACK[3], np.asfortranarray(STACK), STACK[0, 0, 0], list(range(9))]
    assert codec.encode(value).body == pickle.dumps(value, 5, buffer_callback=lambda buffer: buffer.raw().nbytes < codec.IN_BAND)
