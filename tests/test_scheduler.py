"""The scheduler as tables: these facts, those orders. Each test's name is the claim."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from mrpy.errors import Cancelled, IllegalMove, ItemTimeout, SchedulerError
from mrpy.scheduler.calls import Call, Code
from mrpy.scheduler.failure import Failure
from mrpy.scheduler.messages import (
    Abandoned,
    Added,
    Began,
    Fact,
    Failed,
    Input,
    Key,
    Lost,
    Moved,
    Order,
    Release,
    Report,
    Slots,
    Start,
    Stop,
    Stopped,
    Succeeded,
    Task,
    Through,
    WakeAt,
)
from mrpy.scheduler.policy import Policy
from mrpy.scheduler.scheduler import Scheduler
from mrpy.scheduler.states import State

BOOM = Failure("ValueError", "boom")
DEAD = Failure("WorkerCrashed", "signal 9")
DONE, FAILED, CANCELLED = State.DONE, State.FAILED, State.CANCELLED
LONG = 50_000  # far beyond any recursion limit


class Play:
    """A scheduler and its clock: `play(fact, ...)` returns the orders."""

    def __init__(self, slots: int = 2, policy: Policy | None = None) -> None:
        self.moves: list[Moved] = []
        self.scheduler = Scheduler(self.moves.append, policy or Policy())
        self.scheduler.handle([Slots(slots)], 0.0)

    def __call__(self, *facts: Fact, at: float = 0.0) -> list[Any]:  # orders, without a cast in each test
        return self.scheduler.handle(facts, at)

    @property
    def alive(self) -> set[Key]:
        return set(self.scheduler.records)


def task(key: Key, *inputs: Key | Input, **settings: Any) -> Task:
    needed = tuple(one if isinstance(one, Input) else Input(one) for one in inputs)
    return Task(key, f"call {key}", needed, **settings)


def add(*tasks: Task) -> Added:
    return Added(tasks)


def start(one: Task, attempt: int = 1, careful: bool = False, suspect: bool | None = None) -> Start:
    return Start(one, attempt, careful, careful and attempt > 1 if suspect is None else suspect)


def only(kind: type, orders: Iterable[Order]) -> list[Any]:
    return [order for order in orders if type(order) is kind]


def reports(orders: Iterable[Order]) -> dict[Key, State]:
    found = only(Report, orders)
    states = {report.key: report.state for report in found}
    assert len(states) == len(found), "a task was reported twice"
    return states


# ---- one task ------------------------------------------------------------------------------------


def test_a_task_without_inputs_starts_at_once() -> None:
    play, a = Play(), task("a")
    assert play(add(a)) == [start(a)]


def test_a_success_is_reported_then_released_and_forgotten() -> None:
    play = Play()
    play(add(task("a")))
    assert play(Succeeded("a", 1, 0.5)) == [Report("a", DONE, None, 0.5), Release("a")]
    assert play.alive == set()


def test_a_kept_value_stays_until_it_is_abandoned() -> None:
    play = Play()
    play(add(task("a", keep=True)))
    assert play(Succeeded("a", 1)) == [Report("a", DONE)]
    assert play.alive == {"a"}
    assert play(Abandoned(("a",))) == [Release("a")]
    assert play.alive == set()
    assert play(Abandoned(("a",))) == []


def test_of_a_kept_value_the_data_is_forgotten_which_may_have_been_larger() -> None:
    play, code = Play(), Code(abs, "abs")
    a = task("a", keep=True)._replace(call=Call(code, bytes(1000)))
    assert play(add(a)) == [start(a)]
    play(Succeeded("a", 1))
    assert play.scheduler.records["a"].task.call == Call(code, None)
    assert play.moves[-1].task == a  # observers see it once more
    assert play(add(task("b", "a"))) == [start(task("b", "a"))]
    play(Abandoned(("a",)), Succeeded("b", 1))
    assert [moved.task.call.code for moved in play.moves if moved.task.key == "a"][-1] is code


def test_a_failure_is_reported_as_it_came_and_forgotten() -> None:
    play = Play()
    play(add(task("a")))
    assert play(Failed("a", 1, BOOM)) == [Report("a", FAILED, BOOM)]
    assert play.alive == set()


def test_a_kept_failure_stays_until_it_is_abandoned() -> None:
    play = Play()
    play(add(task("a", keep=True)))
    assert play(Failed("a", 1, BOOM)) == [Report("a", FAILED, BOOM)]
    assert play.alive == {"a"}
    assert play(Abandoned(("a",))) == []
    assert play.alive == set()


def test_a_task_added_twice_is_an_error_with_its_story() -> None:
    play = Play()
    play(add(task("a")), at=2.0)
    with pytest.raises(SchedulerError, match="'a' was added twice") as caught:
        play(add(task("a")), at=3.0)
    assert "2.000000 'a' start" in str(caught.value)


def test_a_key_may_come_again_once_it_is_forgotten() -> None:
    play, a = Play(), task("a")
    play(add(a))
    play(Succeeded("a", 1))
    assert play(add(a)) == [start(a)]


def test_abandoning_what_was_never_there_is_fine() -> None:
    assert Play()(Abandoned(("ghost", ("job", 7)))) == []


def test_a_backend_that_stops_what_it_was_not_told_to_stop_hears_the_story() -> None:
    play = Play()
    play(add(task("a")))
    with pytest.raises(IllegalMove, match="running cannot cancel") as caught:
        play(Stopped("a", 1), at=4.0)
    assert "'a' start" in str(caught.value)


def test_the_story_of_a_live_task_names_its_moves_and_a_dead_one_has_none() -> None:
    play = Play()
    play(add(task("a")), at=1.5)
    assert play.scheduler.story("a") == "1.500000 'a' unblock\n1.500000 'a' start"
    play(Succeeded("a", 1))
    assert "not alive" in play.scheduler.story("a")


def test_observers_are_told_every_move_with_its_time() -> None:
    play = Play()
    play(add(task("a")), at=1.0)
    play(Succeeded("a", 1), at=2.0)
    told = [(moved.old.value, moved.move.value, moved.new.value, moved.time) for moved in play.moves]
    assert told == [
        ("waiting", "unblock", "ready", 1.0),
        ("ready", "start", "running", 1.0),
        ("running", "succeed", "done", 2.0),
        ("done", "release", "released", 2.0),
    ]


# ---- slots and order -----------------------------------------------------------------------------


def test_no_more_tasks_run_than_there_are_slots() -> None:
    play = Play(slots=2)
    a, b, c = task("a"), task("b"), task("c")
    assert play(add(a, b, c)) == [start(a), start(b)]
    assert play(Succeeded("b", 1)) == [Report("b", DONE), Release("b"), start(c)]


def test_nothing_starts_without_slots_and_everything_once_they_come() -> None:
    play = Play(slots=0)
    a, b = task("a"), task("b")
    assert play(add(a, b)) == []
    assert play(Slots(5)) == [start(a), start(b)]


def test_when_slots_shrink_what_runs_goes_on_and_nothing_follows() -> None:
    play = Play(slots=3)
    a, b, c, d = (task(key) for key in "abcd")
    play(add(a, b, c, d))
    assert play(Slots(1)) == []
    assert only(Start, play(Succeeded("a", 1))) == []
    assert only(Start, play(Succeeded("b", 1))) == []
    assert only(Start, play(Succeeded("c", 1))) == [start(d)]


def test_slots_may_shrink_to_nothing_and_grow_again_in_one_breath() -> None:
    play, a = Play(slots=1), task("a")
    assert play(Slots(0), add(a), Slots(1)) == [start(a)]


def test_urgent_tasks_go_first_and_others_in_the_order_they_came() -> None:
    play = Play(slots=0)
    a, b, c, d = task("a"), task("b", urgent=True), task("c"), task("d", urgent=True)
    play(add(a, b, c, d))
    assert play(Slots(4)) == [start(b), start(d), start(a), start(c)]


def test_a_retried_task_goes_before_those_that_came_after_it() -> None:
    play = Play(slots=1)
    a, b = task("a"), task("b")
    play(add(a, b))
    assert play(Lost("a", 1, DEAD, blame=False)) == [start(a, 2)]


def test_a_stopping_task_holds_its_slot_until_the_backend_says_so() -> None:
    play = Play(slots=1)
    a, b = task("a"), task("b")
    play(add(a, b))
    assert play(Abandoned(("a",))) == [Stop("a", 1)]
    assert play(Stopped("a", 1)) == [Report("a", CANCELLED), start(b)]


# ---- inputs --------------------------------------------------------------------------------------


def test_a_task_waits_for_its_input_and_the_input_for_its_user() -> None:
    play = Play()
    a, b = task("a"), task("b", "a")
    assert play(add(a, b)) == [start(a)]
    assert play(Succeeded("a", 1)) == [Report("a", DONE), start(b)]
    assert play.alive == {"a", "b"}
    assert play(Succeeded("b", 1)) == [Report("b", DONE), Release("a"), Release("b")]
    assert play.alive == set()


def test_a_task_with_two_inputs_waits_for_both() -> None:
    play = Play()
    a, b, c = task("a"), task("b"), task("c", "a", "b")
    play(add(a, b, c))
    assert only(Start, play(Succeeded("b", 1))) == []
    assert only(Start, play(Succeeded("a", 1))) == [start(c)]


def test_two_parts_of_one_input_are_one_dependency() -> None:
    play = Play()
    a, b = task("a"), task("b", Input("a", 0), Input("a", 1), "a")
    play(add(a, b))
    assert only(Start, play(Succeeded("a", 1))) == [start(b)]
    assert play(Succeeded("b", 1)) == [Report("b", DONE), Release("a"), Release("b")]


def test_two_parts_of_one_failed_input_are_one_failure() -> None:
    play = Play()
    play(add(task("a"), task("b", Input("a", 0), Input("a", 1))))
    assert play(Failed("a", 1, BOOM)) == [Report("a", FAILED, BOOM), Report("b", FAILED, BOOM)]
    assert play.alive == set()


def test_a_value_is_released_after_its_last_user() -> None:
    play = Play()
    play(add(task("a"), task("b", "a"), task("c", "a")))
    play(Succeeded("a", 1))
    assert play(Succeeded("b", 1)) == [Report("b", DONE), Release("b")]
    assert play(Succeeded("c", 1)) == [Report("c", DONE), Release("a"), Release("c")]


def test_a_task_may_join_a_kept_value_later() -> None:
    play = Play()
    play(add(task("a", keep=True)))
    play(Succeeded("a", 1))
    b = task("b", "a")
    assert play(add(b)) == [start(b)]
    assert play(Abandoned(("a",))) == []
    assert play(Succeeded("b", 1)) == [Report("b", DONE), Release("a"), Release("b")]


def test_a_diamond_runs_top_sides_bottom() -> None:
    play = Play()
    top, left, right, bottom = task("t"), task("l", "t"), task("r", "t"), task("b", "l", "r")
    assert play(add(top, left, right, bottom)) == [start(top)]
    assert only(Start, play(Succeeded("t", 1))) == [start(left), start(right)]
    assert play(Succeeded("l", 1)) == [Report("l", DONE)]
    assert play(Succeeded("r", 1)) == [Report("r", DONE), Release("t"), start(bottom)]
    assert reports(play(Succeeded("b", 1))) == {"b": DONE}
    assert play.alive == set()


def test_an_unknown_input_fails_the_task_and_names_it() -> None:
    play = Play()
    (report,) = play(add(task("b", "ghost")))
    assert (report.key, report.state) == ("b", FAILED)
    assert report.failure.type_name == "SchedulerError"
    assert "'ghost' of 'b' is not alive" in report.failure.message
    assert play.alive == set()


def test_a_task_that_needs_itself_fails_instead_of_waiting_for_ever() -> None:
    play = Play()
    assert reports(play(add(task("a", "a")))) == {"a": FAILED}
    assert play.alive == set()


def test_an_unknown_input_leaves_the_other_inputs_as_they_were() -> None:
    play = Play()
    play(add(task("a", keep=True), task("b", "a", "ghost")))
    play(Succeeded("a", 1))
    assert play(Abandoned(("a",))) == [Release("a")]


# ---- failures travel -----------------------------------------------------------------------------


def test_a_failure_travels_down_the_graph_at_once() -> None:
    play = Play()
    play(add(task("a"), task("b", "a"), task("c", "b"), task("other")))
    assert play(Failed("a", 1, BOOM)) == [Report(key, FAILED, BOOM) for key in "abc"]
    assert play.alive == {"other"}


def test_the_bottom_of_a_diamond_fails_once() -> None:
    play = Play()
    play(add(task("t"), task("l", "t"), task("r", "t"), task("b", "l", "r")))
    assert reports(play(Failed("t", 1, BOOM))) == dict.fromkeys("tlrb", FAILED)
    assert play.alive == set()


def test_a_side_of_a_diamond_that_fails_stops_nobody_who_is_still_wanted() -> None:
    play = Play()
    play(add(task("t"), task("l", "t"), task("r", "t"), task("b", "l", "r")))
    play(Succeeded("t", 1))
    assert play(Failed("l", 1, BOOM)) == [Report("l", FAILED, BOOM), Report("b", FAILED, BOOM)]
    assert play(Succeeded("r", 1)) == [Report("r", DONE), Release("t"), Release("r")]


def test_a_side_that_only_the_dead_bottom_wanted_is_stopped() -> None:
    play = Play()
    play(add(task("l"), task("r"), task("b", "l", "r")))
    play(Abandoned(("r",)))
    orders = play(Failed("l", 1, BOOM))
    assert reports(orders) == {"l": FAILED, "b": FAILED}
    assert only(Stop, orders) == [Stop("r", 1)]
    assert play(Stopped("r", 1)) == [Report("r", CANCELLED)]
    assert play.alive == set()


def test_a_doomed_task_that_only_another_doomed_one_wanted_ends_once() -> None:
    play = Play()
    play(add(task("a"), task("b", "a"), task("c", "a", "b")))
    play(Abandoned(("b",)))
    assert set(reports(play(Failed("a", 1, BOOM)))) == {"a", "b", "c"}
    assert play.alive == set()


def test_a_task_added_on_a_kept_failure_fails_with_it() -> None:
    play = Play()
    play(add(task("a", keep=True)))
    play(Failed("a", 1, BOOM))
    assert play(add(task("b", "a"), task("c", "a", keep=True), task("d", "c"))) == [
        Report(key, FAILED, BOOM) for key in "bcd"
    ]
    assert play.alive == {"a", "c"}
    play(Abandoned(("a", "c")))
    assert play.alive == set()


def test_a_task_added_on_an_input_that_is_being_stopped_fails_when_it_has() -> None:
    play = Play()
    play(add(task("a")))
    play(Abandoned(("a",)))
    assert play(add(task("b", "a"))) == []
    orders = play(Stopped("a", 1))
    assert reports(orders) == {"a": CANCELLED, "b": FAILED}
    failure = only(Report, orders)[1].failure
    assert failure.type_name == Cancelled.__name__ and "'a'" in failure.message


# ---- retries -------------------------------------------------------------------------------------

STEADY = Policy(first_delay=1.0, longest_delay=4.0)  # the first task's number is 0: no spread


def test_a_failure_is_final_unless_retries_were_asked_for() -> None:
    play = Play()
    play(add(task("a")))
    assert reports(play(Failed("a", 1, BOOM))) == {"a": FAILED}


def test_a_retry_waits_for_the_end_of_its_back_off() -> None:
    play, a = Play(policy=STEADY), task("a", retries=1)
    play(add(a))
    assert play(Failed("a", 1, BOOM), at=10.0) == [WakeAt(11.0)]
    assert play(at=10.9) == []
    assert play(at=11.0) == [start(a, 2), WakeAt(None)]
    assert play(Failed("a", 2, BOOM), at=12.0) == [Report("a", FAILED, BOOM)]


def test_a_back_off_leaves_its_slot_to_others() -> None:
    play, b = Play(slots=1, policy=STEADY), task("b")
    play(add(task("a", retries=1), b))
    assert play(Failed("a", 1, BOOM), at=10.0) == [start(b), WakeAt(11.0)]


def test_the_back_off_doubles_up_to_its_bound() -> None:
    play = Play(policy=STEADY)
    play(add(task("a", retries=4)))
    now, waits = 0.0, []
    for attempt in range(1, 5):
        (wake,) = only(WakeAt, play(Failed("a", attempt, BOOM), at=now))
        waits.append(wake.time - now)
        now = wake.time
        assert len(only(Start, play(at=now))) == 1
    assert waits == [1.0, 2.0, 4.0, 4.0]


def test_tasks_that_failed_together_do_not_come_back_together() -> None:
    delays = [Policy().back_off(1, number) for number in range(20)]
    assert len(set(delays)) == 20
    assert all(0.05 <= delay <= 0.05 * 1.25 for delay in delays)
    assert Policy().back_off(10_000, 0) == Policy().longest_delay


def test_any_fact_wakes_a_back_off_that_is_over() -> None:
    play, a, b = Play(policy=STEADY), task("a", retries=1), task("b")
    play(add(a))
    play(Failed("a", 1, BOOM), at=10.0)
    assert play(add(b), at=15.0) == [start(a, 2), start(b), WakeAt(None)]


def test_a_back_off_can_be_abandoned() -> None:
    play = Play(policy=STEADY)
    play(add(task("a", retries=1)))
    play(Failed("a", 1, BOOM), at=10.0)
    assert reports(play(Abandoned(("a",)), at=10.5)) == {"a": CANCELLED}
    assert play.alive == set()
    assert only(Start, play(at=99.0)) == []


def test_a_retry_is_not_hidden_behind_the_timeout_of_the_attempt_before() -> None:
    play, a = Play(policy=STEADY), task("a", retries=1, timeout=100.0)
    play(add(a))
    assert play(Began("a", 1, 0)) == [WakeAt(100.0)]
    assert play(Failed("a", 1, BOOM), at=1.0) == [WakeAt(2.0)]
    assert only(Start, play(at=2.0)) == [start(a, 2, careful=True, suspect=False)]


def test_the_timeout_of_an_earlier_attempt_does_not_stop_a_later_one() -> None:
    play, a = Play(policy=STEADY), task("a", retries=1, timeout=3.0)
    play(add(a))
    play(Began("a", 1, 0))
    play(Failed("a", 1, BOOM), at=1.0)
    play(at=2.0)
    assert only(Stop, play(at=3.0)) == []  # the second attempt has not begun an item
    play(Began("a", 2, 0), at=3.5)
    assert only(Stop, play(at=6.0)) == []
    assert only(Stop, play(at=6.5)) == [Stop("a", 2)]


def test_the_timeout_of_a_lost_attempt_does_not_stop_the_next_one() -> None:
    play = Play()
    play(add(task("a", timeout=3.0)))
    play(Began("a", 1, 0))
    assert len(only(Start, play(Lost("a", 1, DEAD, blame=False), at=1.0))) == 1
    assert only(Stop, play(at=50.0)) == []
    assert play(Began("a", 2, 0), at=60.0) == [WakeAt(63.0)]


# ---- timeouts ------------------------------------------------------------------------------------


def test_a_task_with_a_timeout_announces_its_items() -> None:
    play, a = Play(), task("a", timeout=5.0)
    assert play(add(a)) == [start(a, careful=True)]


def test_the_time_counts_from_the_items_own_start() -> None:
    play = Play()
    play(add(task("a", timeout=5.0)))
    assert play(at=100.0) == []
    assert play(Began("a", 1, 0), at=100.0) == [WakeAt(105.0)]
    assert play(Began("a", 1, 1), at=104.0) == []
    assert play(at=105.0) == [WakeAt(109.0)]
    assert play(at=109.0) == [Stop("a", 1), WakeAt(None)]


def test_no_time_is_kept_of_what_is_on_its_way() -> None:
    play = Play()
    play(add(task("a", timeout=5.0)))
    play(Began("a", 1, 0))
    play(Began("a", 1, None), at=1.0)
    assert play(Through("a", 1), at=2.0) == []
    assert play(at=100.0) == [WakeAt(None)]
    assert [order.state for order in play(Succeeded("a", 1), at=101.0) if isinstance(order, Report)] == [State.DONE]


@pytest.mark.parametrize(("timeout", "rest"), [(0.5, 5.0), (2.0, 6.0)])
def test_what_is_no_items_has_the_time_of_all_items_and_some_seconds_at_least(timeout: float, rest: float) -> None:
    play = Play()
    play(add(task("a", timeout=timeout, size=3)))
    play(Began("a", 1, 0))
    play(Began("a", 1, None), at=0.1)
    assert play(at=rest) == [WakeAt(0.1 + rest)]
    assert play(at=0.1 + rest) == [Stop("a", 1), WakeAt(None)]


def test_an_item_that_ran_over_is_named_and_is_not_retried() -> None:
    play = Play()
    play(add(task("a", timeout=5.0, retries=3), task("b", "a")))
    play(Began("a", 1, 7), at=1.0)
    assert only(Stop, play(at=6.0)) == [Stop("a", 1)]
    assert play(at=60.0) == []
    orders = play(Stopped("a", 1), at=60.0)
    assert reports(orders) == {"a": CANCELLED, "b": FAILED}
    for report in only(Report, orders):
        assert report.failure.index == 7
        assert isinstance(report.failure.exception(), ItemTimeout)
        assert "timeout=5 seconds" in report.failure.message


@pytest.mark.parametrize("answer", [Succeeded("a", 1), Failed("a", 1, BOOM), Lost("a", 1, DEAD, 7)])
def test_whatever_comes_back_after_a_timeout_it_stays_a_timeout(answer: Fact) -> None:
    play = Play()
    play(add(task("a", timeout=5.0, retries=3)))
    play(Began("a", 1, 7))
    play(at=5.0)
    orders = play(answer, at=5.1)
    (report,) = only(Report, orders)
    assert (report.state, report.failure.type_name) == (CANCELLED, "ItemTimeout")
    assert only(Release, orders) == ([Release("a")] if isinstance(answer, Succeeded) else [])
    assert play.alive == set()


def test_a_kept_timeout_fails_those_that_join_it_later() -> None:
    play = Play()
    play(add(task("a", timeout=5.0, keep=True)))
    play(Began("a", 1, 0))
    play(at=5.0)
    play(Stopped("a", 1), at=5.0)
    (report,) = play(add(task("b", "a")), at=6.0)
    assert (report.state, report.failure.type_name) == (FAILED, "ItemTimeout")


def test_an_answer_in_time_is_not_stopped_though_the_clock_says_so_at_once() -> None:
    play = Play()
    play(add(task("a", timeout=5.0)))
    play(Began("a", 1, 0))
    orders = play(Succeeded("a", 1), at=50.0)
    assert only(Stop, orders) == [] and reports(orders) == {"a": DONE}


def test_nobody_is_woken_for_a_task_that_is_over() -> None:
    play = Play()
    play(add(task("a", timeout=5.0)))
    play(Began("a", 1, 0))
    assert only(WakeAt, play(Succeeded("a", 1), at=1.0)) == [WakeAt(None)]


# ---- losses --------------------------------------------------------------------------------------


def test_a_loss_without_blame_is_only_a_delay_however_often() -> None:
    play, a = Play(), task("a")
    play(add(a))
    for attempt in range(1, 50):
        assert play(Lost("a", attempt, DEAD, blame=False)) == [start(a, attempt + 1)]


def test_after_a_death_a_task_is_run_carefully() -> None:
    play, a = Play(), task("a")
    play(add(a))
    assert play(Lost("a", 1, DEAD)) == [start(a, 2, careful=True)]


def test_the_item_that_is_at_work_in_two_deaths_is_blamed() -> None:
    play, a = Play(), task("a")
    play(add(a))
    play(Lost("a", 1, DEAD))
    assert play(Lost("a", 2, DEAD, item=4)) == [start(a, 3, careful=True)]
    (report,) = play(Lost("a", 3, DEAD, item=4))
    assert (report.key, report.state) == ("a", FAILED)
    assert (report.failure.index, report.failure.message) == (4, DEAD.message)


def test_different_items_share_no_guilt() -> None:
    play, a = Play(), task("a", size=50)
    play(add(a))
    for attempt in range(1, 30):
        assert play(Lost("a", attempt, DEAD, item=attempt)) == [start(a, attempt + 1, careful=True)]
    assert reports(play(Lost("a", 30, DEAD, item=3))) == {"a": FAILED}


def test_a_task_that_dies_unannounced_three_times_is_blamed_itself() -> None:
    play = Play()
    play(add(task("a")))
    play(Lost("a", 1, DEAD))
    play(Lost("a", 2, DEAD))
    (report,) = play(Lost("a", 3, DEAD))
    assert (report.state, report.failure.index) == (FAILED, None)


def test_deaths_at_items_are_none_of_the_tasks_own() -> None:
    """As where workers are killed from outside, while a task reads items and while it writes them."""
    play, a = Play(), task("a", size=50)
    play(add(a))
    for attempt, item in enumerate([None, 3, 7, None, 9], 1):
        assert play(Lost("a", attempt, DEAD, item=item)) == [start(a, attempt + 1, careful=True)]
    assert reports(play(Lost("a", 6, DEAD))) == {"a": FAILED}


def test_deaths_are_not_the_users_retries() -> None:
    play, a = Play(policy=STEADY), task("a", retries=1)
    play(add(a))
    assert play(Lost("a", 1, DEAD)) == [start(a, 2, careful=True)]
    assert play(Failed("a", 2, BOOM)) == [WakeAt(1.0)]


def test_a_loss_fails_the_dependents_of_the_blamed_task() -> None:
    play = Play(policy=Policy(deaths_of_a_task=1))
    play(add(task("a"), task("b", "a")))
    assert reports(play(Lost("a", 1, DEAD))) == {"a": FAILED, "b": FAILED}


# ---- stale answers -------------------------------------------------------------------------------

STALE: list[Fact] = [
    Succeeded("a", 1), Failed("a", 1, BOOM), Lost("a", 1, DEAD), Stopped("a", 1), Began("a", 1, 0)
]  # fmt: skip


@pytest.mark.parametrize("fact", STALE)
def test_an_answer_for_an_older_attempt_is_ignored(fact: Fact) -> None:
    play = Play()
    play(add(task("a", timeout=5.0)))
    play(Lost("a", 1, DEAD, blame=False))
    assert play(fact) == []
    assert reports(play(Succeeded("a", 2))) == {"a": DONE}


@pytest.mark.parametrize("fact", STALE)
def test_an_answer_for_a_task_that_is_over_or_unknown_is_ignored(fact: Fact) -> None:
    play = Play()
    assert play(fact) == []
    play(add(task("a", keep=True)))
    play(Succeeded("a", 1))
    assert play(fact) == []
    play(Abandoned(("a",)))
    assert play(fact) == []
    assert play.scheduler.busy == 0


@pytest.mark.parametrize("fact", STALE)
def test_an_answer_during_a_back_off_is_ignored(fact: Fact) -> None:
    play, a = Play(policy=STEADY), task("a", retries=1)
    play(add(a))
    play(Failed("a", 1, BOOM))
    assert play(fact) == []
    assert play(at=1.0) == [start(a, 2), WakeAt(None)]


# ---- abandoning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [Stopped("a", 1), Failed("a", 1, BOOM), Lost("a", 1, DEAD, 0)])
def test_what_runs_is_stopped_and_then_cancelled_whatever_comes_back(answer: Fact) -> None:
    play = Play()
    play(add(task("a", retries=5)))
    assert play(Abandoned(("a",))) == [Stop("a", 1)]
    assert play(Abandoned(("a",))) == []
    assert play(answer) == [Report("a", CANCELLED)]
    assert play.alive == set()


def test_a_success_that_came_too_late_is_released_and_reported_as_cancelled() -> None:
    play = Play()
    play(add(task("a", keep=True)))
    play(Abandoned(("a",)))
    assert play(Succeeded("a", 1)) == [Release("a"), Report("a", CANCELLED)]
    assert play.alive == set()


def test_what_has_not_started_is_cancelled_at_once() -> None:
    play = Play(slots=1)
    b, c = task("b"), task("c")
    play(add(task("a"), b, task("d", "a"), c))
    assert play(Abandoned(("b", "d"))) == [Report("b", CANCELLED), Report("d", CANCELLED)]
    assert only(Start, play(Succeeded("a", 1))) == [start(c)]


def test_an_abandoned_task_goes_on_while_somebody_needs_it() -> None:
    play = Play()
    b = task("b", "a")
    play(add(task("a", keep=True), b))
    assert play(Abandoned(("a",))) == []
    assert play(Succeeded("a", 1)) == [Report("a", DONE), start(b)]
    assert play(Succeeded("b", 1)) == [Report("b", DONE), Release("a"), Release("b")]


def test_abandoning_the_last_user_lets_go_of_all_that_only_it_wanted() -> None:
    play = Play()
    play(add(task("v", keep=True), task("w", keep=True)))
    play(Succeeded("v", 1), Succeeded("w", 1))
    play(add(task("r"), task("x", "r"), task("u", "v", "w", "r", "x")))
    play(Abandoned(("v", "r", "x")))
    orders = play(Abandoned(("u",)))
    assert reports(orders) == {"u": CANCELLED, "x": CANCELLED}
    assert only(Release, orders) == [Release("v")]
    assert only(Stop, orders) == [Stop("r", 1)]
    assert play.alive == {"w", "r"}


def test_a_task_that_came_again_does_not_count_its_former_life() -> None:
    play = Play()
    play(add(task("a"), task("b"), task("c", "a", "b")))
    play(Abandoned(("c",)))
    c = task("c", "a", "b")
    play(add(c))
    assert only(Start, play(Succeeded("a", 1))) == []
    assert only(Start, play(Succeeded("b", 1))) == [start(c)]


def test_a_task_that_came_again_stands_at_the_end_of_the_queue() -> None:
    play = Play(slots=0)
    a, b = task("a"), task("b")
    play(add(a, b))
    play(Abandoned(("a",)))
    play(add(a))
    assert play(Slots(5)) == [start(b), start(a)]


def test_a_task_that_came_again_does_not_inherit_its_former_inputs() -> None:
    play = Play()
    play(add(task("a"), task("b"), task("c", "a")))
    play(Abandoned(("c",)))
    c = task("c", "b")
    play(add(c))
    assert reports(play(Failed("a", 1, BOOM))) == {"a": FAILED}
    assert only(Start, play(Succeeded("b", 1))) == [start(c)]


# ---- size ----------------------------------------------------------------------------------------


def chain(length: int, **settings: Any) -> list[Task]:
    return [task(0, **settings), *(task(i, i - 1, **settings) for i in range(1, length))]


def test_a_long_chain_succeeds_link_by_link() -> None:
    play = Play()
    play(add(*chain(LONG)))
    done = sum(len(only(Report, play(Succeeded(i, 1)))) for i in range(LONG))
    assert done == LONG
    assert play.alive == set()


def test_a_failure_at_the_head_of_a_long_chain_reaches_its_end() -> None:
    play = Play()
    play(add(*chain(LONG)))
    assert reports(play(Failed(0, 1, BOOM))) == dict.fromkeys(range(LONG), FAILED)
    assert play.alive == set()


@pytest.mark.parametrize("backwards", [False, True])
def test_abandoning_a_long_chain_cancels_all_of_it(backwards: bool) -> None:
    play = Play()
    play(add(*chain(LONG)))
    keys = range(LONG)
    orders = play(Abandoned(tuple(reversed(keys) if backwards else keys)))
    assert reports(orders) == dict.fromkeys(range(1, LONG), CANCELLED)
    assert only(Stop, orders) == [Stop(0, 1)]
    assert play(Stopped(0, 1)) == [Report(0, CANCELLED)]
    assert play.alive == set()


def test_abandoning_the_tail_of_a_long_chain_keeps_what_others_hold() -> None:
    play = Play()
    play(add(*chain(LONG)))
    assert reports(play(Abandoned((LONG - 1,)))) == {LONG - 1: CANCELLED}
    assert len(play.alive) == LONG - 1


def test_a_wide_task_fails_and_succeeds_in_one_go() -> None:
    play = Play(slots=LONG)
    sides = [task(i) for i in range(LONG)]
    play(add(*sides, task("all", *range(LONG))))
    (last,) = only(Start, play(*(Succeeded(i, 1) for i in range(LONG))))
    assert last.task.key == "all"
    assert len(only(Release, play(Succeeded("all", 1)))) == LONG + 1
    assert play.alive == set()


@pytest.mark.parametrize("slots", [0, 1])
def test_what_came_and_went_leaves_nothing_behind(slots: int) -> None:
    """Memory follows what is alive: queues and lists of dependents too."""
    play = Play(slots)
    play(add(task("root", keep=True)))
    for i in range(1000):
        play(add(task(i), task(-i - 1, "root")))
        play(Abandoned((i, -i - 1)))
    scheduler = play.scheduler
    assert set(scheduler.records) == {"root"}
    assert len(scheduler._ready) < 100
    assert not scheduler.records["root"].dependents


def test_timers_of_the_dead_are_not_kept_until_their_time() -> None:
    play = Play()
    play(add(task("long", timeout=3600.0)))
    play(Began("long", 1, 0))
    for i in range(1000):
        play(add(task(i, timeout=3600.0)), at=i)
        play(Began(i, 1, 0), at=i)
        play(Succeeded(i, 1), at=i)
    assert len(play.scheduler._timers.entries) < 100
    assert only(Stop, play(at=3600.0)) == [Stop("long", 1)]


def test_of_the_tasks_of_each_waiter_one_runs_be_it_beyond_the_slots() -> None:
    play = Play(slots=1)
    first, second = (task(f"a{n}", waiter=1) for n in range(2))
    third, fourth = (task(f"b{n}", waiter=2) for n in range(2))
    assert play(add(first, second)) == [start(first)]
    assert play(add(third, fourth)) == [start(third)]
    assert start(fourth) in play(Succeeded("b0", 1)), "its turn among all has not come, but among its own"
    assert start(second) in play(Succeeded("a0", 1))
    assert not only(Start, play(Succeeded("b1", 1), Succeeded("a1", 1)))
    assert not play.alive
    assert not play.scheduler._waiters
