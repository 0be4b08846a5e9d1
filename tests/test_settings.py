"""What is set in the user's thread and changes what functions make of numbers holds wherever they run."""

from __future__ import annotations

import contextvars
import decimal
import multiprocessing.managers
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy
import pytest

import mrpy
from mrpy.scheduler.calls import Code
from mrpy.scheduler.settings import settings

REMOTE = ["processes", "dask"]
BACKENDS = ["serial", "threads", *REMOTE]


@pytest.fixture
def limits() -> Iterator[None]:
    before = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    yield
    sys.setrecursionlimit(before[0])
    sys.set_int_max_str_digits(before[1])


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with mrpy.session(request.param, workers=2):
        yield request.param


def third(x: int) -> str:
    return str(Decimal(1) / (3 * x))


def inverse(x: int) -> Any:
    import numpy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return numpy.float64(1) / numpy.float64(x)


def everywhere(function: Any, items: Any) -> list[Any]:
    """By every way to a worker."""
    return [
        *mrpy.pmap(function, items),
        *(mrpy.submit(function, item).result() for item in items),
        mrpy.preduce(max, mrpy.pmap(function, items)),
        *mrpy.stream(items).map(function).sorted(),
    ]


def test_arguments_of_the_program_are_there(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["program", "--size=3"], ["program"], ["program", "4"]):
        monkeypatch.setattr(sys, "argv", arguments)
        assert everywhere(lambda _: tuple(sys.argv), [1]) == [tuple(arguments)] * 4


def deep(x: int) -> int:
    return 0 if x == 0 else 1 + deep(x - 1)


def digits(x: int) -> int:
    return len(str(10**x))


def test_calls_may_go_as_deep_and_numbers_be_as_long_as_the_user_has_set(backend: str, limits: None) -> None:
    sys.setrecursionlimit(6000)
    sys.set_int_max_str_digits(0)
    assert everywhere(deep, [4000]) == [4000] * 4
    assert everywhere(digits, [6000]) == [6001] * 4
    if backend in REMOTE and sys.version_info[:2] != (3, 12):  # there C has a limit of its own
        # what they return may be as deep
        assert str(next(mrpy.pmap(nested, [1200]))).count("[") == 1200
    sys.setrecursionlimit(1000)
    sys.set_int_max_str_digits(1000)
    with pytest.raises(RecursionError):
        next(mrpy.pmap(deep, [4000]))
    with pytest.raises(ValueError, match="1000 digits"):
        next(mrpy.pmap(digits, [6000]))


def nested(x: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(x - 1):
        made = [made]
    return made


def test_workers_of_ours_may_ask_the_managers_of_the_user(backend: str) -> None:
    def key(_: Any) -> bytes:
        return bytes(multiprocessing.current_process().authkey)

    ours = key(None)
    assert set(everywhere(key, [1, 2])) == {ours}
    assert ours in Code(key, "key").payload().body
    assert ours not in Code(key, "key").blob(), "which may go to workers of others"


def test_decimals_have_as_many_digits_as_the_user_has_set(backend: str) -> None:
    usual = everywhere(third, [1, 1])
    assert set(usual) == {"0." + 28 * "3"}
    with decimal.localcontext() as context:
        context.prec = 50
        assert set(everywhere(third, [1, 1])) == {"0." + 50 * "3"}
        context.rounding = decimal.ROUND_UP
        assert set(everywhere(third, [1, 1])) == {"0." + 49 * "3" + "4"}
    assert everywhere(third, [1, 1]) == usual, "and has them back"


def test_what_decimal_takes_for_an_error_is_one(backend: str) -> None:
    def signal(x: int) -> str:
        return str(Decimal(1) / x)

    with decimal.localcontext() as context:
        context.traps[decimal.DivisionByZero] = False
        assert list(mrpy.pmap(signal, [0, 1])) == ["Infinity", "1"]
        context.traps[decimal.Inexact] = True
        with pytest.raises(decimal.Inexact):
            list(mrpy.pmap(signal, [3]))
    with pytest.raises(decimal.DivisionByZero):
        list(mrpy.pmap(signal, [0]))


def test_numpy_raises_where_the_user_has_it_raise(backend: str) -> None:
    assert list(mrpy.pmap(inverse, [0.0])) == [numpy.inf]
    with numpy.errstate(divide="raise"):
        got = list(mrpy.pmap(inverse, [0.0, 2.0], on_error="return"))
        assert isinstance(got[0], FloatingPointError) and got[1] == 0.5
        with pytest.raises(FloatingPointError):
            mrpy.submit(inverse, 0.0).result()
    assert list(mrpy.pmap(inverse, [0.0])) == [numpy.inf]


def test_what_numpy_calls_a_function_about_is_a_warning_elsewhere(backend: str) -> None:
    with numpy.errstate(divide="call", call=lambda *_: None):
        assert list(mrpy.pmap(inverse, [0.0])) == [numpy.inf]


def test_numpy_writes_numbers_as_the_user_has_it_write_them(backend: str) -> None:
    def written(x: float) -> str:
        return str(numpy.array([x, 1e-7]))

    usual = everywhere(written, [2 / 3] * 2)
    assert set(usual) == {"[6.66666667e-01 1.00000000e-07]"}
    with numpy.printoptions(precision=3, suppress=True, legacy="1.13"):
        assert set(everywhere(written, [2 / 3] * 2)) == {written(2 / 3)} == {"[ 0.667  0.   ]"}
    with numpy.printoptions(formatter={"float": "about {:.0f}".format}, nanstr="none"):
        assert all("n" in each for each in everywhere(written, [float("nan")] * 2)), "functions stay here"
    assert everywhere(written, [2 / 3] * 2) == usual, "and has them back"


def test_each_thread_has_its_own(backend: str) -> None:
    found = {}
    session = mrpy.session(backend, workers=2)

    def ask(digits: int) -> None:
        decimal.getcontext().prec = digits
        found[digits] = {len(each) - 2 for _ in range(5) for each in mrpy.pmap(third, [1] * 4)}

    with session:
        threads = [threading.Thread(target=ask, args=[digits]) for digits in (5, 40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert found == {5: {5}, 40: {40}}


def test_a_thread_that_has_the_number_of_one_that_has_ended_is_another() -> None:
    run = mrpy.pmap(third, [1] * 30, backend="serial", chunksize=1)
    found = []

    def begin() -> None:
        decimal.getcontext().prec = 40
        go_on()

    def go_on() -> None:
        found.append((threading.get_ident(), next(run)))

    for target in (begin, *[go_on] * 20):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join(60)
    idents, values = zip(*found, strict=True)
    if idents[0] not in idents[1:]:
        pytest.skip("none had it")
    assert set(values) == {"0." + 40 * "3"}


# ---- warnings --------------------------------------------------------------------------------------------


class OwnWarning(UserWarning):
    pass


def warn(x: int) -> int:
    warnings.warn("a number", RuntimeWarning, stacklevel=1)
    return x


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_warning_that_the_user_has_made_an_error_is_one(backend: str) -> None:
    with mrpy.session(backend, workers=2), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(mrpy.pmap(warn, [1])) == [1]
        warnings.filterwarnings("error", message="a num", category=RuntimeWarning)
        with pytest.raises(RuntimeWarning, match="a number"):
            list(mrpy.pmap(warn, [1]))
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        assert list(mrpy.pmap(warn, [1])) == [1], "the first filter that fits decides"
        warnings.simplefilter("error", OwnWarning)
        assert list(mrpy.pmap(warn, [1])) == [1], "a class that workers do not have hinders nobody"
    assert list(mrpy.pmap(abs, [1], backend=backend, workers=2)) == [1]


@pytest.mark.parametrize("backend", REMOTE)
def test_the_filters_of_a_worker_are_as_before_when_a_task_is_over(backend: str) -> None:
    def filters(_: int) -> list[str]:
        return [each[0] for each in warnings.filters]

    with mrpy.session(backend, workers=1):
        with warnings.catch_warnings():
            warnings.resetwarnings()
            before = list(mrpy.pmap(filters, [1]))
            warnings.simplefilter("error")
            assert list(mrpy.pmap(filters, [1])) == [["error"]]
            warnings.resetwarnings()
            assert list(mrpy.pmap(filters, [1])) == before


def test_where_nothing_is_set_there_is_nothing_to_take_along() -> None:
    with decimal.localcontext(decimal.Context(traps=decimal.getcontext().traps)), warnings.catch_warnings():
        warnings.resetwarnings()
        assert [settings(filters=True) for _ in range(3)] == [None] * 3
        decimal.getcontext().prec = 5
        assert [settings(filters=True) for _ in range(3)] != [None] * 3


def test_what_is_set_again_after_it_was_as_usual_is_seen() -> None:
    with numpy.errstate(), numpy.printoptions(), warnings.catch_warnings():
        for _ in range(3):
            warnings.resetwarnings()
            numpy.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
            numpy.set_printoptions(precision=8)
            assert [settings(filters=True) for _ in range(2)] == [None] * 2
            numpy.seterr(over="raise")
            numpy.set_printoptions(precision=3)
            warnings.simplefilter("error")
            for _ in range(2):
                found = settings(filters=True)
                assert found is not None
                assert found.numpy is not None
                assert ("over", "raise") in found.numpy
                assert found.printing == (("precision", 3),)
                assert found.warnings is not None


def test_who_sets_nothing_has_nothing_imported_for_it() -> None:
    code = """
        import mrpy, sys
        def loaded(_):
            import sys
            return [name for name in ("decimal", "numpy", "warnings", "contextlib") if name in sys.modules]
        print(*mrpy.pmap(loaded, [1], workers=1))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("['warnings']\n", "")


# ---- what a function sets itself -------------------------------------------------------------------------


@pytest.fixture
def variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A context variable that workers can import."""
    text = "import contextvars\nvariable = contextvars.ContextVar('variable', default='as it was')\n"
    (tmp_path / "of_a_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("of_a_module", None)


def sets_things(x: int) -> int:
    import numpy
    from of_a_module import variable

    decimal.getcontext().prec = 3
    numpy.seterr(divide="raise")
    variable.set("set")
    return x


def value(_: int) -> str:
    from of_a_module import variable

    return str(variable.get())


@pytest.mark.parametrize("backend", ["threads", *REMOTE])
def test_what_a_function_sets_no_other_finds_in_its_run(backend: str, variable: None) -> None:
    with mrpy.session(backend, workers=1):
        everywhere(sets_things, [1])
        assert set(everywhere(third, [1])) == {"0." + 28 * "3"}
        assert everywhere(inverse, [0.0]) == [numpy.inf] * 4
        assert everywhere(value, [1]) == ["as it was"] * 4


class SetsUp(mrpy.Job):
    def setup(self) -> None:
        sets_things(0)

    def map(self, x: int) -> Iterator[tuple[int, Any]]:
        yield x % 2, self.found()

    def reduce(self, _: int, found: Any) -> Any:
        return [*found, self.found()]

    def found(self) -> tuple[str, str]:
        return third(1), value(1)


@pytest.mark.parametrize("digits", [28, 40])
def test_what_a_set_up_sets_holds_in_all_of_its_run(backend: str, variable: None, digits: int) -> None:
    @mrpy.stage(setup=lambda: sets_things(0))
    def thirds(numbers: Iterator[int], _: int) -> Iterator[str]:
        yield from (third(1) for _ in numbers)

    def run() -> None:
        with decimal.localcontext() as context, mrpy.session(backend, workers=1, chunksize=1):
            context.prec = digits
            assert set(thirds(range(9))) == {"0.333"}
            context.prec = digits
            for _, found in SetsUp().run(range(9)):
                assert set(found) == {("0.333", "set")}

    contextvars.copy_context().run(run)
