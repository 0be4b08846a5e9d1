"""What the soak runs have found, each as small as it can be told."""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import Any

import pytest

import mrpy
from mrpy.errors import SerializationError
from mrpy.scheduler import messages as m
from mrpy.scheduler.backends.processes import ProcessesBackend
from mrpy.scheduler.calls import Call, Code

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class NotOpened:
    """Pickles well, and raises where it is opened."""

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    raise LookupError("does not open")


def third_does_not_open(x: int) -> Any:
    return NotOpened() if x == 2 else x


@pytest.mark.parametrize("chunksize", [1, 5])
def test_a_function_for_errors_replaces_results_that_cannot_be_opened(session: Any, chunksize: int) -> None:
    def instead(error: BaseException) -> Any:
        return type(error), error.mrpy_item.position  # type: ignore[attr-defined]

    got = list(mrpy.pmap(third_does_not_open, range(5), chunksize=chunksize, on_error=instead))
    assert got == [0, 1, (SerializationError, 2), 3, 4]


def test_a_function_for_errors_may_raise_for_results_that_cannot_be_opened(session: Any) -> None:
    def worse(error: BaseException) -> Any:
        raise KeyError("worse") from error

    loop = mrpy.pmap(third_does_not_open, range(5), chunksize=5, on_error=worse)
    assert [next(loop), next(loop)] == [0, 1]
    with pytest.raises(KeyError, match="worse") as caught:
        next(loop)
    assert caught.value.mrpy_item.position == 2


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, ValueError])
def test_what_comes_before_an_item_that_raises_is_delivered_along_a_chain(session: Any, kind: type) -> None:
    def raises(x: int) -> int:
        if x == 7:
            raise kind
        return x

    got = []
    with pytest.raises(kind) as caught:
        for total in mrpy.stream(range(20), chunksize=10).map(raises).batch(2).map(sum):
            got.append(total)  # noqa: PERF402
    assert got == [1, 5, 9]
    assert caught.value.mrpy_item.position == 7


def test_what_a_worker_said_before_it_died_still_counts() -> None:
    def same(data: Any) -> Any:
        return data

    def facts_of(count: int) -> list[str]:
        facts: list[Any] = []
        while len(facts) < count:
            facts += [fact for fact in backend.wait(1) if not isinstance(fact, m.Slots)]
        return [type(fact).__name__ for fact in facts]

    code, backend = Code(same, "same"), ProcessesBackend(1)
    first, second, third = (m.Start(m.Task((1, n), backend.pack(Call(code, n))), 1, False) for n in range(3))
    try:
        backend.start(first)
        assert facts_of(1) == ["Succeeded"]
        [worker] = backend._team
        backend.start(second)
        backend._deal()
        backend._send()
        assert select.select([worker.end.sock], [], [], 20)[0], "its answer is here, and nobody has read it"
        os.kill(worker.pid, signal.SIGKILL)
        worker.process.wait()
        backend.start(third)
        assert facts_of(2) == ["Succeeded", "Succeeded"], "the third has waited there, and went to the next worker"
    finally:
        backend.close()
