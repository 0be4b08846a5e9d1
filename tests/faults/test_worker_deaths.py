"""Rows 1 to 4, 20 and 22: workers that die, by whatever hand, at whatever moment.

A worker that is killed from outside costs time. An item that kills its worker is named, and no other is.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from laws import eventually
from watching import alive, assert_usable, team

import mrpy
from mrpy.errors import ItemTimeout, WorkerCrashed
from mrpy.scheduler.backends.transport import HEAD, MARK, ParentEnd

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and limits as Linux has them")

MB = 2**20


# ---- items that kill --------------------------------------------------------------------------------------------

DEATHS: dict[str, tuple[Callable[[], Any], str]] = {
    "SIGKILL": (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"),
    "SIGTERM": (lambda: os.kill(os.getpid(), signal.SIGTERM), "killed by SIGTERM"),
    "SIGHUP": (lambda: os.kill(os.getpid(), signal.SIGHUP), "killed by SIGHUP"),
    "SIGSEGV": (lambda: ctypes.string_at(0), "killed by SIGSEGV"),
    "SIGABRT": (os.abort, "killed by SIGABRT"),
    "exit 0": (lambda: os._exit(0), "exited with code 0"),
    "exit 3": (lambda: os._exit(3), "exited with code 3"),
    "out of C": (lambda: ctypes.CDLL(None).exit(0), "exited with code 0"),
}
STACKLESS = ("SIGKILL", "SIGHUP", "exit 0", "exit 3", "out of C")  # an end without a word


def killing(death: str, *poison: int) -> Callable[[int], int]:
    die = DEATHS[death][0]

    def check(x: int) -> int:
        if x in poison:
            die()  # the last thing it did
        return x

    return check


@pytest.mark.fault(1, 3, 4)
@pytest.mark.parametrize("death", DEATHS)
def test_every_killer_among_many_items_is_found_and_told_about(warm: Any, death: str) -> None:
    killers = (0, 4, 5, 11)
    got: list[Any] = list(mrpy.pmap(killing(death, *killers), range(12), chunksize=12, on_error="return"))
    for x, value in enumerate(got):
        if x not in killers:
            assert value == x
            continue
        assert isinstance(value, WorkerCrashed)
        assert value.mrpy_item == (x, repr(x))
        assert f"item {x}: {x}" in "".join(value.__notes__)
        told = str(value)
        assert DEATHS[death][1] in told
        pid = int(told.split("worker process ")[1].split()[0])
        assert pid not in team(warm)
        assert (death in STACKLESS) or "the last thing it did" in str(value.__cause__)
    assert_usable(warm)


@pytest.mark.fault(3)
def test_where_nobody_may_wait_for_children_it_is_not_said_how_one_died(session: Any) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        got: list[Any] = list(mrpy.pmap(killing("exit 3", 1), range(3), on_error="return"))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert got[0] == 0 and got[2] == 2
    assert "how it ended is not known" in str(got[1]) and "SIGCHLD" in str(got[1])


@pytest.mark.fault(3, 4)
def test_only_the_item_that_ran_is_blamed_and_not_those_that_queued_behind_it(warm: Any) -> None:
    """Short tasks are sent ahead, three to a worker: two more die with the one that runs."""
    list(mrpy.pmap(abs, range(64), chunksize=1))  # now they are known to be short
    for _ in range(5):
        got: list[Any] = list(mrpy.pmap(killing("exit 0", 20, 21), range(40), chunksize=1, on_error="return"))
        crashed = [x for x, value in enumerate(got) if isinstance(value, WorkerCrashed)]
        assert crashed == [20, 21]
        assert [value for value in got if isinstance(value, int)] == [x for x in range(40) if x not in (20, 21)]
    assert_usable(warm)


@pytest.mark.fault(1, 3)
def test_submitted_calls_that_kill_harm_no_other(warm: Any) -> None:
    function = killing("exit 3", 2, 5)
    pending = [mrpy.submit(function, x) for x in range(8)]
    for x, each in enumerate(pending):
        if x in (2, 5):
            with pytest.raises(WorkerCrashed, match="code 3"):
                each.result(30)
        else:
            assert each.result(30) == x
    assert_usable(warm)


@pytest.mark.fault(1)
@pytest.mark.parametrize("verb", ["parallel", "pfilter", "flat_map", "pstarmap", "stage"])
def test_every_verb_names_the_killer(warm: Any, verb: str) -> None:
    check = killing("exit 0", 7)

    @mrpy.stage
    def checked(items: Iterator[int]) -> Iterator[int]:
        for x in items:
            yield check(x)

    o: dict[str, Any] = {"on_error": "skip", "chunksize": 5}
    runs: dict[str, Callable[[], Any]] = {
        "parallel": lambda: mrpy.parallel((check(x) for x in range(12)), **o),
        "pfilter": lambda: mrpy.pfilter(lambda x: [check(x)], range(12), **o),
        "flat_map": lambda: mrpy.stream(range(12), **o).flat_map(lambda x: [check(x)]),
        "pstarmap": lambda: mrpy.pstarmap(check, zip(range(12)), **o),
        "stage": lambda: checked.with_options(**o)(range(12)),
    }
    assert list(runs[verb]()) == [x for x in range(12) if x != 7]
    o["on_error"] = "raise"
    with pytest.raises(WorkerCrashed) as caught:
        list(runs[verb]())
    assert caught.value.mrpy_item.position == 7  # type: ignore[attr-defined]


@pytest.mark.fault(5)
def test_leaving_by_sys_exit_is_an_error_and_no_death(warm: Any) -> None:
    assert_usable(warm)
    before = team(warm)
    got: list[Any] = list(mrpy.pmap(lambda x: sys.exit(3) if x == 2 else x, range(5), chunksize=5, on_error="return"))
    assert isinstance(got.pop(2), SystemExit)
    assert got == [0, 1, 3, 4]
    assert team(warm) == before


# ---- killed from outside, at any moment --------------------------------------------------------------------------------

SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT]


def gate(folder: Path) -> Callable[[int], int]:
    """A function whose item 3 says that it runs and waits, the first time it is run."""
    running, go = str(folder / "running"), str(folder / "go")

    def work(x: int) -> int:
        if x == 3:
            try:
                os.mkfifo(go)
            except FileExistsError:
                return x
            with open(running, "w") as file:
                file.write(str(os.getpid()))
            os.rename(running, running + ".done")
            with open(go) as wait:  # until it is killed
                wait.read()
        return x

    return work


@pytest.mark.fault(1, 4)
@pytest.mark.parametrize("which", SIGNALS)
@pytest.mark.parametrize("chunksize", [1, 8])
def test_a_worker_that_is_killed_while_it_runs_costs_nothing_but_time(
    warm: Any, which: signal.Signals, chunksize: int, tmp_path: Path
) -> None:
    got: list[int] = []
    work = gate(tmp_path)
    thread = threading.Thread(target=lambda: got.extend(mrpy.pmap(work, range(8), chunksize=chunksize)))
    thread.start()
    told = tmp_path / "running.done"
    assert eventually(told.exists, 20)
    os.kill(int(told.read_text()), which)
    thread.join(30)
    assert got == list(range(8))
    assert_usable(warm)


@pytest.mark.fault(1)
@pytest.mark.parametrize("which", SIGNALS)
def test_workers_that_are_killed_while_idle_are_replaced(warm: Any, which: signal.Signals) -> None:
    assert_usable(warm)
    victims = team(warm)
    for pid in victims:
        os.kill(pid, which)
    assert_usable(warm)
    assert not set(victims) & set(team(warm))


@pytest.mark.fault(1)
def test_workers_that_are_killed_before_they_are_up_are_replaced() -> None:
    with mrpy.session("processes", workers=2) as session:
        pending = [mrpy.submit(abs, -x) for x in range(6)]
        assert eventually(lambda: len(team(session)) > 0)
        os.kill(team(session)[0], signal.SIGKILL)
        assert [each.result(30) for each in pending] == list(range(6))
        assert_usable(session)


@pytest.mark.fault(20)
@pytest.mark.parametrize("kind", ["text", "array"])
def test_a_worker_that_dies_while_it_receives_costs_nothing_but_time(warm: Any, kind: str) -> None:
    """It is stopped, so that what is sent to it cannot all go; then it is killed."""
    import numpy

    assert_usable(warm)
    victims = team(warm)
    for pid in victims:
        os.kill(pid, signal.SIGSTOP)
    large: Any = "x" * (8 * MB) if kind == "text" else numpy.ones(8 * MB, "u1")
    pending = [mrpy.submit(len, large) for _ in range(4)]
    assert eventually(lambda: all(stopped(pid) for pid in victims))
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert [each.result(30) for each in pending] == [8 * MB] * 4
    assert_usable(warm)


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def the_socket() -> Any:
    """The worker's own end of its channel, found in the frames below a task."""
    frame: Any = sys._getframe()
    while "self" not in frame.f_locals or not hasattr(frame.f_locals["self"], "serve"):
        frame = frame.f_back
    return frame.f_locals["self"]._end.sock


TORN = {
    "in the head": b"\x0d\x01\x00",
    "in the lengths": b"\x0d" + (2).to_bytes(4, "little") + (1).to_bytes(8, "little") + b"\x05\x00",
    "in a small part": b"\x0d" + (1).to_bytes(4, "little") + (1).to_bytes(8, "little") + (9).to_bytes(8, "little") + b"abc",
    "in a large part": b"\x0d"
    + (1).to_bytes(4, "little")
    + (1).to_bytes(8, "little")
    + (10**8).to_bytes(8, "little")
    + bytes(100_000),
}  # fmt: skip


@pytest.mark.fault(20)
@pytest.mark.parametrize("where", TORN)
def test_a_frame_that_is_torn_is_a_death_and_nothing_else(warm: Any, where: str, tmp_path: Path) -> None:
    piece, once, socket_of = TORN[where], str(tmp_path / "once"), the_socket

    def tear(x: int) -> int:
        if x == 3:
            try:
                os.mkdir(once)
            except FileExistsError:
                return x
            socket_of().sendall(piece)
            os._exit(0)
        return x

    for chunksize in (1, 8):
        assert list(mrpy.pmap(tear, range(8), chunksize=chunksize)) == list(range(8))
        assert_usable(warm)
        os.rmdir(once)


@pytest.mark.fault(20)
@pytest.mark.parametrize("chunksize", [1, 8])
@pytest.mark.parametrize("junk", [b"not for this one", bytes(14), b"\n", b"\xf9" * 70, HEAD.pack(MARK, 12, 0, 1 << 40)],
                         ids=["text", "zeros", "a byte", "marked", "forged"])  # fmt: skip
def test_who_writes_into_the_socket_is_lost_and_nothing_else(warm: Any, chunksize: int, junk: bytes) -> None:
    socket_of = the_socket

    def write(x: int) -> int:
        if x == 3:
            socket_of().sendall(junk)
            time.sleep(600)  # nothing comes that would complete it
        return x

    got: list[Any] = list(mrpy.pmap(write, range(8), chunksize=chunksize, on_error="return"))
    assert isinstance(got.pop(3), WorkerCrashed)
    assert got == [0, 1, 2, 4, 5, 6, 7]
    assert_usable(warm)


@pytest.mark.fault(20)
@pytest.mark.parametrize("kind", ["text", "array"])
def test_a_worker_that_dies_while_it_sends_many_megabytes_is_replaced(warm: Any, kind: str, tmp_path: Path) -> None:
    """It dies ten milliseconds after its function returns: while it pickles, or copies, or writes."""
    once = str(tmp_path / "once")

    def large(x: int) -> Any:
        import threading

        import numpy

        if x == 3:
            try:
                os.mkdir(once)
            except FileExistsError:
                pass
            else:
                threading.Timer(0.01, os._exit, [0]).start()
        return bytes(32 * MB) if kind == "text" else numpy.ones(32 * MB, "u1")

    got = mrpy.pmap(large, range(5), chunksize=1)
    assert [len(each) for each in got] == [32 * MB] * 5
    assert_usable(warm)


@pytest.mark.fault(20)
def test_the_death_of_one_worker_does_not_hold_up_another(warm: Any) -> None:
    def work(x: int) -> int:
        if x % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return sum(range(10_000)) and x

    assert list(mrpy.pmap(work, range(8), chunksize=1, on_error="skip")) == [0, 2, 4, 6]
    assert_usable(warm)


# ---- stopped ---------------------------------------------------------------------------------------------------------------


@pytest.mark.fault(2)
def test_a_worker_that_somebody_stops_while_idle_is_replaced_where_there_is_a_timeout(warm: Any) -> None:
    assert_usable(warm)
    victims = team(warm)
    for pid in victims:
        os.kill(pid, signal.SIGSTOP)
    assert list(mrpy.pmap(abs, range(-8, 0), chunksize=2, timeout=0.5)) == list(range(8, 0, -1))
    assert not any(map(alive, victims))
    assert_usable(warm)


@pytest.mark.fault(2)
def test_a_worker_that_goes_on_after_a_while_is_only_slow(warm: Any) -> None:
    def pause(x: int) -> int:
        import subprocess

        if x == 2:
            subprocess.run(["sh", "-c", f"(sleep 0.3; kill -CONT {os.getpid()}) &"], check=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        return x

    assert_usable(warm)
    before = team(warm)
    assert list(mrpy.pmap(pause, range(5), chunksize=5, timeout=20)) == list(range(5))
    assert team(warm) == before


@pytest.mark.fault(2)
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_slow_work_is_not_taken_for_a_hang(backend: str) -> None:
    def slow(x: int) -> int:
        import time

        time.sleep(0.15)
        return x

    got = list(mrpy.pmap(slow, range(6), backend=backend, workers=2, chunksize=6, timeout=0.6))
    assert got == list(range(6)), "the time is each item's own, not the chunk's"


@pytest.mark.fault(2)
def test_every_item_that_hangs_is_stopped_and_no_other(warm: Any) -> None:
    def hang(x: int) -> int:
        while x in (1, 4):
            signal.pause()
        return x

    got: list[Any] = list(mrpy.pmap(hang, range(6), chunksize=6, timeout=0.4, on_error="return"))
    assert [x for x, value in enumerate(got) if isinstance(value, ItemTimeout)] == [1, 4]
    assert [value for value in got if isinstance(value, int)] == [0, 2, 3, 5]
    assert_usable(warm)


@pytest.mark.fault(2)
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("chunksize", [1, 2])
def test_how_long_an_answer_is_on_its_way_counts_for_no_item(
    warm: Any, monkeypatch: pytest.MonkeyPatch, chunksize: int, fails: bool
) -> None:
    """Whoever reads it may be busy."""
    read = ParentEnd._read
    has_read: set[Any] = set()

    def slowly(self: Any) -> Any:
        room = self._parser.room()
        if room is not None and len(room) > MB and self in has_read:
            has_read.remove(self)
            time.sleep(0.2)
            raise BlockingIOError  # there will be more, and we are told so
        has_read.add(self)
        return read(self)

    def large(x: int) -> bytes:
        if fails:
            raise ValueError(bytes(3 * MB))
        return bytes(3 * MB)

    monkeypatch.setattr(ParentEnd, "_read", slowly)
    got: list[Any] = list(mrpy.pmap(large, range(2), chunksize=chunksize, timeout=0.5, on_error="return"))
    assert [type(each) for each in got] == [ValueError if fails else bytes] * 2


@pytest.mark.fault(2)
def test_a_worker_that_is_stopped_amid_its_answer_is_replaced(warm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ParentEnd._read
    victims: list[int] = []

    def stops(self: Any) -> Any:
        if self._parser.room() is not None and not victims:
            victims.extend(worker.pid for worker in warm.driver.backend._team if worker.end is self)
            os.kill(victims[0], signal.SIGSTOP)
        return read(self)

    assert_usable(warm)
    monkeypatch.setattr(ParentEnd, "_read", stops)
    got = mrpy.pmap(lambda x: bytes(32 * MB), range(3), chunksize=1, timeout=0.7)
    assert [len(each) for each in got] == [32 * MB] * 3
    assert eventually(lambda: not alive(victims[0]), 2)
    assert_usable(warm)


# ---- memory -------------------------------------------------------------------------------------------------------------------


@pytest.mark.fault(22)
@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_memory_that_cannot_be_had_is_an_error_of_its_item(backend: str) -> None:
    def hungry(x: int) -> int:
        return len(bytearray(2**62 if x == 3 else 10))

    got: list[Any] = list(mrpy.pmap(hungry, range(6), backend=backend, workers=2, chunksize=6, on_error="return"))
    assert isinstance(got.pop(3), MemoryError)
    assert got == [10] * 5


class Large:
    """A result of which a worker has room for five; a sixth has it killed, as the kernel would."""

    def __init__(self, number: int) -> None:
        self.number = number


def within_memory() -> Callable[[int], Large]:
    alive: WeakSet[Large] = WeakSet()

    def make(x: int) -> Large:
        made = Large(x)
        alive.add(made)
        if len(alive) > 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    return make


@pytest.mark.fault(22)
@pytest.mark.parametrize("options", [
    {"chunksize": 20}, {"chunksize": "auto"}, {"chunksize": 20, "ordered": False},
    {"chunksize": 8, "buffersize": 16}, {"chunksize": 20, "checkpoint": "here"},
], ids=str)  # fmt: skip
def test_a_chunk_that_takes_too_much_memory_is_run_in_smaller_parts(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No item is blamed for what all of them take together."""
    monkeypatch.chdir(tmp_path)
    with mrpy.session("processes", workers=2) as session:
        got = [made.number for made in mrpy.pmap(within_memory(), range(40), **options)]
        assert sorted(got) == list(range(40))
        assert options.get("ordered") is False or got == list(range(40))
        assert_usable(session)


class NoRoom:
    """An item for which there is no memory where it arrives."""

    def __reduce__(self) -> Any:
        return bytearray, (2**62,)


@pytest.mark.fault(22)
def test_items_that_find_no_memory_where_they_arrive_are_errors_of_their_own(warm: Any) -> None:
    items = [NoRoom() if x in (3, 9) else x for x in range(16)]
    got: list[Any] = list(mrpy.pmap(lambda x: x, items, chunksize=16, on_error="return"))
    assert [place for place, value in enumerate(got) if isinstance(value, MemoryError)] == [3, 9]
    assert [value for value in got if isinstance(value, int)] == [x for x in range(16) if x not in (3, 9)]
    assert_usable(warm)


@pytest.mark.fault(22)
def test_a_result_that_does_not_fit_under_a_limit_is_an_error_of_its_item() -> None:
    def large(x: int) -> bytes:
        resource.setrlimit(resource.RLIMIT_AS, (700 * MB, resource.RLIM_INFINITY))
        return bytes(400 * MB if x == 3 else 10)  # it fits once, but not with its pickle

    with mrpy.session("processes", workers=1) as session:
        got: list[Any] = list(mrpy.pmap(large, range(6), chunksize=6, on_error="return"))
        error = got.pop(3)
        assert isinstance(error, MemoryError | mrpy.errors.SerializationError)
        assert got == [bytes(10)] * 5
        assert_usable(session)
