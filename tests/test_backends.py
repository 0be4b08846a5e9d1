"""The contract of `mrpy.scheduler.backends.base`, held against every backend there is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from laws import eventually

import mrpy
from mrpy.errors import OptionError, RemoteError, SerializationError, WorkerCrashed
from mrpy.inside import inside
from mrpy.options import BACKENDS
from mrpy.scheduler import messages as m
from mrpy.scheduler.backends import make
from mrpy.scheduler.backends.base import Backend
from mrpy.scheduler.calls import Call, Code, Noted, Parts

PATIENCE = 30.0  # seconds until silence counts as a hang

ENDS = (m.Succeeded, m.Failed, m.Lost, m.Stopped)


class Bench:
    """Drives a backend by hand: starts calls, collects facts, never waits for ever."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.facts: list[m.Fact] = []
        self._codes: dict[Callable[..., Any], Code] = {}

    def start(
        self, function: Callable[..., Any], data: Any = None, *, key: m.Key = "task", **how: Any
    ) -> None:
        inputs = how.pop("inputs", ())
        announce = how.pop("announce", False)
        code = self._codes.setdefault(function, Code(function, function.__name__, announce=announce))
        call = self.backend.pack(Call(code, data))
        order = m.Start(m.Task(key, call, tuple(inputs)), how.get("attempt", 1), how.get("careful", False))
        self.backend.start(order)

    def until(self, enough: Callable[[], object]) -> None:
        """Take in facts until there are enough."""
        end = time.monotonic() + PATIENCE
        while not enough():
            left = end - time.monotonic()
            assert left > 0, f"nothing more came; there was {self.facts}"
            self.facts += self.backend.wait(left)

    def ends(self) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, ENDS)]

    def end(self, key: m.Key = "task") -> Any:
        """The fact that ends a task; forgotten here, so that the key can be used again."""
        self.until(lambda: any(fact.key == key for fact in self.ends()))
        (fact,) = [fact for fact in self.ends() if fact.key == key]
        self.facts.remove(fact)
        return fact

    def run(self, function: Callable[..., Any], data: Any = None, **how: Any) -> Any:
        self.start(function, data, **how)
        return self.end(how.get("key", "task"))

    def value(self, function: Callable[..., Any], data: Any = None, **how: Any) -> Any:
        """Run a call that succeeds; return its value and release it."""
        key = how.get("key", "task")
        fact = self.run(function, data, **how)
        assert isinstance(fact, m.Succeeded), fact
        value = self.backend.fetch(key)
        self.backend.release(key)
        return value.load()

    def failure(self, function: Callable[..., Any], data: Any = None, **how: Any) -> BaseException:
        """Run a call that fails; return its exception as the user would see it."""
        fact = self.run(function, data, **how)
        assert isinstance(fact, m.Failed), fact
        return fact.failure.exception()

    def works(self) -> bool:
        """Whether all of its workers, not just one, still do what they are told."""
        keys = [("works", number) for number in range(2 * self.backend.workers)]
        for key in keys:
            self.start(double, 21, key=key)
        for key in keys:
            fact = self.end(key)
            if isinstance(fact, m.Lost):  # given to a worker that was still to be killed: may happen once
                fact = self.run(double, 21, key=key, attempt=2)
            assert isinstance(fact, m.Succeeded), fact
        values = [self.backend.fetch(key).load() for key in keys]
        for key in keys:
            self.backend.release(key)
        return values == [42] * len(keys)


@pytest.fixture(scope="module")
def benches() -> Iterator[dict[str, Bench]]:
    """One warm backend of each name: a test that cannot leave it usable is a bug found."""
    made: dict[str, Bench] = {}
    yield made
    for bench in made.values():
        bench.backend.close()


def bench_of(benches: dict[str, Bench], name: str) -> Bench:
    if name not in benches:
        benches[name] = Bench(make(name, 2))
        benches[name].until(lambda: benches[name].facts)
    bench = benches[name]
    bench.facts.clear()
    return bench


@pytest.fixture(params=list(BACKENDS))
def bench(request: pytest.FixtureRequest, benches: dict[str, Bench]) -> Bench:
    return bench_of(benches, request.param)


@pytest.fixture(params=["threads", "processes", "dask"])
def concurrent(request: pytest.FixtureRequest, benches: dict[str, Bench]) -> Bench:
    """A backend whose tasks run while the driver does something else."""
    return bench_of(benches, request.param)


@pytest.fixture(params=["processes", "dask"])
def remote(request: pytest.FixtureRequest, benches: dict[str, Bench]) -> Bench:
    """A backend whose workers are other processes."""
    return bench_of(benches, request.param)


# ---- what tasks do -------------------------------------------------------------------------------


def double(data: Any) -> Any:
    return data * 2


def give(data: Any) -> Any:
    return data


def gather(data: Any, *inputs: Any) -> Any:
    return [data, *inputs]


def in_parts(data: Any) -> Parts:
    return Parts(data)


def fail(error: Any) -> None:
    raise error


def fail_with(make_error: Any) -> None:
    raise make_error[0](*make_error[1:])


def sleep_in_c(seconds: float) -> None:
    time.sleep(seconds)


def sleep_in_python(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


class TwoArguments(Exception):
    """Pickles well and explodes on arrival, as many exceptions in the wild do."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


class Rude(BaseException):
    """No Exception at all."""


class Unpicklable:
    def __reduce__(self) -> Any:
        raise ValueError("I stay here")


class Bomb:
    """Pickles, and cannot be opened."""

    def __reduce__(self) -> Any:
        return fail, (ValueError("boom"),)


# ---- the life of a task --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["serial", "threads", "processes"])
def test_the_first_fact_says_how_many_tasks_it_takes(name: str) -> None:
    backend = make(name, 2)
    try:
        assert backend.wait(PATIENCE) == [m.Slots(1 if name == "serial" else 2)]
    finally:
        backend.close()


def test_a_start_is_answered_once_with_its_attempt(bench: Bench) -> None:
    assert bench.run(double, 21, attempt=7).attempt == 7
    assert bench.backend.wait(0.05) == []
    bench.backend.release("task")


def test_a_value_stays_until_its_release_and_outlives_it_once_fetched(bench: Bench) -> None:
    bench.run(double, 21)
    first, second = bench.backend.fetch("task"), bench.backend.fetch("task")
    bench.backend.release("task")
    assert first.load() == second.load() == 42
    bench.backend.release("task")


def test_the_time_that_a_task_took_is_measured_where_it_ran(bench: Bench) -> None:
    fact = bench.run(sleep_in_c, 0.1)
    bench.backend.release("task")
    assert 0.1 <= fact.seconds < 0.4


def test_inputs_arrive_whole_and_in_order(bench: Bench) -> None:
    for number in range(3):
        bench.run(give, f"value {number}", key=number)
    inputs = [m.Input(2), m.Input(0), m.Input(1), m.Input(0)]
    assert bench.value(gather, "data", inputs=inputs) == ["data", "value 2", "value 0", "value 1", "value 0"]
    for number in range(3):
        bench.backend.release(number)


@pytest.mark.parametrize("size", [1, 200_000])
def test_inputs_arrive_in_parts(bench: Bench, size: int) -> None:
    bench.run(in_parts, [letter * size for letter in "abc"], key="parts")
    inputs = [m.Input("parts", 2), m.Input("parts", 0)]
    assert bench.value(gather, inputs=inputs) == [None, "c" * size, "a" * size]
    value = bench.backend.fetch("parts").load()
    bench.backend.release("parts")
    assert value == Parts(letter * size for letter in "abc")


def test_what_a_call_notes_comes_with_its_value_and_is_no_part_of_it(bench: Bench) -> None:
    bench.run(lambda data: Noted(Parts("ab"), ("noted", 3)), key="parts")
    value = bench.backend.fetch("parts")
    assert (value.note, value.load()) == (("noted", 3), Parts("ab"))
    assert bench.value(gather, inputs=[m.Input("parts", 1)]) == [None, "b"]
    bench.backend.release("parts")
    bench.run(double, 21, key="parts")
    assert bench.backend.fetch("parts").note is None
    bench.backend.release("parts")


def test_a_part_that_is_not_there_is_a_failure(bench: Bench) -> None:
    bench.run(in_parts, ["a"], key="parts")
    bench.run(give, "whole", key="whole")
    assert isinstance(bench.run(gather, inputs=[m.Input("parts", 3)]), m.Failed)
    assert isinstance(bench.run(gather, inputs=[m.Input("whole", 0)]), m.Failed)
    bench.backend.release("parts")
    bench.backend.release("whole")
    assert bench.works()


def test_an_input_is_released_before_its_user_has_run(concurrent: Bench) -> None:
    concurrent.run(give, "early", key="input")
    concurrent.start(gather, "data", inputs=[m.Input("input")])
    concurrent.backend.release("input")
    assert isinstance(concurrent.end(), m.Succeeded)
    assert concurrent.backend.fetch("task").load() == ["data", "early"]
    concurrent.backend.release("task")


def test_a_thousand_tasks_are_each_answered_once(bench: Bench) -> None:
    for number in range(1000):
        bench.start(double, number, key=number)
    bench.until(lambda: len(bench.ends()) >= 1000)
    assert sorted(fact.key for fact in bench.ends()) == list(range(1000))
    assert all(isinstance(fact, m.Succeeded) for fact in bench.ends())
    for number in range(0, 1000, 100):
        assert bench.backend.fetch(number).load() == 2 * number
    for number in range(1000):
        bench.backend.release(number)


def test_functions_of_every_kind_can_be_run(bench: Bench) -> None:
    base = 40
    assert bench.value(lambda data: data + base, 2) == 42
    assert bench.value("{}!".format, "hello") == "hello!"

    def recurse(data: int) -> int:
        return 1 if data == 0 else data * recurse(data - 1)

    assert bench.value(recurse, 5) == 120


# ---- what travels --------------------------------------------------------------------------------


def test_thirty_megabytes_go_there_and_back(bench: Bench) -> None:
    data = os.urandom(1 << 20) * 30
    assert bench.value(give, data) == data


def test_arrays_arrive_whole_and_as_writable_as_they_were(bench: Bench) -> None:
    array = np.arange(2 << 20, dtype=np.float64)
    frozen = array.copy()
    frozen.flags.writeable = False
    bench.run(give, [array, frozen], key="arrays")
    back, back_frozen = bench.value(give, [array, frozen])
    through = bench.value(gather, inputs=[m.Input("arrays")])[1]
    bench.backend.release("arrays")
    for one, two in [(back, back_frozen), through]:
        assert np.array_equal(one, array)
        assert np.array_equal(two, array)
        assert one.flags.writeable
        assert not two.flags.writeable


def add_one_in_place(data: None, array: Any) -> Any:
    array += 1
    return array


def test_what_a_task_changes_in_place_no_other_task_sees(remote: Bench) -> None:
    remote.run(give, np.zeros(100_000), key="zeros")
    for _ in range(3):
        assert remote.value(add_one_in_place, inputs=[m.Input("zeros")])[0] == 1
    remote.backend.release("zeros")


def test_what_cannot_travel_is_a_clear_error(remote: Bench) -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="lock"):
        remote.start(lambda data: lock, 1)
    with pytest.raises(SerializationError, match="I stay here"):
        remote.start(give, Unpicklable())
    error = remote.failure(lambda data: threading.Lock(), 1)
    assert isinstance(error, SerializationError)
    assert "lock" in str(error)
    assert remote.works()


def test_what_cannot_be_opened_is_a_clear_error(remote: Bench) -> None:
    assert "boom" in str(remote.failure(give, Bomb()))
    assert isinstance(remote.run(lambda data: Bomb(), 1), m.Succeeded)
    value = remote.backend.fetch("task")
    remote.backend.release("task")
    with pytest.raises(SerializationError, match="boom"):
        value.load()
    assert remote.works()


# ---- failures ------------------------------------------------------------------------------------


def test_an_exception_arrives_as_it_was_raised(bench: Bench) -> None:
    error = bench.failure(fail, KeyError("the key"))
    assert type(error) is KeyError
    assert error.args == ("the key",)


def test_an_exception_brings_the_traceback_of_its_worker(remote: Bench) -> None:
    fact = remote.run(fail, KeyError("the key"))
    assert (fact.failure.type_name, fact.failure.message) == ("KeyError", "'the key'")
    trace = str(fact.failure.exception().__cause__)
    assert "in fail" in trace
    assert "raise error" in trace
    assert "mrpy/scheduler" not in trace


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), Rude("away")])
def test_whatever_is_raised_is_the_tasks_failure(bench: Bench, error: BaseException) -> None:
    arrived = bench.failure(fail, error)
    assert type(arrived) is type(error)
    assert arrived.args == error.args
    assert bench.works()


def test_stop_iteration_is_a_runtime_error_as_in_a_generator(bench: Bench) -> None:
    arrived = bench.failure(fail, StopIteration(5))
    assert type(arrived) is RuntimeError
    assert "StopIteration(5)" in str(arrived)
    assert bench.works()


def test_a_keyboard_interrupt_in_a_task_is_its_failure(concurrent: Bench) -> None:
    assert type(concurrent.failure(fail, KeyboardInterrupt())) is KeyboardInterrupt
    assert concurrent.works()


def test_a_keyboard_interrupt_of_a_serial_task_leaves_wait(benches: dict[str, Bench]) -> None:
    bench = bench_of(benches, "serial")
    bench.start(fail, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bench.backend.wait(PATIENCE)
    assert isinstance(bench.end(), m.Failed)
    assert bench.works()


def test_an_exception_that_can_hardly_travel_still_arrives(remote: Bench) -> None:
    error = remote.failure(fail_with, [TwoArguments, 404, "gone"])
    assert isinstance(error, TwoArguments | RemoteError)
    assert "404: gone" in str(error)
    error = remote.failure(lambda data: fail(ValueError(threading.Lock())), 1)
    assert type(error) is RemoteError
    assert "ValueError" in str(error)


def test_an_exception_may_carry_a_large_array(remote: Bench) -> None:
    error = remote.failure(fail_with, [ValueError, np.ones(100_000)])
    assert type(error) is ValueError
    assert error.args[0].shape == (100_000,)
    assert remote.works()


def leave(data: Any) -> None:
    os._exit(0)


def kill_oneself(data: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("death", [leave, kill_oneself])
def test_the_loss_of_a_worker_is_told_apart(remote: Bench, death: Callable[[Any], None]) -> None:
    fact = remote.run(death, attempt=3)
    assert isinstance(fact, m.Lost)
    assert fact.blame
    assert fact.attempt == 3
    assert isinstance(fact.failure.exception(), WorkerCrashed)
    assert remote.works()


def test_a_value_survives_the_worker_that_made_it(remote: Bench) -> None:
    for key in "ab":
        remote.run(give, key, key=key)
    for number in range(3):
        remote.run(leave, key=number)
    assert remote.value(gather, inputs=[m.Input("a"), m.Input("b")]) == [None, "a", "b"]
    assert remote.backend.fetch("a").load() == "a"
    remote.backend.release("a")
    remote.backend.release("b")


def announce_and_die(data: int, announce: Any = None) -> None:
    for item in range(data):
        if announce is not None:
            announce(item)
    os._exit(0)


def test_a_careful_attempt_that_dies_names_its_item(remote: Bench) -> None:
    fact = remote.run(announce_and_die, 4, attempt=2, careful=True, announce=True)
    assert isinstance(fact, m.Lost)
    assert (fact.item, fact.blame) == (3, True)
    assert remote.works()


def announce_all(data: int, announce: Any = None) -> bool:
    for item in range(data):
        if announce is not None:
            announce(item)
    return announce is not None


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_careful_task_announces_its_items(concurrent: Bench, attempt: int) -> None:
    assert concurrent.value(announce_all, 5, attempt=attempt, careful=True, announce=True)
    began = [fact for fact in concurrent.facts if isinstance(fact, m.Began)]
    assert began == [m.Began("task", attempt, item) for item in range(5)]
    assert not concurrent.value(announce_all, 5, announce=True)
    assert concurrent.value(double, 1, careful=True) == 2


# ---- stop, wake ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sleep", [sleep_in_python, sleep_in_c])
def test_a_running_task_can_be_stopped(concurrent: Bench, sleep: Callable[[float], None]) -> None:
    concurrent.start(sleep, 10)
    concurrent.facts += concurrent.backend.wait(0.3)
    began = time.monotonic()
    concurrent.backend.stop("task", 1)
    assert isinstance(concurrent.end(), m.Stopped)
    assert concurrent.works()
    assert time.monotonic() - began < 8  # else the sleep was merely waited for
    assert concurrent.ends() == []


def test_a_task_stopped_at_once_is_answered_once(bench: Bench) -> None:
    bench.start(sleep_in_python, 5)
    bench.backend.stop("task", 1)
    assert isinstance(bench.end(), m.Stopped)
    assert bench.works()
    assert bench.ends() == []


def test_to_stop_what_is_not_there_is_harmless(bench: Bench) -> None:
    bench.backend.stop("nobody", 1)
    bench.run(double, 1)
    bench.backend.stop("task", 1)
    assert bench.backend.fetch("task").load() == 2
    bench.backend.release("task")
    bench.start(double, 2)
    bench.backend.stop("task", 99)
    assert isinstance(bench.end(), m.Succeeded)
    bench.backend.release("task")


def test_wake_ends_a_wait(concurrent: Bench) -> None:
    timer = threading.Timer(0.1, concurrent.backend.wake)
    timer.start()
    concurrent.backend.wait(None)
    timer.join()
    concurrent.backend.wait(0)
    concurrent.backend.wake()
    concurrent.backend.wait(None)


def test_wait_returns_when_the_time_is_over(bench: Bench) -> None:
    bench.backend.wait(0)
    began = time.monotonic()
    assert bench.backend.wait(0.1) == []
    assert 0.09 <= time.monotonic() - began < 1


# ---- surroundings --------------------------------------------------------------------------------


def test_a_task_knows_that_it_is_one(bench: Bench) -> None:
    assert bench.value(lambda data: __import__("mrpy.inside").inside.inside.task)
    assert not inside.task


def test_workers_are_where_their_user_is(
    remote: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    name = f"only_here_{remote.backend.name}"
    (folder / f"{name}.py").write_text("def answer(data):\n    import os\n    return os.getcwd()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(folder))
    function = __import__(name).answer
    assert remote.value(function) == str(tmp_path)
    monkeypatch.undo()
    assert remote.value(lambda data: os.getcwd()) == os.getcwd()
    sys.modules.pop(name)


PTH = "import sys; sys.path.append({folder!r}); from pathlib import Path; import copy\n"
LATE_SITE = """
import sys
from mrpy.scheduler.backends.worker_main import _late_site
_late_site([sys.prefix, sys.exec_prefix])
import pathlib, copy, pickle
assert "site" not in sys.modules
import site
site.getsitepackages = lambda *_: [{folder!r}]
import only_by_site
"""


def test_site_is_made_up_for_late_but_never_within_an_import_of_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "only_by_site.py").write_text("")
    (tmp_path / "one.pth").write_text(PTH.format(folder=str(tmp_path / "hidden")))
    home = str(Path(mrpy.__file__).parents[1])
    script = f"import sys; sys.path.append({home!r})" + LATE_SITE.format(folder=str(tmp_path))
    command = [sys.executable, "-S", "-P", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(OptionError, match="colour"):
        mrpy.session("serial", colour="blue")


# ---- the end -------------------------------------------------------------------------------------


def left_behind(before: set[str]) -> list[str]:
    """Threads and child processes that were not there before. Dask keeps an idle thread of its own
    for the life of the process, whoever uses it."""
    known = ("Dask-Offload",)
    threads = [each.name for each in threading.enumerate() if not each.name.startswith(known)]
    children = [str(each.pid) for each in psutil.Process().children(recursive=True)]
    return [name for name in threads + children if name not in before]


def open_descriptors() -> int:
    """Without connections to elsewhere: those of the warm Dask cluster come and go as they please."""
    me = psutil.Process()
    return me.num_fds() - len(me.net_connections("inet"))


def open_files() -> list[str]:
    """What the descriptors of this process stand for."""
    folder = Path("/proc/self/fd")
    return sorted(map(os.path.realpath, folder.iterdir())) if folder.is_dir() else []


def surroundings() -> set[str]:
    return {each.name for each in threading.enumerate()} | {
        str(each.pid) for each in psutil.Process().children(recursive=True)
    }


@pytest.mark.parametrize("name", list(BACKENDS))
def test_close_leaves_nothing_behind_even_with_work_in_flight(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before, descriptors = surroundings(), open_descriptors()
    bench = Bench(make(name, 1))
    assert bench.value(double, 21) == 42
    for number in range(3):
        bench.start(sleep_in_python, 20, key=number)
    if bench.backend.threaded:
        bench.backend.wait(0.1)
    bench.backend.close()
    bench.backend.close()
    # a thread may be on its way out, and others of this process open something for a moment
    eventually(lambda: not left_behind(before) and open_descriptors() <= descriptors)
    assert left_behind(before) == []
    assert open_descriptors() <= descriptors, open_files()
    assert capfd.readouterr() == ("", "")


SCRIPT = """
import os, time
from mrpy.scheduler import messages as m
from mrpy.scheduler.backends import make
from mrpy.scheduler.calls import Call, Code

backend = make({name!r}, 1)
code = Code(lambda data: time.sleep(data) or os.getpid(), "code")
for key, data in enumerate([0, 60]):
    backend.start(m.Start(m.Task(key, backend.pack(Call(code, data))), 1, False))
while not any(isinstance(fact, m.Succeeded) for fact in backend.wait(30)):
    pass
print(backend.fetch(0).load(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["processes", "dask"])
def test_a_script_needs_no_guard_and_its_workers_die_with_it(name: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(name=name))
    home = str(Path(mrpy.__file__).parents[1])
    command, environment = [sys.executable, str(script)], {**os.environ, "PYTHONPATH": home}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        worker = psutil.Process(int(process.stdout.readline()))
        process.kill()
    psutil.wait_procs([worker], timeout=2)
    assert not worker.is_running()


def test_a_dask_worker_outlives_a_call_that_is_stopped_while_its_exception_is_told(tmp_path: Path) -> None:
    class Endless(Exception):
        def __str__(self) -> str:
            (tmp_path / "asked").touch()
            while True:
                pass

    def fails(_: None) -> None:
        raise Endless

    def naps(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    bench = Bench(make("dask", 1))
    try:
        bench.start(fails, key="fails")
        assert eventually((tmp_path / "asked").exists, 20)
        bench.backend.stop("fails", 1)
        assert isinstance(bench.end("fails"), m.Stopped)
        assert bench.value(naps, 1.5, key="naps") == 1.5  # longer than a stopped call has until it is killed
    finally:
        bench.backend.close()


def test_a_script_that_ends_with_dask_at_work_ends_at_once_and_in_silence(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(name="dask").replace("time.sleep(60)\n", ""))
    home = str(Path(mrpy.__file__).parents[1])
    command, environment = [sys.executable, str(script)], {**os.environ, "PYTHONPATH": home}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().isdigit()


def test_a_cluster_of_somebody_else_stays_as_it_was() -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp://"
    )
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        folder, path = os.getcwd(), list(sys.path)
        for settings in ({"client": client}, {"address": cluster.scheduler_address}):
            bench = Bench(make("dask", 5, **settings))
            assert bench.backend.wait(PATIENCE) == [m.Slots(2)]
            assert bench.value(double, 21) == 42
            assert isinstance(bench.failure(fail, KeyError(1)), KeyError)
            bench.start(sleep_in_python, 20)
            bench.backend.wait(0.2)
            bench.backend.close()
            assert client.submit(double, 4).result(timeout=10) == 8
        assert (os.getcwd(), sys.path) == (folder, path)


def test_a_cluster_that_grows_takes_more_tasks() -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp://"
    )
    with cluster:
        bench = Bench(make("dask", 1, address=cluster.scheduler_address))
        cluster.scale(2)
        bench.until(lambda: m.Slots(4) in bench.facts)
        bench.backend.close()
