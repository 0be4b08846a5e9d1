"""Row 19 and what goes with it: what tasks print, log and warn of is seen in the parent, and does no harm."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import linecache
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from laws import BACKENDS, eventually
from watching import run_script, script_environment

import mrpy
from mrpy.scheduler.backends import relay


def printed(function: Any, items: Any, **options: Any) -> list[str]:
    """What the tasks of a run print on standard output, as lines."""
    with contextlib.redirect_stdout(io.StringIO()) as caught:
        list(mrpy.pmap(function, items, **{"workers": 2, "chunksize": 1, **options}))
    return caught.getvalue().splitlines()


def test_a_line_says_which_item_printed_it_and_comes_before_the_result() -> None:
    assert sorted(printed(print, ["a", "b"])) == ["(item 0) a", "(item 1) b"]
    assert printed(print, ["a", "b"], workers=1, chunksize=2) == ["(item 0) a", "(item 1) b"]


def test_a_line_that_is_not_ended_is_ended_with_its_task() -> None:
    assert printed(lambda x: print(x, end=""), "ab", workers=1) == ["(item 0) a", "(item 1) b"]


def test_lines_of_threads_and_workers_are_not_mixed_up() -> None:
    def talk(x: int) -> None:
        def say() -> None:
            for _ in range(200):
                sys.stdout.write("y" * 70 + "\n")

        threads = [threading.Thread(target=say) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]

    lines = printed(talk, range(4))
    assert len(lines) == 4 * 4 * 200
    assert all(line.endswith(") " + "y" * 70) for line in lines)


def test_a_signal_handler_may_print_while_a_result_is_written() -> None:
    def noisy(x: int) -> bytes:
        signal.signal(signal.SIGALRM, lambda *_: print("ring"))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        time.sleep(0.01)
        return bytes(200_000)

    def quiet(x: int) -> int:
        signal.setitimer(signal.ITIMER_REAL, 0)
        return x

    with mrpy.session("processes", workers=1):
        with contextlib.redirect_stdout(io.StringIO()) as caught:
            assert [len(each) for each in mrpy.pmap(noisy, range(50), chunksize=1)] == [200_000] * 50
            assert list(mrpy.pmap(quiet, range(3))) == [0, 1, 2]
    assert "ring" in caught.getvalue()


@pytest.mark.fault(19)
def test_a_task_that_closes_its_output_closes_it_for_nobody_else() -> None:
    with mrpy.session("processes", workers=1):
        assert printed(lambda x: sys.stdout.close(), range(2)) == []
        assert printed(print, ["still here"]) == ["(item 0) still here"]


@pytest.mark.fault(18, 19)
def test_a_child_of_a_task_prints_where_the_parent_does_and_not_into_the_protocol(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fork(x: int) -> int:
        pid = os.fork()
        if not pid:
            print("from the child", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        subprocess.run(["echo", "from a program"], stdout=sys.stdout, check=True)
        return x

    with mrpy.session("processes", workers=1):  # workers write where the parent did when they were started
        assert list(mrpy.pmap(fork, range(1))) == [0]
    said = capfd.readouterr().out
    assert "from the child" in said
    assert "from a program" in said


@pytest.mark.fault(19)
def test_a_parent_whose_output_is_closed_goes_on() -> None:
    script = (
        "import mrpy, sys\nsys.stdout.close()\n"
        "assert list(mrpy.pmap(lambda x: print(x) or x, range(9), workers=2)) == list(range(9))\n"
        "sys.stderr.write('fine')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "fine")


@pytest.mark.fault(19)
@pytest.mark.parametrize("first", ["mrpy.submit(abs, 1).result()", "mrpy.session('processes', workers=1).__enter__()"])
def test_where_standard_streams_are_closed_nothing_of_ours_has_their_numbers(first: str, tmp_path: Path) -> None:
    """As of programs that `ssh` detaches. A file of the user's that has such a number is not the worker's."""
    script = f"""
import os, mrpy
def write(_):
    for fd in (1, 2):
        os.write(fd, b"from a C library")
    return [os.readlink(f"/proc/self/fd/{{fd}}") for fd in range(3)]
taken = open(os.devnull, "rb", buffering=0), open("own", "wb", buffering=0)
assert taken[1].fileno() == 1
taken[0].close()
{first}
numbers = next(mrpy.pmap(write, [0], workers=1))
os.write(2, b"from a C library")
print(next(mrpy.pmap(write, [0], workers=1)) == numbers, numbers, os.readlink("/proc/self/fd/0"), file=open("said", "w"))
"""
    (tmp_path / "script.py").write_text(script)
    command = f"exec {sys.executable} script.py <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", command], env=script_environment(), cwd=tmp_path, timeout=30, check=False)
    nothing = os.devnull
    assert (done.returncode, (tmp_path / "own").read_bytes()) == (0, b"")
    assert (tmp_path / "said").read_text() == f"True {[nothing] * 3} {nothing}\n"


# ---- logging ---------------------------------------------------------------------------------------------


def test_records_come_to_the_logger_of_their_name_with_their_item(caplog: pytest.LogCaptureFixture) -> None:
    def talk(x: int) -> int:
        log = logging.getLogger("some.library")
        log.debug("not this")
        log.info("value %d", x, extra={"thing": threading.Lock()})
        if x == 1:
            try:
                raise LookupError("gone")
            except LookupError:
                log.exception("oh")
        return x

    with caplog.at_level(logging.INFO):
        list(mrpy.pmap(talk, range(3), workers=2))
    told = {(record.name, record.levelname, record.getMessage()) for record in caplog.records}
    assert told == {("some.library", "INFO", f"(item {n}) value {n}") for n in range(3)} | {
        ("some.library", "ERROR", "(item 1) oh")
    }
    [oh] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert oh.mrpy_item == 1  # type: ignore[attr-defined]
    assert "LookupError: gone" in (oh.exc_text or "")


@pytest.mark.parametrize("backend", ["threads", "processes", "dask"])
def test_what_looks_at_the_parts_of_a_record_finds_them_as_they_were_given(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As formatters that write JSON do, and filters."""

    def talk(x: int) -> None:
        log = logging.getLogger("structured")
        log.warning("value %d of %s", x, Path("there"), extra={"user": {"id": 7, "of": ("a", Path("b"))}})
        log.warning("%(n)d %%", {"n": x}, stack_info=True)
        log.warning({"n": x, "where": Path("there")})
        log.warning("100 %")
        log.warning("loss %.2f", np.float64(0.5))

    np = pytest.importorskip("numpy")
    with mrpy.session(backend, workers=1):
        list(mrpy.pmap(talk, [3]))
    first, second, third, fourth, fifth = [each for each in caplog.records if each.name == "structured"]
    copied = backend != "threads"
    about, text = ("(item 0) ", str) if copied else ("", Path)
    assert (first.msg, first.args) == (f"{about}value %d of %s", (3, text("there")))
    assert first.user == {"id": 7, "of": ("a", text("b"))}  # type: ignore[attr-defined]
    assert (second.msg, second.args, second.getMessage()) == (f"{about}%(n)d %%", {"n": 3}, f"{about}3 %")
    assert "in talk" in (second.stack_info or "")
    assert (third.msg, third.args) == ({"n": 3, "where": text("there")}, ())
    assert fourth.getMessage() == f"{about}100 %"
    assert (fifth.msg, fifth.args) == (f"{about}loss %.2f", (0.5,))
    assert [getattr(each, "mrpy_item", None) for each in (first, third)] == [0 if copied else None] * 2


@pytest.mark.parametrize("message", [5, [1, 2], None, 2.5])
def test_a_message_that_is_no_text_says_which_item(message: object, caplog: pytest.LogCaptureFixture) -> None:
    list(mrpy.pmap(lambda _: logging.getLogger("odd").warning(message), [0], workers=1))
    assert [record.getMessage() for record in caplog.records if record.name == "odd"] == [f"(item 0) {message}"]


def test_what_is_large_in_a_record_is_a_text(caplog: pytest.LogCaptureFixture) -> None:
    def talk(_: int) -> None:
        again = [0]
        for _ in range(16):
            again = [again, again]
        log = logging.getLogger("large")
        log.warning("%s of %s", [*range(100_000)], [1], extra={"of": {"all": [*range(100_000)], "no": (2,)}})
        log.warning("%.9s", again)

    list(mrpy.pmap(talk, [0], workers=1))
    first, second = [record for record in caplog.records if record.name == "large"]
    assert first.args == (str([*range(100_000)]), [1])
    assert first.of == {"all": str([*range(100_000)]), "no": (2,)}  # type: ignore[attr-defined]
    assert second.getMessage() == "(item 0) [[[[[[[[["


def test_a_record_whose_arguments_are_not_plain_says_the_same(caplog: pytest.LogCaptureFixture) -> None:
    def talk(x: int) -> None:
        knot: list[Any] = []
        knot += knot, knot
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        log = logging.getLogger("odd")
        log.warning("%r", Path("there"))
        log.warning("%s", knot)
        log.warning(knot)
        log.warning("%d", "none")
        log.warning(LookupError("gone"))
        log.warning(deep)

    list(mrpy.pmap(talk, [0], workers=1))
    said = [record.getMessage() for record in caplog.records if record.name == "odd"]
    assert said[:2] == [f"(item 0) {Path('there')!r}", "(item 0) [[...], [...]]"]
    assert said[2] == f"(item 0) {['[[...], [...]]'] * 2}" and "arguments do not fit" in said[3]
    assert said[4] == "(item 0) gone"
    assert "RecursionError" in said[5]


def test_a_level_that_is_set_later_holds_for_the_next_call(caplog: pytest.LogCaptureFixture) -> None:
    def talk(x: int) -> None:
        logging.getLogger("loud").debug("hear me")

    with mrpy.session("processes", workers=1):
        mrpy.submit(talk, 0).result()
        assert not caplog.records
        with caplog.at_level(logging.DEBUG, "loud"):
            mrpy.submit(talk, 0).result()
    assert [record.name for record in caplog.records] == ["loud"]


@pytest.mark.parametrize("backend", ["threads", "processes", "dask"])
def test_a_level_holds_for_the_loggers_beneath_it(
    backend: str, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    """Also where nobody there asks for the one that it was set for, or asks for it later."""

    def talk(x: int) -> None:
        logging.getLogger("tall.house.attic").debug("hear me")
        logging.getLogger("low.cellar").warning("hear me not")
        logging.getLogger("tall.house")

    for name in ("tall", "low"):
        request.addfinalizer(functools.partial(logging.getLogger(name).setLevel, logging.NOTSET))
    with mrpy.session(backend, workers=1):
        mrpy.submit(talk, 0).result()
        caplog.clear()
        logging.getLogger("tall").setLevel(logging.DEBUG)
        logging.getLogger("low").setLevel(logging.ERROR)
        mrpy.submit(talk, 0).result()
        assert [record.name for record in caplog.records] == ["tall.house.attic"]
    with mrpy.session(backend, workers=1):
        caplog.clear()
        mrpy.submit(talk, 0).result()
        assert [record.name for record in caplog.records] == ["tall.house.attic"]


def test_a_level_that_is_taken_back_is_taken_back_in_workers_too(caplog: pytest.LogCaptureFixture) -> None:
    def talk(name: str) -> None:
        logging.getLogger(name).info("hear me")

    with mrpy.session("processes", workers=1), caplog.at_level(logging.INFO):
        with caplog.at_level(logging.ERROR, "noisy"), caplog.at_level(logging.ERROR, "noisy later"):
            mrpy.submit(talk, "noisy").result()
        assert not caplog.records
        mrpy.submit(talk, "noisy").result()
        mrpy.submit(talk, "noisy later").result()
    assert [record.name for record in caplog.records] == ["noisy", "noisy later"]


def test_logging_that_is_as_nobody_had_set_it_up_again_is_so_in_workers_too(tmp_path: Path) -> None:
    script = """
import logging, mrpy
def hears(_): return logging.getLogger("x").isEnabledFor(logging.DEBUG)
def told(): return next(mrpy.pmap(hears, [0], workers=1))
logging.getLogger("x").setLevel(logging.DEBUG)
print(told())
logging.getLogger("x").setLevel(logging.NOTSET)
print(told())
logging.basicConfig(level=logging.DEBUG)
print(told())
logging.root.handlers.clear()
logging.root.setLevel(logging.WARNING)
print(told())
"""
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["True", "False", "True", "False"]


def test_a_handler_that_ends_the_program_breaks_no_session(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ends(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sys.exit(3)

    def talk(x: int) -> int:
        logging.getLogger("ends").critical("out of coffee")
        return x

    monkeypatch.setattr(logging.getLogger("ends"), "handlers", [Ends()])
    with mrpy.session("processes", workers=1):
        assert list(mrpy.pmap(talk, range(2))) == [0, 1]
        assert mrpy.submit(talk, 2).result() == 2
    assert "raised SystemExit(3)" in capsys.readouterr().err


@pytest.mark.fault(18)
@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_a_child_that_a_task_forks_logs_and_warns_as_if_nobody_relayed(backend: str, capfd: Any) -> None:
    """There it raised, since the child has nobody to tell."""

    def fork(n: int) -> int:
        pid = os.fork()
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        try:
            logging.getLogger("child").critical("out of coffee")
            warnings.warn("no milk, either", stacklevel=1)  # which may be an error here
        except OSError:
            os._exit(1)
        finally:
            os._exit(0)

    with mrpy.session(backend, workers=1):
        assert list(mrpy.pmap(fork, range(2))) == [0, 0]
        logging.getLogger("child").setLevel(logging.WARNING)  # now they have been told of logging
        assert list(mrpy.pmap(fork, range(2))) == [0, 0]
    assert capfd.readouterr().err.count("out of coffee") == 4


# ---- warnings --------------------------------------------------------------------------------------------


def test_a_warning_is_shown_once_whoever_gives_it_how_often() -> None:
    def warn(x: int) -> int:
        warnings.warn("once is enough", stacklevel=1)
        return x

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        list(mrpy.pmap(warn, range(40), workers=2, chunksize=1))
    assert [str(each.message) for each in seen] == ["once is enough"]
    assert seen[0].filename == __file__


def warns(x: int) -> int:
    warnings.warn("again", RuntimeWarning, stacklevel=1)
    return x


@pytest.mark.parametrize("call", ["pmap", "submit"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_warning_is_shown_as_often_as_the_parents_filters_want_it(backend: str, call: str) -> None:
    """Workers have given it before, and are kept."""

    def run() -> int:
        with warnings.catch_warnings(record=True) as seen:
            warnings.resetwarnings()  # where some are errors, as with these tests, tasks have filters of their own
            warnings.simplefilter("always")
            mrpy.submit(warns, 1).result() if call == "submit" else list(mrpy.pmap(warns, [1]))
        return len(seen)

    with mrpy.session(backend, workers=1):
        assert [run() for _ in range(4)] == [1] * 4


@pytest.mark.parametrize("backend", BACKENDS[2:])
def test_what_a_task_has_set_of_warnings_stays(backend: str) -> None:
    """As in the library that it has imported, which does so."""
    with mrpy.session(backend, workers=1), warnings.catch_warnings(record=True) as seen:
        warnings.resetwarnings()
        warnings.simplefilter("always")
        assert list(mrpy.pmap(warns, [1])) == [1] and len(seen) == 1
        mrpy.submit(warnings.filterwarnings, "ignore", "again").result()
        assert list(mrpy.pmap(warns, [1])) == [1] and len(seen) == 1
        mrpy.submit(warnings.filterwarnings, "error", "again").result()
        with pytest.raises(RuntimeWarning, match="again"):
            list(mrpy.pmap(warns, [1]))


def test_a_flood_of_equal_warnings_is_not_sent_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(relay, "_warn", lambda *told: sent.append(told))
    with mrpy.session("processes", workers=1), warnings.catch_warnings():
        warnings.resetwarnings()
        assert sum(mrpy.pmap(lambda n: [warns(0) for _ in range(n)] and n, [4000])) == 4000
        assert len(sent) == 1


@pytest.mark.parametrize("filename", ["<string>", "/somewhere/else.py", ""])
def test_a_warning_is_shown_that_comes_from_no_file_that_is_known_here(filename: str) -> None:
    """As in a notebook, from ``python -c``, or from a module that only workers have imported."""
    made: dict[str, Any] = {"warnings": warnings}
    exec(compile("def warn(x):\n    warnings.warn('look', RuntimeWarning)\n    return x", filename, "exec"), made)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        assert list(mrpy.pmap(made["warn"], range(4), workers=2)) == [0, 1, 2, 3]
    assert [(str(each.message), each.category, each.lineno) for each in seen] == [("look", RuntimeWarning, 2)]


def test_two_files_may_warn_of_the_same_on_the_same_line() -> None:
    def function(filename: str) -> Any:
        made: dict[str, Any] = {"warnings": warnings}
        exec(compile("def warn(x):\n    warnings.warn('look')", filename, "exec"), made)
        return made["warn"]

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for filename in ("one.py", "two.py", "one.py"):
            list(mrpy.pmap(function(filename), range(2), workers=1))
    assert [each.filename for each in seen] == ["one.py", "two.py"]


def test_a_traceback_has_the_lines_that_only_this_process_has() -> None:
    """As those of a notebook's cells, which are in no file."""
    source = "def inner(x):\n    return 1 // x\n\ndef outer(x):\n    return inner(x)\n"
    made: dict[str, Any] = {}
    exec(compile(source, "<cell 7>", "exec"), made)
    linecache.cache["<cell 7>"] = len(source), None, source.splitlines(keepends=True), "<cell 7>"
    with pytest.raises(ZeroDivisionError) as caught:
        list(mrpy.pmap(made["outer"], [0], workers=1))
    told = str(caught.value.__cause__)
    assert 'File "<cell 7>", line 5, in outer\n    return inner(x)\n' in told
    assert 'File "<cell 7>", line 2, in inner\n    return 1 // x\n' in told and told.count("1 // x") == 1


def test_the_parents_filters_decide() -> None:
    def warn(x: int) -> int:
        warnings.warn("never seen", RuntimeWarning, stacklevel=1)
        return x

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("ignore", RuntimeWarning)
        list(mrpy.pmap(warn, range(4), workers=2))
    assert not seen


def test_the_parents_filters_know_the_module() -> None:
    def warn(x: int) -> int:
        warnings.warn("never seen", RuntimeWarning, stacklevel=1)
        return x

    with warnings.catch_warnings(record=True) as seen:
        warnings.filterwarnings("ignore", module="test_out")
        list(mrpy.pmap(warn, range(4), workers=2))
    assert not seen


def test_a_task_may_catch_its_own_warnings() -> None:
    def warn(x: int) -> str:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            warnings.warn("mine", stacklevel=1)
        return str(seen[0].message)

    assert list(mrpy.pmap(warn, range(2), workers=2)) == ["mine"] * 2


def test_a_package_that_has_a_logger_of_its_own_class_has_it_in_workers_too(tmp_path: Path) -> None:
    """As astropy does, which could not be imported there."""
    (tmp_path / "loud.py").write_text(
        "import logging\n"
        "class Loud(logging.Logger):\n"
        "    def shout(self, text): self.debug(text.upper())\n"
        "before = logging.getLoggerClass()\n"
        "logging.setLoggerClass(Loud)\n"
        "log = logging.getLogger('loud')\n"
        "logging.setLoggerClass(before)\n"
        "def say(text): log.shout(text)\n"
    )
    script = """
        import logging, mrpy, sys
        sys.path.insert(0, sys.argv[1])
        import loud
        logging.basicConfig(stream=sys.stdout, format="%(name)s %(message)s")
        loud.log.setLevel(logging.DEBUG)
        logging.getLogger("quiet").setLevel(logging.ERROR)
        def work(text):
            loud.say(text)
            logging.getLogger("quiet").warning("not seen")
            logging.getLogger("other").warning("seen")
        list(mrpy.pmap(work, ["a"], workers=1))
    """
    done = run_script("", "-c", textwrap.dedent(script), str(tmp_path))
    assert (done.stdout, done.stderr) == ("loud (item 0) A\nother (item 0) seen\n", "")


@pytest.mark.fault(19)
def test_a_stream_that_cannot_encode_a_line_gets_the_others_and_what_it_can() -> None:
    script = "import mrpy\nlist(mrpy.pmap(print, ['a', '\\u20ac', 'b'], workers=1, chunksize=3))"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    assert sorted(line.rpartition(" ")[2] for line in done.stdout.splitlines()) == ["\\u20ac", "a", "b"], done.stderr


@pytest.mark.fault(19)
def test_a_record_whose_extra_has_no_text_is_logged_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    def logged(n: int) -> int:
        class Silent:
            def __str__(self) -> str:
                raise ValueError("no")

        logging.getLogger("mine").warning("here", extra={"it": Silent()})
        return n

    assert list(mrpy.pmap(logged, range(2), backend="processes", workers=1)) == [0, 1]
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records if record.name == "mine"] == ["here"] * 2


# ---- 19: whoever shows it may have to wait -----------------------------------------------------------------


class Locked(io.StringIO):
    """A stream that a lock of the user's protects."""

    def __init__(self) -> None:
        super().__init__()
        self.mine = threading.RLock()
        self.tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        with self.mine:
            return super().write(text)


class Slow(io.StringIO):
    def write(self, text: str) -> int:
        time.sleep(0.05)
        return super().write(text)


def say(x: int) -> int:
    print("at work on", x)
    return x


@pytest.mark.fault(19)
def test_who_waits_may_hold_a_lock_that_his_stream_takes() -> None:
    with contextlib.redirect_stdout(Locked()) as caught:
        with mrpy.session("processes", workers=2):
            for _ in range(3):
                with caught.mine:
                    for x in mrpy.pmap(say, range(60), chunksize=1):
                        if x % 20 == 0:
                            time.sleep(0.02)
            pending = [mrpy.submit(say, x) for x in range(9)]
            with caught.mine:
                time.sleep(0.05)
                assert [each.result(20) for each in pending] == list(range(9))
        assert sorted(caught.getvalue().splitlines()) == sorted(
            [f"(item {x}) at work on {x}" for x in range(60)] * 3 + [f"(item {x}) at work on {x}" for x in range(9)]
        )


@pytest.mark.fault(19)
def test_a_session_waits_at_its_end_for_a_stream_that_has_stood_still_before() -> None:
    class Late(Locked):
        def write(self, text: str) -> int:
            with self.mine:
                time.sleep(0.3)
                return super().write(text)

    with contextlib.redirect_stdout(Late()) as caught:
        with mrpy.session("processes", workers=1):
            pending = mrpy.submit(say, 1)
            with caught.mine:
                assert pending.result(20) == 1, "it is not waited for without end"
        assert caught.getvalue() == "(item 0) at work on 1\n"


@pytest.mark.fault(19)
def test_a_session_is_closed_by_who_holds_such_a_lock() -> None:
    with contextlib.redirect_stdout(Locked()) as caught:
        with mrpy.session("processes", workers=1) as session:
            assert mrpy.submit(say, 1).result(20) == 1
            with caught.mine:
                mrpy.submit(say, 2)
                assert eventually(lambda: caught.tries == 2), "somebody waits for the lock"
                session.close()
                assert session.driver.closed
        assert eventually(lambda: caught.getvalue().endswith("at work on 2\n"))


@pytest.mark.fault(19)
def test_what_is_said_is_seen_though_nobody_waits_for_a_result() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as caught, mrpy.session("processes", workers=1):
        pending = mrpy.submit(say, 1)
        assert eventually(lambda: caught.getvalue() == "(item 0) at work on 1\n")
        assert pending.result(20) == 1


@pytest.mark.fault(19)
def test_what_is_said_is_seen_while_its_task_goes_on_and_before_its_result(tmp_path: Path) -> None:
    def waits(x: int) -> int:
        print("waits")
        while not (tmp_path / "seen").exists():
            time.sleep(0.005)
        print("has seen")
        return x

    class Seen(io.StringIO):
        def write(self, text: str) -> int:
            (tmp_path / "seen").touch()
            return super().write(text)

    with contextlib.redirect_stdout(Seen()) as caught, mrpy.session("processes", workers=1):
        for _ in mrpy.pmap(waits, range(3), chunksize=1):
            sys.stdout.write("there\n")  # print writes it in two pieces, and a line of a task may come between
    said = [line.rpartition(") ")[2] for line in caught.getvalue().splitlines()]
    assert said.count("waits") == said.count("has seen") == said.count("there") == 3
    for n in range(1, 4):
        there = [place for place, line in enumerate(said) if line == "there"][n - 1]
        assert said[:there].count("has seen") >= n


@pytest.mark.fault(19)
def test_a_handler_may_use_the_session_whose_record_it_shows() -> None:
    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            asked.append(mrpy.submit(abs, -len(asked)).result(20))

    asked: list[int] = []
    logger = logging.getLogger("mrpy.tests.asking")
    logger.addHandler(handler := Asking())
    try:
        with mrpy.session("processes", workers=2):
            assert list(mrpy.pmap(lambda x: logger.warning("look") or x, range(5), chunksize=1)) == [0, 1, 2, 3, 4]
            assert eventually(lambda: asked == [0, 1, 2, 3, 4])
    finally:
        logger.removeHandler(handler)


@pytest.mark.fault(19)
@pytest.mark.parametrize("way", ["done", "callback", "async for", "await"])
def test_nobody_who_holds_such_a_lock_waits_for_ever(way: str) -> None:
    async def items() -> list[int]:
        return [x async for x in mrpy.pmap(say, range(5), chunksize=1)]

    async def item() -> int:
        return await mrpy.submit(say, 3)  # type: ignore[no-any-return]

    with contextlib.redirect_stdout(Locked()) as caught, mrpy.session("processes", workers=1), caught.mine:
        if way == "async for":
            assert asyncio.run(asyncio.wait_for(items(), 20)) == [0, 1, 2, 3, 4]
        elif way == "await":
            assert asyncio.run(asyncio.wait_for(item(), 20)) == 3
        else:
            told = threading.Event()
            pending = mrpy.submit(say, 3)
            pending.add_done_callback(lambda _: told.set())
            assert told.wait(20) if way == "callback" else eventually(pending.done, 20)


@pytest.mark.fault(19)
@pytest.mark.parametrize("way", ["wait", "first", "as_completed", "callback", "late callback"])
@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_what_a_call_says_is_shown_before_it_is_said_to_have_ended(backend: str, way: str) -> None:
    with contextlib.redirect_stdout(Slow()) as caught, mrpy.session(backend, workers=1):
        pending, seen = mrpy.submit(print, "here"), SimpleQueue[str]()
        if way == "as_completed":
            assert [*mrpy.as_completed([pending], 20)] == [pending]
        elif "callback" not in way:
            assert mrpy.wait([pending], 20, "FIRST_COMPLETED" if way == "first" else "ALL_COMPLETED").done
        else:
            assert eventually(lambda: pending.done() or way == "callback", 20)
            pending.add_done_callback(lambda _: seen.put(caught.getvalue()))
            assert "here" in seen.get(timeout=20)
        assert "here" in caught.getvalue()


@pytest.mark.fault(19)
def test_a_slow_stream_holds_up_no_timeout_and_no_event_loop() -> None:
    def chats(seconds: float) -> float:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            print("and")
            time.sleep(0.005)
        return seconds

    async def waits() -> int:
        ticks, task = 0, asyncio.ensure_future(asyncio.wait_for(mrpy.submit(chats, 0.3), 20))
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    with contextlib.redirect_stdout(Slow()) as caught:
        with mrpy.session("processes", workers=1):
            pending = mrpy.submit(chats, 1.0)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                pending.result(0.2)
            assert time.monotonic() - began < 2.5, "though there is always something to show"
            pending.cancel()
            assert asyncio.run(waits()) > 10
        shown = caught.getvalue().count("and")
    assert shown > 20


@pytest.mark.fault(20)
def test_ctrl_c_does_not_wait_for_all_that_was_said() -> None:
    def chats(n: int) -> int:
        for _ in range(200):
            print("and")
        return n

    with contextlib.redirect_stdout(Slow()):
        with pytest.raises(KeyboardInterrupt), mrpy.session("processes", workers=1):
            mrpy.submit(chats, 1).result(2)
            began = time.monotonic()
            raise KeyboardInterrupt
        assert time.monotonic() - began < 6, "eight seconds of it are left"


@pytest.mark.fault(20)
def test_ctrl_c_comes_through_while_something_is_shown() -> None:
    done = run_script(
        """
        import mrpy, os, signal, sys
        class Interrupted:
            def write(self, text):
                os.kill(os.getpid(), signal.SIGINT)
            def flush(self): pass
        def say(x):
            print(x)
            return x
        out, sys.stdout = sys.stdout, Interrupted()
        try:
            for _ in mrpy.pmap(say, range(3), workers=1, chunksize=1): pass
        except KeyboardInterrupt:
            out.write("interrupted")
        """
    )
    assert done.stdout == "interrupted", done.stderr


@pytest.mark.fault(19)
@pytest.mark.parametrize("way", ["async for", "await"])
def test_what_is_said_is_seen_before_a_result_that_is_awaited(way: str) -> None:
    async def items() -> None:
        if way == "await":
            for x in range(30):
                await mrpy.submit(say, x)
                assert f"at work on {x}\n" in caught.getvalue()
            return
        async for x in mrpy.pmap(say, range(30), chunksize=1):
            assert f"at work on {x}\n" in caught.getvalue()

    with contextlib.redirect_stdout(io.StringIO()) as caught, mrpy.session("processes", workers=1):
        asyncio.run(asyncio.wait_for(items(), 20))


@pytest.mark.fault(19)
@pytest.mark.parametrize("session", ["", "with mrpy.session('processes', workers=2): "])
def test_a_reader_that_comes_after_the_program_has_ended_gets_all_lines(session: str) -> None:
    code = f"import mrpy\n{session}list(mrpy.pmap(lambda x: print('z' * 1000), range(300), workers=2))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=script_environment()
    )
    time.sleep(3.0)  # the reader that is late
    out, _ = process.communicate(timeout=30)
    assert out.count("z" * 1000) == 300


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_a_standard_stream_that_a_function_holds_is_the_one_there(backend: str) -> None:
    done = run_script(
        f"""
        import mrpy, sys
        errors = sys.stderr
        def work(n, file=sys.stdout):
            print("out", n, file=file)
            print("error", n, file=errors)
            return [sys.stdout is file, sys.stderr is errors]
        print(list(mrpy.pmap(work, [1], backend={backend!r}, workers=1)))
        [there] = mrpy.pmap(lambda _: [sys.stdout], [1], backend={backend!r}, workers=1)
        print("and back", there[0] is sys.stdout)
        """
    )
    lines = ["(item 0) out 1", "[[True, True]]", "and back True"]
    assert sorted(done.stdout.splitlines()) == lines, done.stderr
    assert done.stderr == "(item 0) error 1\n"
