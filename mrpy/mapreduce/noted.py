"""A chunk of which it has to be known which item is at work, to try it again or to keep its time.

Its items go through the steps all together, as on the fast path: to take them through one by one costs ten
times what a cheap item does. They are noted as they are taken, and one that raises is seen to by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from mrpy.errors import pin
from mrpy.light import TYPE_CHECKING
from mrpy.mapreduce.kernels import Attempt, collect, tried
from mrpy.mapreduce.random import at_positions
from mrpy.mapreduce.steps import looks_at_single_items
from mrpy.mapreduce.stretches import Stretches
from mrpy.scheduler.calls import TaskStopped

if TYPE_CHECKING:
    from typing import Any

    from mrpy.mapreduce.chunks import Chunk
    from mrpy.mapreduce.kernels import Announce, Collector
    from mrpy.mapreduce.steps import Step
    from mrpy.scheduler.rests import offered


def may_be_noted(steps: tuple[Step, ...], chunk: Chunk) -> bool:
    """Whether all that is noted is what careful steps would have seen: a stage does not ask for the next item
    when it is through with one."""
    plain = not chunk.excluded and not chunk.separately and chunk.budget is None
    return plain and all(map(looks_at_single_items, steps))


def run_noted(
    steps: tuple[Step, ...], chunk: Chunk, rest: offered, out: Collector, announce: Announce | None
) -> None:
    """The whole chunk, as far as none raises; from there on again."""
    values = out.values
    places = enumerate(rest.items)
    index = before = -1  # the item at work, and how many values there were when it was taken
    item: Any = None
    problem: BaseException | None = None
    first = Attempt(steps, chunk, out.rules, announce)
    again = Attempt(steps, chunk, out.rules, announce, failures=1)
    stretches = Stretches(len(chunk.data), values)
    look = 0.0 if chunk.gives_back else inf  # at what has been made, before this item

    def noted() -> Iterator[Any]:
        nonlocal index, item, before, look
        for index, item in places:
            before = len(values)
            if index >= look:
                look = index + (stretches.next(len(chunk.data) - index) or inf)
                if look == inf:
                    rest.give_back()
            if announce is not None:
                announce(index)
            yield item
        before = -1

    while True:
        before = -1
        try:
            with at_positions(out.rules.seed, lambda: chunk.first + index):
                collect(steps, noted(), values)
            break
        except TaskStopped:
            raise
        except BaseException as error:
            if before < 0:  # it has taken no item, and would not do so for ever
                pin(error, chunk.some_item())
                raise
            if not (isinstance(error, Exception) and out.rules.retries):
                problem = error
        if problem is None:
            del values[before:]
            goes_on = tried(again, index, item, out)
        else:
            first.hands_over()
            goes_on = out.failed(problem, index)
            problem = None  # whose traceback has this frame
        if not goes_on:
            break
    if announce is not None:
        announce(None)  # as in `run_careful`
