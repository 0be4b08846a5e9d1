"""Tensors of PyTorch travel as arrays do. What is said of a fake holds without PyTorch; the rest where that is there."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from laws import CONCURRENT

import mrpy
from mrpy.scheduler import byvalue, codec

ROWS = np.random.default_rng(7).random((100, 10_000))


class Tensor:
    """A fake: it pickles all the memory that it is a view of, as those of PyTorch do."""

    dtype, requires_grad, device = "some", False, SimpleNamespace(type="cpu")

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce_ex__(self, protocol: Any) -> Any:
        whole = self.array if self.array.base is None else self.array.base
        return _rebuild_tensor_v2, (bytes(whole), self.array.shape)

    def element_size(self) -> int:
        return int(self.array.itemsize)

    def detach(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        return self.array


class Odd(Tensor):
    """One in no plain memory, or of a class of the user's."""


def _rebuild_tensor_v2(data: bytes, shape: Any) -> Any:
    return "in its own way"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = ModuleType("torch")
    module.Tensor, module.from_numpy = Tensor, Tensor
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


ENCODINGS = [codec.encode, codec.encode_apart, lambda one: codec.Payload(byvalue.dumps(one))]


@pytest.mark.parametrize("encode", ENCODINGS)
def test_a_row_is_sent_without_the_others(fake: Any, encode: Any) -> None:
    rows = [Tensor(row) for row in ROWS[:2]]
    sent = encode(rows)
    assert sent.nbytes < 2 * ROWS[0].nbytes + 1000
    found = codec.decode(sent)
    assert all(np.array_equal(one.array, row) and one.array.flags.writeable for one, row in zip(found, ROWS, strict=False))


def test_it_is_not_copied_on_the_way(fake: Any) -> None:
    sent = codec.encode(Tensor(ROWS[3]))
    assert len(sent.body) < 1000
    assert np.shares_memory(np.frombuffer(sent.buffers[0]), ROWS)


def test_one_over_what_may_not_be_written_to_is_a_copy(fake: Any) -> None:
    sent = codec.encode(Tensor(ROWS[3]))
    found = codec.decode(sent._replace(buffers=tuple(buffer.toreadonly() for buffer in sent.buffers)))
    assert found.array.flags.writeable and np.array_equal(found.array, ROWS[3])


def test_others_go_their_own_way(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert codec.decode(codec.encode(Odd(ROWS[0]))) == "in its own way"
    monkeypatch.setattr(Tensor, "device", SimpleNamespace(type="cuda"))
    assert codec.decode(codec.encode(Tensor(ROWS[0]))) == "in its own way"


def test_a_module_that_is_being_imported_has_no_tensors_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    assert codec.decode(codec.encode([1, "a"])) == [1, "a"]


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


def tensors(torch: Any) -> dict[str, Any]:
    rows = torch.from_numpy(ROWS.astype("f4"))
    return {
        "a row": rows[3],
        "a column": rows[:, 3],
        "a tile": rows[2:9, 3:80],
        "transposed": rows[:20].t(),
        "expanded": rows[3].expand(50, 5000),
        "one number": rows[0, 0],
        "none": rows[:0],
        "bfloat16": rows.bfloat16()[3],
        "float8": rows.to(torch.float8_e5m2)[3],
        "half": rows.half()[3],
        "bool": rows > 0.5,
        "uint16": torch.arange(9).to(torch.uint16),
        "complex": torch.view_as_complex(rows.reshape(-1, 2))[5:9],
        "a conjugate": torch.view_as_complex(rows.reshape(-1, 2))[5:9].conj(),
        "with a gradient": rows[:2].clone().requires_grad_(),
        "a parameter": torch.nn.Parameter(rows[3]),
        "sparse": torch.eye(3).to_sparse(),
    }


def is_same(one: Any, other: Any) -> bool:
    kind = (one.dtype, one.shape, one.layout, one.requires_grad, type(one))
    if kind != (other.dtype, other.shape, other.layout, other.requires_grad, type(other)):
        return False
    return bool((one.detach().to_dense().cfloat() == other.detach().to_dense().cfloat()).all())


@pytest.mark.parametrize("encode", ENCODINGS)
def test_all_kinds_of_tensors_arrive(torch: Any, encode: Any) -> None:
    for name, tensor in tensors(torch).items():
        sent = encode(tensor)
        assert is_same(codec.decode(sent), tensor), name
        gaps = 2.2 if name == "a column" else 1.2  # see `views`
        assert name in ("a conjugate", "sparse") or sent.nbytes < gaps * tensor.nbytes + 1000, name


def test_a_result_of_a_part_that_needs_gradients_is_as_pickle_has_it(torch: Any) -> None:
    part = (torch.ones(9, 9).requires_grad_() * 2)[0]
    assert is_same(codec.decode(codec.encode(part)), pickle.loads(pickle.dumps(part)))


@pytest.mark.parametrize("backend", CONCURRENT)
def test_rows_travel_there_and_back(torch: Any, backend: str) -> None:
    rows = torch.from_numpy(ROWS)

    def changed(row: Any) -> Any:
        row = row.clone() if backend == "threads" else row
        row += 1
        return row[:4000]

    with mrpy.session(backend, workers=2):
        found = list(mrpy.pmap(changed, rows))
        assert torch.equal(torch.stack(found), rows[:, :4000] + 1)
        found[0] += 1
        assert list(mrpy.parallel(float(row.sum()) for row in rows)) == [float(row.sum()) for row in rows]
    assert np.array_equal(ROWS, rows.numpy()) and ROWS.max() < 1


def test_a_checkpoint_keeps_them(torch: Any, tmp_path: Any) -> None:
    rows = torch.from_numpy(ROWS)[:3]
    for _ in range(2):
        run = mrpy.pmap(torch.neg, rows, backend="serial", checkpoint=tmp_path / "kept")
        assert torch.equal(torch.stack(list(run)), -rows)
