"""Failures as data: whatever the user's exception class does, something readable arrives."""

from __future__ import annotations

import copyreg
import pickle
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrpy.errors import Item, ItemTimeout, MrpyError, RemoteError, RemoteTraceback, WorkerCrashed
from mrpy.mapreduce.kernels import collect, through
from mrpy.mapreduce.steps import Map
from mrpy.scheduler.failure import (
    PLACES,
    TEXT_LIMIT,
    Failure,
    _places,
    capture,
    format_trace,
    of,
    short_repr,
    short_str,
)

ITEM = Item(3, "'c'")


class TwoArguments(Exception):
    """Pickles well and explodes on arrival."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class TwoHonestArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Locked(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Untouchable(Exception):
    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} must not be set")


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Unsafe(Exception):
    """As bases are that are written in C: of what has two of these it makes nothing."""

    def __new__(cls, *arguments: Any) -> Any:
        if not arguments:
            raise TypeError("Unsafe.__new__() is not safe")
        return super().__new__(cls, *arguments)


class Malformed(Unsafe, SyntaxError):
    """As those of lxml: they hold a log, which cannot travel."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.lineno, self.offset = 3, 14


class WithSlots(Locked):
    __slots__ = ("code",)


class HoldsItself(Exception):
    """As one of networkx."""

    def __init__(self, steps: int) -> None:
        super().__init__(self, f"not after {steps} steps")


class OpensWithExit(Exception):
    def __reduce__(self) -> Any:
        return _leave, ()


def _leave() -> NoReturn:
    raise SystemExit(1)


class OpensAsSomethingElse(Exception):
    def __reduce__(self) -> Any:
        return str, ("not an exception",)


def caught(error: BaseException) -> BaseException:
    """The error as one that was raised, with a traceback."""
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001 - that is what it is for
        return raised


def sent(error: BaseException) -> Failure:
    """The failure as it is on the other side of a pipe."""
    captured = capture(caught(error), travels=True)
    assert captured.live is None and captured.held == []
    if captured.payload is not None:  # memoryviews do not travel by pickle: buffers go beside it
        assert captured.payload.buffers == ()
    return pickle.loads(pickle.dumps(captured))


# ---- the round trip ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [ValueError("bad"), KeyError(("a", 1)), OSError(2, "gone", "f"), TwoHonestArguments(7, "x")],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_arrives_with_its_type_and_arguments(error: Exception) -> None:
    rebuilt = sent(error).exception()
    assert type(rebuilt) is type(error)
    assert rebuilt.args == error.args and str(rebuilt) == str(error)


def test_attributes_of_an_exception_arrive() -> None:
    error = ValueError("bad")
    error.row = [1, 2]  # type: ignore[attr-defined]
    assert sent(error).exception().row == [1, 2]  # type: ignore[attr-defined]


def test_a_class_defined_in_a_function_arrives_as_itself() -> None:
    class Local(ValueError):
        pass

    rebuilt = sent(Local("here")).exception()
    assert type(rebuilt) is Local and str(rebuilt) == "here"


def test_the_workers_traceback_is_the_cause() -> None:
    rebuilt = sent(ValueError("bad")).exception()
    assert isinstance(rebuilt.__cause__, RemoteTraceback)
    text = str(rebuilt.__cause__)
    assert text.startswith('\n"""\nTraceback (most recent call last)') and text.endswith('\n"""')
    assert "in caught" in text and "ValueError: bad" in text
    assert "raise error" in "".join(traceback.format_exception(rebuilt))


def test_an_exception_that_stays_is_itself_and_has_its_own_traceback() -> None:
    error = caught(ValueError("bad"))
    stays = capture(error, travels=False)
    assert (stays.payload, stays.trace) == (None, "")
    assert stays.exception() is error
    assert error.__cause__ is None and error.__traceback__ is not None


def test_frames_of_our_own_by_which_a_trace_begins_are_skipped_but_never_all() -> None:
    def theirs(item: int) -> None:
        list(through((Map(inner),), iter([item])))

    def inner(item: int) -> None:
        raise ValueError("bad")

    def raised_by(call: Callable[[], object]) -> BaseException:
        try:
            call()
        except Exception as error:
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next.tb_next  # this, and the lambda
            return error
        raise AssertionError

    error = raised_by(lambda: collect((Map(theirs),), iter([1]), []))
    whole, text = format_trace(error, whole=True), format_trace(error)
    assert "in collect" in whole and "in collect" not in text
    assert text.count("in theirs") == text.count("in inner") == 1, "what is ours among theirs stays"
    error = raised_by(lambda: collect((), 1, []))  # type: ignore[arg-type]
    assert "in collect" in format_trace(error)


def test_two_failures_are_equal_when_they_say_the_same() -> None:
    assert of(ItemTimeout("late"), 3) == of(ItemTimeout("late"), 3)
    assert of(ItemTimeout("late"), 3) != of(ItemTimeout("late"), 4)


# ---- exceptions that cannot travel ---------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [TwoArguments(7, "seven"), Locked("seven"), OpensWithExit("seven")],
    ids=lambda error: type(error).__name__,
)
def test_what_does_not_pickle_in_one_piece_is_put_together_again(error: Exception) -> None:
    rebuilt = sent(error).exception()
    assert type(rebuilt) is type(error)
    assert rebuilt.args == error.args and str(rebuilt) == str(error)
    assert type(error).__qualname__ in str(rebuilt.__cause__)
    assert not hasattr(rebuilt, "lock")


def test_what_has_several_bases_in_c_arrives_with_what_these_hold() -> None:
    rebuilt = sent(Malformed("bad")).exception()
    assert isinstance(rebuilt, Malformed)
    assert (str(rebuilt), rebuilt.msg, rebuilt.lineno, rebuilt.offset) == ("bad (line 3)", "bad", 3, 14)


def test_what_cannot_be_made_of_its_arguments_keeps_its_slots() -> None:
    error = WithSlots("bad")
    error.code = 7  # type: ignore[attr-defined]
    rebuilt = sent(error).exception()
    assert (type(rebuilt), rebuilt.code) == (WithSlots, 7)  # type: ignore[attr-defined]


def test_what_holds_itself_arrives_holding_itself() -> None:
    rebuilt = sent(HoldsItself(3)).exception()
    assert type(rebuilt) is HoldsItself
    assert rebuilt.args == (rebuilt, "not after 3 steps")


def test_what_has_no_type_there_arrives_as_name_text_and_traceback() -> None:
    class Local(Exception):
        def __reduce__(self) -> Any:
            raise RuntimeError("I stay")

        lock = threading.Lock()  # so that the class itself cannot travel either

    rebuilt = sent(Local("seven")).exception()
    assert type(rebuilt) is RemoteError and isinstance(rebuilt, MrpyError)
    assert str(rebuilt) == f"{Local.__qualname__}: seven"
    assert Local.__qualname__ in str(rebuilt.__cause__)


def test_what_opens_as_something_else_arrives_as_what_it_was() -> None:
    rebuilt = sent(OpensAsSomethingElse("x")).exception()
    assert type(rebuilt) is OpensAsSomethingElse and str(rebuilt) == "x"


def test_a_payload_that_opens_there_but_not_here_falls_back_to_the_text() -> None:
    failure = sent(ValueError("bad"))
    assert failure.payload is not None
    broken = Failure("ValueError", "bad", payload=failure.payload._replace(body=b"\x80\x05junk"))
    rebuilt = broken.exception()
    assert type(rebuilt) is RemoteError and str(rebuilt) == "ValueError: bad"


def test_an_exception_whose_text_raises_arrives() -> None:
    failure = sent(Mute())
    assert failure.message == "<Mute whose str() raises RuntimeError>"
    assert "Mute" in failure.trace
    rebuilt = failure.at(ITEM).exception()
    assert type(rebuilt) is Mute and rebuilt.mrpy_item == ITEM  # type: ignore[attr-defined]


def test_a_class_that_forbids_attributes_arrives_without_the_item() -> None:
    rebuilt = sent(Untouchable("x")).at(ITEM).exception()
    assert type(rebuilt) is Untouchable and str(rebuilt) == "x"
    assert isinstance(rebuilt.__cause__, RemoteTraceback)


def test_a_frozen_dataclass_arrives() -> None:
    for rebuilt in (sent(Frozen(4)).exception(), capture(Frozen(4), travels=False).at(ITEM).exception()):
        assert type(rebuilt) is Frozen and rebuilt.code == 4


def test_an_exit_or_an_interrupt_is_captured_like_any_other() -> None:
    assert type(sent(SystemExit(3)).exception()) is SystemExit
    assert type(sent(KeyboardInterrupt()).exception()) is KeyboardInterrupt


# ---- the item ------------------------------------------------------------------------------------


@pytest.mark.parametrize("travels", [True, False])
def test_the_item_is_an_attribute_and_a_note_once(travels: bool) -> None:
    failure = capture(caught(ValueError("bad")), travels=travels).at(ITEM)
    for _ in range(3):
        rebuilt = failure.exception()
        assert rebuilt.mrpy_item == ITEM  # type: ignore[attr-defined]
        assert rebuilt.__notes__ == ["mrpy: raised at item 3: 'c'"]


def test_without_an_item_nothing_is_noted() -> None:
    rebuilt = sent(ValueError("bad")).exception()
    assert not hasattr(rebuilt, "mrpy_item") and not hasattr(rebuilt, "__notes__")


def test_the_innermost_item_wins() -> None:
    inner = sent(ValueError("bad")).at(ITEM).exception()
    outer = sent(inner).at(Item(99, "the whole inner loop")).exception()
    assert outer.mrpy_item == ITEM  # type: ignore[attr-defined]
    assert outer.__notes__ == ["mrpy: raised at item 3: 'c'"]


def test_pinning_leaves_the_original_as_it_was() -> None:
    failure = sent(ValueError("bad"))
    assert failure.at(ITEM).item == ITEM and failure.item is None


def test_a_failure_of_our_own_carries_no_traceback() -> None:
    failure = of(WorkerCrashed("signal 11"), index=5)
    assert (failure.index, failure.trace) == (5, "")
    rebuilt = failure.exception()
    assert type(rebuilt) is WorkerCrashed and rebuilt.__cause__ is None


def _raises(what: Any) -> NoReturn:
    if isinstance(what, int):
        raise ValueError(what) if what else KeyError
    if isinstance(what, str):
        exec(what, {"number": 1})
    raise what


def _from_another(what: Any) -> NoReturn:
    try:
        _raises(1)
    except ValueError as error:
        raise what if what is not None else LookupError("behind") from (error if what is None else None)


def _amid_another(what: Any) -> NoReturn:
    try:
        _raises(1)
    finally:
        _raises(what)


WAYS: list[tuple[Any, Any]] = [
    (_raises, 1), (_raises, 2), (_raises, 0), (_raises, "numbre"), (_raises, "nothing to compile"), (_raises, "1 / 0"),
    (_raises, "import nowhere_at_all"), (_raises, "number.imga"), (_raises, caught(ValueError("raised before"))),
    (_raises, ExceptionGroup("several", [caught(ValueError(1)), KeyError(2)])), (_raises, "\n\nnumber['a']"),
    (_from_another, None), (_from_another, KeyError("alone")), (_amid_another, 5), (_amid_another, "1 / 0"),
]  # fmt: skip


@pytest.mark.parametrize("noted", [False, True])
def test_what_is_said_of_a_place_is_what_python_says_however_often_it_fails_there(noted: bool) -> None:
    for _ in range(3):
        for fails_there, what in WAYS:
            with pytest.raises(Exception) as raised:  # noqa: PT011 - of all kinds
                fails_there(what)
            if noted and not hasattr(raised.value, "__notes__"):
                raised.value.add_note("in the laboratory")
            assert format_trace(raised.value) == "".join(traceback.format_exception(raised.value))


def test_of_places_that_have_gone_nothing_is_said() -> None:
    for number in range(3 * PLACES):  # new code at the place in memory of such as has gone
        scope: dict[str, Any] = {}
        code = compile(f"def f():\n    raise ValueError({number})", f"<{number}>", "exec")
        exec(code, scope)
        with pytest.raises(ValueError) as raised:
            scope["f"]()
        assert f'File "<{number}>", line 2, in f' in format_trace(raised.value)
    assert len(_places) <= PLACES


# ---- bounds --------------------------------------------------------------------------------------


def test_the_traceback_of_an_endless_recursion_is_bounded() -> None:
    def ping(depth: int) -> int:  # two functions: the interpreter does not fold their lines
        return pong(depth + 1) + 1

    def pong(depth: int) -> int:
        return ping(depth + 1) + 1

    with pytest.raises(RecursionError) as endless:
        ping(0)
    trace = format_trace(endless.value)
    assert "characters left out" in trace
    assert len(trace) < TEXT_LIMIT + 100
    assert trace.startswith("Traceback") and "RecursionError" in trace[-200:]
    assert type(sent(endless.value).exception()) is RecursionError


def test_a_megabyte_of_message_is_bounded() -> None:
    failure = sent(ValueError("x" * 1_000_000))
    assert len(failure.message) <= 300
    assert len(failure.trace) < TEXT_LIMIT + 100


def test_a_traceback_that_cannot_be_printed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> NoReturn:
        raise LookupError("no source")

    monkeypatch.setattr(traceback, "format_exception", broken)
    assert format_trace(ValueError("bad")) == (
        "ValueError (its traceback cannot be printed: LookupError('no source'))"
    )


@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=400), limit=st.integers(1, 350))
def test_texts_are_bounded_keep_both_ends_and_short_ones_are_whole(text: str, limit: int) -> None:
    short = short_str(text, limit)
    assert len(short) <= limit
    if len(text) <= limit:
        assert short == text
    elif limit > 12:
        head, tail = short.split(" ... ")[0], short.split(" ... ")[-1]
        assert text.startswith(head) and text.endswith(tail)


def test_a_repr_is_bounded_and_safe() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise KeyError("no")

    class Odd:
        def __repr__(self) -> str:
            return 5  # type: ignore[return-value]

    assert short_repr("abc") == "'abc'"
    assert len(short_repr(list(range(1_000_000, 1_100_000)))) == 80
    assert "Silent" in short_repr(Silent()) and "Odd" in short_repr(Odd())


def test_a_repr_that_goes_round_in_circles_is_safe() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert short_repr(nested) == "[[[[[[[...]]]]]]]"
    while nested:  # taken apart by hand: its end would recurse as well
        nested = nested[0]


class Answering(OSError):
    """Says more of itself than it has."""

    def __init__(self, *, response: dict[str, int]) -> None:
        super().__init__("http")
        self.response = response

    @property
    def errno(self) -> int:  # type: ignore[override]
        return self.response["status"]


class Coded(Exception):
    __slots__ = ("code",)


class Asked(Coded):
    def __init__(self, *, data: dict[str, int]) -> None:
        super().__init__("api")
        self.__dict__.update(data=data)

    def __getattr__(self, name: str) -> int:
        return self.data[name]


class Hidden(Coded):
    def __init__(self, *, number: int) -> None:
        super().__init__("hidden")
        Coded.code.__set__(self, number)  # type: ignore[attr-defined]

    @property
    def code(self) -> str:  # type: ignore[override]
        return f"number {Coded.code.__get__(self)}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [Answering(response={}), Asked(data={}), Hidden(number=3)], ids=lambda e: type(e).__name__)
def test_an_exception_is_not_asked_for_what_its_class_says_of_itself(error: Any) -> None:
    there = capture(error, travels=True)._unpickled()
    assert type(there) is type(error) and there.args == error.args
    if isinstance(error, Hidden):
        assert there.code == "number 3"  # type: ignore[attr-defined]


def test_slots_of_an_exception_travel_also_by_value_where_tblib_has_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask, once it is imported, has it see to the pickles of all exceptions that there are."""
    tblib = pytest.importorskip("tblib.pickling_support")
    monkeypatch.setitem(copyreg.dispatch_table, Hidden, tblib.pickle_exception)
    there = capture(Hidden(number=3), travels=True)._unpickled()
    assert isinstance(there, Hidden) and there.code == "number 3"
