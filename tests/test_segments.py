"""Large buffers by shared memory: lent, used in place, given back, and never seen by anybody else."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laws import eventually

import mrpy
from mrpy.scheduler import codec
from mrpy.scheduler.backends import copying, segments
from mrpy.scheduler.backends.packing import Packer
from mrpy.scheduler.backends.segments import AT_ONCE, KEPT, SHARED, Borrower, Lender, Pool, Shelved
from mrpy.scheduler.calls import Call, Code

pytestmark = pytest.mark.skipif(not segments.AVAILABLE, reason="needs memfd")

LARGE = SHARED // 8  # doubles


def passed(pool: Pool, lender: Lender, borrower: Borrower, value: Any) -> Any:
    """What becomes of a value on the other side; descriptors are duplicated as by a socket."""
    shape, parts = codec.flatten([pool.shelve(codec.encode(value))])
    lent = lender.lend(parts)
    assert len(lent.fds) == len(lent.loans)
    arrived = borrower.parts(lent.loans, lent.others, deque(map(os.dup, lent.fds)))
    [payload] = codec.unflatten(shape, arrived)
    return codec.decode(payload)


def test_a_large_array_arrives_in_shared_memory_and_a_small_one_does_not() -> None:
    pool, lender, borrower = Pool(), Lender(), Borrower()
    small, large = np.arange(10.0), np.arange(float(LARGE))
    got = passed(pool, lender, borrower, [small, large, "text"])
    assert got[2] == "text"
    assert (got[0] == small).all() and (got[1] == large).all()
    [shelved] = [b for b in pool.shelve(codec.encode([small, large])).buffers if type(b) is Shelved]
    assert shelved.nbytes == large.nbytes


def test_a_segment_is_written_again_only_when_all_views_are_gone() -> None:
    pool, lender, borrower = Pool(), Lender(), Borrower()
    first = passed(pool, lender, borrower, np.full(LARGE, 1.0))
    second = passed(pool, lender, borrower, np.full(LARGE, 2.0))
    part = first[5:9]
    del first
    assert borrower.unused() == []
    third = passed(pool, lender, borrower, np.full(LARGE, 3.0))
    assert (part == 1.0).all() and (second == 2.0).all() and (third == 3.0).all()
    del part
    [number] = borrower.unused()
    lender.returned([number])
    before = len(pool._free)
    assert before >= 1
    fourth = passed(pool, lender, borrower, np.full(LARGE, 4.0))
    assert len(pool._free) == before - 1
    assert (second == 2.0).all() and (third == 3.0).all() and (fourth == 4.0).all()


def test_what_the_borrower_writes_the_lender_does_not_see() -> None:
    pool, lender, borrower = Pool(), Lender(), Borrower()
    shape, parts = codec.flatten([pool.shelve(codec.encode(np.zeros(LARGE)))])
    for _ in range(2):  # a second attempt, after the first has written into its argument
        lent = lender.lend(parts)
        arrived = borrower.parts(lent.loans, lent.others, deque(map(os.dup, lent.fds)))
        array = codec.decode(codec.unflatten(shape, arrived)[0])
        assert not array.any()
        array += 1


def test_a_read_only_array_arrives_read_only() -> None:
    array = np.zeros(LARGE)
    array.flags.writeable = False
    assert not passed(Pool(), Lender(), Borrower(), array).flags.writeable


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python's mappings keep a descriptor")
def test_what_is_mapped_keeps_no_descriptor() -> None:
    pool, lender, borrower = Pool(), Lender(), Borrower()
    before = len(os.listdir("/dev/fd"))
    array = passed(pool, lender, borrower, np.zeros(LARGE))
    assert len(os.listdir("/dev/fd")) == before + 1, "the lender's own"
    assert array.sum() == 0


def test_more_segments_than_a_frame_takes_are_copied() -> None:
    pool, lender, borrower = Pool(), Lender(), Borrower()
    count = AT_ONCE + 3
    parts = [pool.shelve(codec.encode(np.full(LARGE, float(n)))).buffers[0] for n in range(count)]
    lent = lender.lend(parts)
    assert len(lent.fds) == AT_ONCE
    arrived = borrower.parts(lent.loans, lent.others, deque(map(os.dup, lent.fds)))
    assert [np.frombuffer(part)[7] for part in arrived] == list(range(count))


def test_more_mappings_than_a_process_shall_have_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MAPPED", Borrower.mapped() + 2)
    pool, lender, borrower = Pool(), Lender(), Borrower()
    held = [passed(pool, lender, borrower, np.full(LARGE, float(n))) for n in range(5)]
    assert [array[3] for array in held] == [0, 1, 2, 3, 4]
    assert len(borrower.unused()) == 3


def test_a_pool_keeps_no_more_than_it_may() -> None:
    pool = Pool()
    held = [pool.shelve(codec.Payload(b"", (memoryview(bytes(1 << 24)),))) for _ in range(20)]
    del held
    assert sum(segment.size for segment in pool._free) == pool._kept == KEPT
    pool.shelve(codec.Payload(b"", (memoryview(bytes(KEPT // 2)),)))  # and is not in use any more
    assert pool._kept == KEPT
    pool.close()
    assert not pool._free


def test_without_descriptors_buffers_travel_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", fails)
    payload = codec.encode(np.zeros(LARGE))
    assert Pool().shelve(payload) is payload


# ---- packing ----------------------------------------------------------------------------------------------


def test_what_was_packed_does_not_change_any_more() -> None:
    packer = Packer(lambda: None)
    code = Code(len, "len")
    for size in (LARGE, LARGE // 4):  # by shared memory, and by the socket
        array = np.zeros(size)
        call = packer.pack(Call(code, array))
        array += 1
        [buffer] = call.data.buffers
        copy = buffer.bytes() if type(buffer) is Shelved else bytes(buffer)
        assert not np.frombuffer(copy).any()


def test_a_read_only_array_is_packed_once_for_a_run_and_forgotten_with_it() -> None:
    def held(data: Any, run: Any) -> Any:
        return packer.pack(Call(code, data, run)).data.buffers[0].held

    packer = Packer(lambda: None)
    code = Code(len, "len")
    array = np.zeros(2 * LARGE)
    array.flags.writeable = False
    run: dict[int, Any] = {}
    first = held(array, run)
    assert all(held([n, array], run) is first for n in range(3))
    assert held(array, {}) is not first
    assert held(array[1:], run) is not first
    assert held(array, None) is not held(array, None), "calls that know nothing of each other"
    segment = first.segment
    del first
    assert segment not in packer.pool._free
    run.clear()
    gc.collect()
    assert segment in packer.pool._free, "not in use any more"


def shared() -> int:
    """How many descriptors of shared memory this process has."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was the one for the list
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sum(link.startswith("/memfd:") for link in links)


def test_a_pool_has_so_many_segments_and_keeps_half_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MOST", 8)
    before = shared()
    pool = Pool()
    payloads = [pool.shelve(codec.encode(np.zeros(LARGE << n % 2))) for n in range(10)]
    kinds = [type(payload.buffers[0]) for payload in payloads]
    assert kinds == [Shelved] * 8 + [memoryview] * 2, "the others go by the socket"
    payloads.clear()
    gc.collect()
    assert len(pool._free) == 4
    others = [pool.shelve(codec.encode(np.zeros(LARGE << 2))) for _ in range(9)]
    assert [type(payload.buffers[0]) for payload in others] == [Shelved] * 8 + [memoryview]
    pool.close()
    others.clear()
    gc.collect()
    assert shared() == before


def test_read_only_arrays_take_half_of_the_segments_and_the_first_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MOST", 8)
    packer = Packer(lambda: None)
    code = Code(len, "len")
    arrays = [np.full(LARGE, float(n)) for n in range(20)]
    for array in arrays:
        array.flags.writeable = False
    run: dict[int, Any] = {}
    for n, array in enumerate(arrays[1:], 1):
        shared, own = packer.pack(Call(code, [arrays[0], array], run)).data.buffers
        assert shared is run[id(arrays[0])][1]
        assert np.frombuffer(own.bytes())[0] == n
    assert len(run) == 4
    assert packer.pool._made <= 6


def test_a_function_is_forgotten_when_nobody_refers_to_it() -> None:
    packer = Packer(lambda: None)
    code = Code(len, "len")
    packer.pack(Call(code, 1))
    number = code.number
    del code
    gc.collect()
    assert packer.gone() == [number]


# ---- over worker processes --------------------------------------------------------------------------------


def sees(item: Any) -> tuple[float, bool]:
    array = item[0] if isinstance(item, tuple) else item
    before = float(array[0])
    if array.flags.writeable:
        array += 1
    return before, bool(array.flags.writeable)


@pytest.fixture
def session() -> Any:
    with mrpy.session("processes", workers=2) as opened:
        yield opened


def test_arguments_closures_and_results_are_what_they_are_elsewhere(session: Any) -> None:
    arrays = [np.full(LARGE, float(n)) for n in range(9)]
    assert list(mrpy.pmap(sees, arrays)) == [(float(n), True) for n in range(9)]
    assert [array[0] for array in arrays] == list(range(9))
    held = np.arange(float(LARGE))
    assert list(mrpy.pmap(lambda n: float(held[n]), range(50), chunksize=1)) == list(range(50))
    doubled = list(mrpy.pmap(lambda array: array * 2, arrays))
    assert all((two == array * 2).all() for two, array in zip(doubled, arrays, strict=True))
    doubled[0][:] = 7
    assert (doubled[1] == 2).all()


def test_an_array_that_the_source_fills_again_is_read_when_it_is_pulled(session: Any) -> None:
    def refilled(size: int) -> Any:
        array = np.zeros(size)
        for n in range(40):
            array[:] = n
            yield array

    for size in (LARGE, LARGE // 8):
        assert list(mrpy.pmap(lambda a: float(a[-1]), refilled(size), chunksize=1)) == list(range(40))


def test_a_reduction_over_arrays_passes_them_on(session: Any) -> None:
    total = mrpy.preduce(np.add, (np.full(LARGE, float(n)) for n in range(64)))
    assert (total == sum(range(64))).all()


def test_an_argument_that_a_dead_worker_wrote_to_is_whole_in_the_next(session: Any, tmp_path: Path) -> None:
    mark = str(tmp_path / "died")

    def dies_once(array: Any) -> float:
        first = float(array[0])
        array[:] = -1
        if not os.path.exists(mark):
            open(mark, "w").close()
            os._exit(9)
        return first

    assert list(mrpy.pmap(dies_once, [np.full(LARGE, 5.0)])) == [5.0]


def test_nothing_is_left_of_what_was_lent(session: Any) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def round_trip() -> None:
        for array in mrpy.pmap(lambda a: a + 1, (np.zeros(LARGE) for _ in range(60)), chunksize=1):
            assert array[0] == 1

    round_trip()
    gc.collect()
    before, mapped = descriptors(), Borrower.mapped()
    for _ in range(3):
        round_trip()
    gc.collect()
    assert eventually(lambda: all(not w.lender._out for w in session.driver.backend._team))
    assert Borrower.mapped() <= mapped
    assert descriptors() <= before + KEPT // SHARED  # free segments, at most
    workers = session.driver.backend._team
    session.close()
    assert all(not worker.lender._out for worker in workers)


def test_a_closure_is_one_copy_and_gone_with_its_run(session: Any) -> None:
    table = np.zeros(1 << 22)  # 32 MB
    pids = set(mrpy.pmap(lambda n: (table[n], os.getpid())[1], range(100), chunksize=1))

    def shared(pid: int) -> int:
        maps = Path(f"/proc/{pid}/maps").read_text()
        return sum("memfd:mrpy" in line for line in maps.splitlines())

    gc.collect()
    assert eventually(lambda: not any(map(shared, pids)))


def test_an_exception_that_carries_a_large_array_keeps_its_type(session: Any) -> None:
    def fails(n: int) -> None:
        error = ValueError("with data")
        error.data = np.full(LARGE, float(n))  # type: ignore[attr-defined]
        raise error

    with pytest.raises(ValueError, match="with data") as caught:
        list(mrpy.pmap(fails, [3]))
    assert (caught.value.data == 3).all()  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(caught.value.data[:3])).tolist() == [3, 3, 3]  # type: ignore[attr-defined]


# ---- several threads that copy ---------------------------------------------------------------------------

MANY = copying.LARGE // 4 + 12_345  # floats of four bytes: more than it takes, and no whole number of pieces


def shelved_bytes(pool: Pool, array: Any) -> bytes:
    [shelved] = pool.shelve(codec.encode(array)).buffers
    return bytes(shelved.bytes())


@pytest.mark.parametrize("threads", [1, 2, 4, 99])
def test_any_number_of_threads_makes_the_same_copy(threads: int) -> None:
    pool = Pool(threads)
    for n in range(20):
        array = np.random.default_rng(n).random(MANY, dtype=np.float32)
        assert shelved_bytes(pool, array) == array.tobytes()


def test_the_copy_is_whole_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(copying, "start_new_thread", refused)
    array = np.arange(MANY, dtype=np.float32)
    assert shelved_bytes(Pool(4), array) == array.tobytes()


def test_the_copy_is_whole_where_pieces_cannot_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    copyto, calls = np.copyto, iter(range(99))

    def sometimes(*parts: Any) -> None:
        if next(calls) % 3 == 1:
            raise MemoryError
        copyto(*parts)

    array = np.arange(MANY, dtype=np.float32)
    monkeypatch.setattr(np, "copyto", sometimes)
    assert shelved_bytes(Pool(2), array) == array.tobytes()


def test_a_segment_is_not_used_again_while_a_thread_still_writes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    copyto, main = np.copyto, threading.get_ident()
    begun, go_on = threading.Event(), threading.Event()

    def slow(*parts: Any) -> None:
        if threading.get_ident() == main:
            assert begun.wait(60)
            raise KeyboardInterrupt
        begun.set()
        assert go_on.wait(60)
        copyto(*parts)

    pool = Pool(2)
    monkeypatch.setattr(np, "copyto", slow)
    with pytest.raises(KeyboardInterrupt):
        pool.shelve(codec.encode(np.ones(MANY, dtype=np.float32)))
    gc.collect()
    assert len(pool._free) == 0
    monkeypatch.setattr(np, "copyto", copyto)
    go_on.set()
    assert eventually(lambda: len(pool._free) == 1)
