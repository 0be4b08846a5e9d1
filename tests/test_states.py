"""The table of a task's life: what it says, and that it says nothing else."""

from __future__ import annotations

import copy
import doctest
import pickle

import pytest

from mrpy.errors import IllegalMove, SchedulerError
from mrpy.scheduler import states
from mrpy.scheduler.states import ON_BACKEND, TABLE, Move, State, after

FINAL = {State.RELEASED, State.FAILED, State.CANCELLED}

# Written out once more, by hand: a slip in the table shall not be a slip in its test.
LEGAL = """
waiting   unblock  ready
waiting   fail     failed
waiting   cancel   cancelled
ready     start    running
ready     cancel   cancelled
running   succeed  done
running   fail     failed
running   retry    ready
running   stop     stopping
stopping  cancel   cancelled
done      release  released
"""
ROWS = [(State(old), Move(move), State(new)) for old, move, new in map(str.split, LEGAL.split("\n")[1:-1])]
MISSING = [
    (state, move) for state in State for move in Move if (state, move) not in {row[:2] for row in ROWS}
]


@pytest.mark.parametrize(("old", "move", "new"), ROWS)
def test_a_legal_move_leads_where_the_table_says(old: State, move: Move, new: State) -> None:
    assert after(old, move) is new


def test_the_table_has_no_other_rows() -> None:
    assert {(old, move, new) for (old, move), new in TABLE.items()} == set(ROWS)
    assert len(ROWS) + len(MISSING) == len(State) * len(Move)


@pytest.mark.parametrize(("state", "move"), MISSING)
def test_a_missing_row_is_an_illegal_move_that_tells_the_story(state: State, move: Move) -> None:
    with pytest.raises(IllegalMove) as caught:
        after(state, move, lambda: "once upon a time")
    text = str(caught.value)
    assert f"a task that is {state.value} cannot {move.value}" in text
    assert text.endswith("its story so far:\nonce upon a time")
    assert isinstance(caught.value, SchedulerError)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_without_a_story_the_message_is_one_line() -> None:
    with pytest.raises(IllegalMove, match=r"^a task that is done cannot start$"):
        after(State.DONE, Move.START)


def test_the_story_of_a_legal_move_is_not_told() -> None:
    def story() -> str:
        raise AssertionError("stories are for errors: they cost")

    assert after(State.READY, Move.START, story) is State.RUNNING


def test_no_way_leads_out_of_a_final_state_and_one_out_of_every_other() -> None:
    assert {old for old, _ in TABLE}.isdisjoint(FINAL)
    assert {old for old, _ in TABLE} == set(State) - FINAL


def test_every_state_is_reached_and_every_move_is_used() -> None:
    assert {State.WAITING, *TABLE.values()} == set(State)
    assert {move for _, move in TABLE} == set(Move)


def test_every_state_has_a_way_to_an_end() -> None:
    ending = set(FINAL)
    for _ in State:
        ending |= {old for (old, _), new in TABLE.items() if new in ending}
    assert ending == set(State)


def test_a_slot_is_taken_by_start_alone_and_given_back_by_what_leaves_the_backend() -> None:
    enters = {move for (old, move), new in TABLE.items() if old not in ON_BACKEND and new in ON_BACKEND}
    leaves = {move for (old, move), new in TABLE.items() if old in ON_BACKEND and new not in ON_BACKEND}
    assert enters == {Move.START}
    assert leaves == {Move.SUCCEED, Move.FAIL, Move.RETRY, Move.CANCEL}


def test_members_stay_themselves_when_copied_or_sent() -> None:  # their hash is that of their identity
    for member in (*State, *Move):
        assert pickle.loads(pickle.dumps(member)) is member
        assert copy.deepcopy(member) is member


def test_the_examples_in_the_text_are_true() -> None:
    assert doctest.testmod(states, optionflags=doctest.IGNORE_EXCEPTION_DETAIL) == (0, 2)
