"""What runs on a worker: a chunk of items through the fused steps.

The fast path hands the whole chunk to the nested generators and collects what comes out, in C. When
something raises, the iterator underneath still knows how many items were taken from it: that is the
failing item's index, and the same iterator goes on behind it. So the fast path costs nothing per item.

The careful path takes items one by one. It is used where nothing else would do: for a stage whose items may
be tried again, for what killed its worker or does not pickle. Other retries and timeouts: ``noted.py``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from math import inf
from operator import length_hint

from mrpy.errors import Item, SpillError, pin, pins
from mrpy.inside import Place, inside, is_ctrl_c
from mrpy.light import TYPE_CHECKING, Frozen, later
from mrpy.mapreduce.chunks import Chunk, Outcome, index_of, opened_item, partly
from mrpy.mapreduce.marks import Known
from mrpy.mapreduce.random import at_positions
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.stretches import Stretches
from mrpy.scheduler import codec
from mrpy.scheduler.calls import TaskStopped
from mrpy.scheduler.rests import in_hand

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from mrpy.mapreduce import noted
    from mrpy.mapreduce.files.reading import Reading
    from mrpy.mapreduce.steps import Step
    from mrpy.scheduler import failure as failing
    from mrpy.scheduler import policy
    from mrpy.scheduler.failure import At, Failure
    from mrpy.scheduler.rests import offered
else:
    failing, policy = later("mrpy.scheduler.failure"), later("mrpy.scheduler.policy")
    noted = later("mrpy.mapreduce.noted")

Steps: TypeAlias = "tuple[Step, ...]"
Announce: TypeAlias = "Callable[[At | None], None]"
Made: TypeAlias = "tuple[list[Any] | Outcome, int | None]"

_END = object()
_COUNTED = (list, tuple, range, str, bytes, bytearray)  # their iterators say how many items are left


class MapChunk(Frozen):
    """The kernel of a map: a chunk through the steps, results in order; what was skipped is noted."""

    steps: Steps
    rules: Rules
    in_leaves = False  # see `mrpy.mapreduce.cut_again`

    def __call__(self, chunk: Chunk, announce: Announce | None = None) -> Any:
        skipped = Skipped(self.rules.max_errors)
        results, done = self.results(chunk, skipped, announce)
        return partly(skipped.beside(results), done)

    def results(self, chunk: Chunk, skipped: Skipped, announce: Announce | None = None) -> Made:
        """The results, and of how many items (None: of all); what is skipped is added there."""
        rules = self.rules if chunk.seed is None else self.rules.replaced(seed=chunk.seed)
        out = Collector(rules, chunk, skipped)
        fast = announce is None and not chunk.excluded and not chunk.separately and not rules.retries

        def run(rest: offered) -> None:
            if fast:
                run_fast(self.steps, chunk, rest, out)
            elif noted.may_be_noted(self.steps, chunk):
                noted.run_noted(self.steps, chunk, rest, out, announce)
            else:
                run_careful(self.steps, chunk, rest, out, announce)

        _, left = in_hand(counted(chunk.data), run, heard=chunk.gives_back)
        return out.result(), len(chunk.data) - left if left and not out.ended else None


def through(steps: Steps, items: Iterator[Any]) -> Iterator[Any]:
    """The fused steps over an iterator."""
    for step in steps:
        items = step.over(items)
    return items


def collect(steps: Steps, items: Iterator[Any], values: list[Any]) -> None:
    """``values.extend(through(steps, items))``. What came before an error stays in the list."""
    into = getattr(steps[-1], "into", None) if steps else None
    if into is None:
        values.extend(through(steps, items))
    else:
        into(through(steps[:-1], items), values)


def counted(data: Sequence[Any]) -> Sequence[Any]:
    """`data` as something whose iterator knows how many items are left."""
    return data if type(data) in _COUNTED else list(data)


def begun(steps: Steps, items: Iterator[Any]) -> tuple[Iterator[Any], Steps, Reading | None]:
    """The iterator that stays when a step raises, and the steps over it. It is the one over the chunk; or,
    where the first step reads, the one over what it reads, and it can say where that is."""
    begin = getattr(steps[0], "begin", None) if steps else None
    if begin is None:
        return items, steps, None
    reading = begin(items)
    return chain.from_iterable(reading), steps[1:], reading


def run_fast(steps: Steps, chunk: Chunk, rest: offered, out: Collector) -> None:
    """The whole chunk at once."""
    data, items = chunk.data, rest.items
    ended: list[bool] = []
    source = items if out.rules.on_error == "raise" else chain(items, _end(ended))
    base, above, reading = begun(steps, source)
    whole = chunk.budget is None and not (chunk.gives_back and reading is None)
    stretches = None if whole else Stretches(len(data), out.values, chunk.budget)

    def position() -> int:
        return chunk.first + len(data) - rest.left - 1

    def at() -> tuple[int, int]:
        return rest.left, reading.number() if reading is not None else 0

    while True:
        before = at()
        try:
            with at_positions(out.rules.seed, position, reading):
                if stretches is not None:
                    _in_stretches(steps, items, source, stretches, out.values)
                elif chunk.piece is None or reading is not None:
                    collect(above, base, out.values)
                else:
                    _by_pieces(steps, items, source, chunk.piece, out.values)
        except TaskStopped:
            raise
        except BaseException as error:
            if at() == before:  # a stage fails without having taken an item: it would do so for ever
                pin(error, chunk.some_item())
                raise
            if not out.failed(error, position() - chunk.first, reading):
                break
            if reading is None and not length_hint(items) and not ended:  # it was the last item's
                break  # no stage is to be begun once more, over nothing
        else:
            break
    if stretches is not None:
        rest.give_back()


def _end(ended: list[bool]) -> Iterator[Any]:
    """Nothing; but somebody has asked whether there is more."""
    ended.append(True)
    yield from ()


def _in_stretches(
    steps: Steps, items: Iterator[Any], source: Iterator[Any], those: Stretches, values: list[Any]
) -> None:
    """Until the chunk is through, or enough was done of it. ``source``: the items, to their end."""
    while size := those.next(left := length_hint(items)):
        collect(steps, source if size >= left else islice(items, size), values)


def _by_pieces(
    steps: Steps, items: Iterator[Any], source: Iterator[Any], size: int, values: list[Any]
) -> None:
    """Chunks of so many items, each through the steps by itself."""
    while left := length_hint(items):
        piece = source if size >= left else islice(items, size)
        collect(steps, piece, values)
        deque(piece, maxlen=0)  # a step may have seen enough; what is left is not for the next chunk


def run_careful(steps: Steps, chunk: Chunk, rest: offered, out: Collector, announce: Announce | None) -> None:
    """One item after the other."""
    attempt = Attempt(steps, chunk, out.rules, announce)
    over = inf if chunk.budget is None else time.perf_counter() + chunk.budget
    for index, item in enumerate(rest.items):
        if index in chunk.excluded:
            attempt.hands_over()
            if not out.put_failure(chunk.excluded[index], index):
                break
            continue
        if not tried(attempt, index, item, out):
            break
        if time.perf_counter() > over:
            rest.give_back()
    if announce is not None:
        announce(None)  # who dies of a fold, or of pickling the results, is not to be blamed on the last item


def tried(attempt: Attempt, index: int, item: Any, out: Collector) -> bool:
    """An item; or, where the first step reads, one after the other of the records that it stands for. Say
    whether to go on."""
    records, reading = attempt.records(item)
    unread = number = 0
    while True:
        problem: BaseException | None = None
        at: At = index if reading is None else (index, number)
        known = attempt.chunk.known(at) if attempt.chunk.excluded else None
        if known is not None and reading is not None and isinstance(known.index, int):  # it ends here
            attempt.hands_over()
            behind = Item(attempt.chunk.first + index, f"what follows {reading.where()}")
            return out.put_failure(known.at(behind) if number else known, index)
        try:
            if reading is not None and attempt.announce is not None:
                attempt.announce(at)
            record = next(records, _END)
            if record is _END:
                return True
            if known is None:
                attempt(at, record, out.values, reading)
        except TaskStopped:
            raise
        except _Untaken as untaken:
            pin(untaken.error, attempt.chunk.some_item())
            raise untaken.error from untaken.error.__cause__
        except BaseException as error:
            if reading is not None and unread < attempt.rules.retries and reading.again(error):
                unread += 1
                attempt.pause(unread, at)
                continue
            problem = error
        number += 1
        out.index.extend([index] * (len(out.values) - len(out.index)))  # also what came before a problem
        if problem is not None or known is not None:
            attempt.hands_over()
        if problem is not None:
            goes_on = out.failed(problem, index, reading)
            problem = None  # whose traceback has this frame
            if not goes_on:
                return False
        elif known is not None and not out.put_failure(known, index, reading):
            return False


class _Untaken(BaseException):
    """A stage has failed before it asked for its item: it is not the item that is to be skipped."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Attempt(Frozen):
    """All that one item yields; again after a pause if it raises. ``failures``: it has raised so often."""

    steps: Steps
    chunk: Chunk
    rules: Rules
    announce: Announce | None
    failures: int = 0

    def records(self, item: Any) -> tuple[Iterator[Any], Reading | None]:
        """What is tried by itself of an item: it, unless the first step reads."""
        if not self.steps or not hasattr(self.steps[0], "begin"):
            return iter((item,)), None
        block = codec.decode(item) if self.chunk.separately else item
        records, _, reading = begun(self.steps, iter((block,)))
        return records, reading

    def __call__(self, at: At, item: Any, values: list[Any], reading: Reading | None) -> None:
        failures, before = self.failures, len(values)
        while True:
            if failures:
                self.pause(failures, at)
            if self.announce is not None:
                self.announce(at)  # each attempt has its own time
            try:
                self._into(values, index_of(at), item, reading)
                return
            except (Exception, _Untaken):
                failures += 1
                if failures > self.rules.retries:
                    raise
                del values[before:]

    def hands_over(self) -> None:
        """What follows is `on_error`, if that is a function: its time is no item's."""
        if self.announce is not None and callable(self.rules.on_error):
            self.announce(None)

    def pause(self, failures: int, at: At) -> None:
        """Before the next attempt."""
        delay = policy.DEFAULT.back_off(failures, self.chunk.first + index_of(at))
        if self.announce is not None and self.rules.timeout is not None:
            self.announce(at)  # a pause is neither taken off the time of an attempt nor a hang
            delay = min(delay, self.rules.timeout / 2)
        time.sleep(delay)

    def _into(self, values: list[Any], index: int, item: Any, reading: Reading | None) -> None:
        pickled = self.chunk.separately
        opened = codec.decode(item) if pickled and reading is None else item
        steps = self.steps if reading is None else self.steps[1:]
        source = iter((opened,))
        try:
            with at_positions(self.rules.seed, lambda: self.chunk.first + index, reading):
                made = through(steps, source)
                values.extend(map(codec.encode_apart, made) if pickled else made)
        except Exception as error:
            if length_hint(source):
                raise _Untaken(error) from None
            raise


class Collector:
    """Gathers the values of a chunk, and puts failures where `on_error` says."""

    def __init__(self, rules: Rules, chunk: Chunk, skipped: Skipped) -> None:
        self.rules = rules
        self.values: list[Any] = []
        self.index: list[int] = []  # of each value, on the careful path
        self._failures: dict[int, Failure] = {}
        self.ended = False
        self._skipped = skipped
        self._chunk = chunk
        self._pins = pins()

    def failed(self, error: BaseException, index: int, reading: Reading | None = None) -> bool:
        """Take in an item's exception; say whether to go on."""
        if type(error) is Known:
            return self.put_failure(error.failure, index)
        if is_ctrl_c(error):
            raise error
        item = self._chunk.item(index) if not self._chunk.separately else opened_item(self._chunk, index)
        if reading is not None:
            item = Item(item.position, reading.where())
        pin(error, item, since=self._pins)
        lost = isinstance(error, SpillError) or (reading is not None and reading.lost(error))
        if lost or (self.rules.ends is not None and self.rules.ends(error)):
            raise error  # it is not this item's fault, and others are lost with it
        self._pins = pins()
        on_error = self.rules.on_error
        if callable(on_error):
            self._skipped.replaced = True
            try:
                value = on_error(error)
                self.values.append(codec.encode_apart(value) if self._chunk.separately else value)
                self.index.append(index)
                return True
            except BaseException as second:
                if isinstance(second, TaskStopped) or is_ctrl_c(second):
                    raise
                pin(second, item, since=self._pins)
                error = second
        elif on_error == "skip":
            return self._skipped.add(error, item)
        failure = failing.capture(error, travels=inside.place is Place.ELSEWHERE).at(item)
        return self._place(failure)

    def put_failure(self, failure: Failure, index: int, reading: Reading | None = None) -> bool:
        """Take in a failure that is known already; say whether to go on."""
        on_error = self.rules.on_error
        item = failure.item or Item(self._chunk.first + index, "")
        if reading is not None:  # only here is it known what to call the record
            item = Item(item.position, reading.where())
            failure = failure.at(item)
        if callable(on_error):
            return self.failed(failure.exception(), index, reading)
        if on_error == "skip":
            return self._skipped.add(failure.exception(), item)
        return self._place(failure)

    def _place(self, failure: Failure) -> bool:
        self._failures[len(self.values)] = failure
        self.values.append(None)
        self.index.append(-1)
        self.ended = self.rules.on_error != "return"
        return not self.ended

    def result(self) -> list[Any] | Outcome:
        """What to send back."""
        pickled = self._chunk.separately
        if not self._failures and not pickled:
            return self.values
        where = [opened_item(self._chunk, index) for index in self.index] if pickled else None
        return Outcome(self.values, self._failures, self.ended, pickled, where)


class Submitted(Frozen):
    """The kernel of `submit`: one call with its arguments, and the key of its random numbers."""

    function: Callable[..., Any]

    def __call__(
        self, call: tuple[tuple[Any, ...], dict[str, Any], int | None, int], announce: Announce | None = None
    ) -> Any:
        if announce is not None:
            announce(0)
        args, kwargs, seed, number = call
        with at_positions(seed, lambda: number):
            return self.function(*args, **kwargs)
