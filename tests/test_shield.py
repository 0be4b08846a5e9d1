"""The shield against signal handlers, after two signals have left it half done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

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
    assert came == [signal.SIGALRM]
    assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGUSR1)) == handlers
    with shield:
        signal.raise_signal(signal.SIGUSR1)
    assert came[1:] == [signal.SIGUSR1, signal.SIGUSR1], "and the other one is not lost"
