"""The shield against signal handlers: after two signals have left it half done, and used by a handler while it rises."""

from __future__ import annotations

import _signal
import contextlib
import itertools
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mrpy
import mrpy.scheduler.session
import mrpy.scheduler.shield
from mrpy.scheduler.driver import Driver
from mrpy.scheduler.shield import Shield


class Stop(Exception):
    pass


@pytest.fixture
def came() -> Iterator[list[int]]:
    """The signals whose handler was called: that of SIGALRM raises."""
    calls: list[int] = []

    def stop(number: int, _: Any) -> None:
        calls.append(number)
        raise Stop

    before = signal.signal(signal.SIGALRM, stop), signal.signal(signal.SIGUSR1, lambda number, _: calls.append(number))
    yield calls
    signal.signal(signal.SIGALRM, before[0])
    signal.signal(signal.SIGUSR1, before[1])


def entered(shield: Shield) -> None:
    """It was entered, and a handler raised at once; then another one before it could be left."""
    shield._depth = 1


def entered_twice(shield: Shield) -> None:
    shield._depth = 2


def left_in_part(shield: Shield) -> None:
    """It was about to be left: one handler is back, the other is not."""
    shield.__enter__()
    number, handler = next(pair for pair in shield._replaced if pair[0] == signal.SIGALRM)
    signal.signal(number, handler)


@pytest.mark.parametrize("how", [entered, entered_twice, left_in_part])
def test_it_is_whole_again_when_it_is_next_used(how: Callable[[Shield], None], came: list[int]) -> None:
    handlers = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGUSR1)
    shield = Shield()
    how(shield)
    with pytest.raises(Stop):
        with shield:
            with shield:
                signal.raise_signal(signal.SIGALRM)
                signal.raise_signal(signal.SIGUSR1)
            assert came == [], "what is done here is left alone"
    assert came == [signal.SIGALRM, signal.SIGUSR1], "the other one does not wait until it is used again"
    assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGUSR1)) == handlers
    with shield:
        signal.raise_signal(signal.SIGUSR1)
    assert came[2:] == [signal.SIGUSR1]


def test_of_many_signals_whose_handlers_raise_each_is_told_of(came: list[int]) -> None:
    with pytest.raises(Stop), Shield():
        for _ in range(2000):
            signal.raise_signal(signal.SIGALRM)
    assert came == [signal.SIGALRM] * 2000


class Signals:
    """The functions of `signal`. At the n-th call of one of them SIGUSR1 comes, as it may at any."""

    def __init__(self, moment: int) -> None:
        self._moments = iter([moment])
        self._next = next(self._moments)
        self._calls = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        value = getattr(_signal, name)
        return self._amid(value) if name in ("signal", "getsignal") else value

    def _amid(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            if next(self._calls) == self._next:
                self._next = next(self._moments, 0)
                _signal.raise_signal(signal.SIGUSR1)
            return function(*arguments)

        return called


EVERY = 21 + 3 + 3  # looks at handlers, replaced ones, and the way back


@pytest.mark.parametrize("moment", range(1, EVERY + 2))
def test_a_handler_that_uses_it_while_it_rises_leaves_every_handler_in_its_place(
    moment: int, came: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shield = Shield()
    used: list[int] = []

    def uses(number: int, _: Any) -> None:
        with shield:
            with shield:
                signal.raise_signal(signal.SIGALRM)
            used.append(number)

    signal.signal(signal.SIGUSR1, uses)
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        monkeypatch.setattr(mrpy.scheduler.shield, "signal", Signals(moment))
        with pytest.raises(Stop) if moment <= EVERY else contextlib.nullcontext():
            with shield:
                pass
        monkeypatch.undo()
        assert (len(came), len(used)) == ((1, 1) if moment <= EVERY else (0, 0)), "each is told of, once"
        for _ in range(2):
            assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before
            with shield:
                assert signal.getsignal(signal.SIGALRM) == shield._note
            assert shield.noted == []
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_handler_that_raises_while_a_session_opens_has_it_closed(
    backend: str, came: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Driver] = []

    class Interrupted(Driver):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)
            signal.raise_signal(signal.SIGALRM)

    monkeypatch.setattr(mrpy.scheduler.session, "Driver", Interrupted)
    with pytest.raises(Stop), mrpy.session(backend, workers=1):
        pytest.fail("it is not open")
    assert made[0].closed, "its threads, or its workers, would stay for ever"
    assert came == [signal.SIGALRM]


def test_a_timer_whose_handler_waits_for_a_result_keeps_its_handler() -> None:
    code = """
    import mrpy, signal, time

    def uses(*_):
        mrpy.submit(abs, -1).result()

    mrpy.configure(backend="threads", workers=2)
    mrpy.submit(abs, -1).result()
    signal.signal(signal.SIGALRM, uses)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    ends = time.monotonic() + 3
    while time.monotonic() < ends and signal.getsignal(signal.SIGALRM) is uses:
        mrpy.submit(abs, -1).result()
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(signal.getsignal(signal.SIGALRM) is uses, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "True True\n"


def test_a_sub_interpreter_has_no_signals_and_does_not_turn_in_a_circle() -> None:
    """Of programs that embed Python, as mod_wsgi. Later than 3.11 these have none of our threads: an error."""
    code = """
    import sys
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    interpreters = __import__(name)
    inside = '''
    import sys; sys.path[:] = {path}
    import mrpy
    try:
        print(list(mrpy.pmap(abs, range(-3, 0))), flush=True)
    except RuntimeError as error:
        print(error, flush=True)
    '''
    run = getattr(interpreters, "exec", None) or interpreters.run_string
    run(interpreters.create(), inside.format(path=sys.path))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout in ("[3, 2, 1]\n", "daemon threads are disabled in this (sub)interpreter\n"), done
