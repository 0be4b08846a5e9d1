"""The trace: what happened can be told, bounded and replayed."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

import mrpy
from mrpy.scheduler.failure import Failure
from mrpy.scheduler.messages import (
    Abandoned,
    Added,
    Began,
    Fact,
    Failed,
    Input,
    Lost,
    Moved,
    Order,
    Report,
    Slots,
    Start,
    Stopped,
    Succeeded,
    Task,
)
from mrpy.scheduler.policy import Policy
from mrpy.scheduler.scheduler import Scheduler
from mrpy.scheduler.states import Move, State
from mrpy.scheduler.trace import Step, Trace, replay

BOOM = Failure("ValueError", "boom")
DEAD = Failure("WorkerCrashed", "signal 9")

RUN: list[tuple[float, list[Fact]]] = [
    (0.0, [Slots(2)]),
    (
        1.0,
        [
            Added(
                (
                    Task("a", None, retries=1),
                    Task("b", None, (Input("a"),)),
                    Task("slow", None, timeout=5.0),
                    Task("after", None, (Input("slow"),)),
                    Task("orphan", None, (Input("ghost"),)),
                )
            )
        ],
    ),
    (1.5, [Began("slow", 1, 3)]),
    (2.0, [Failed("a", 1, BOOM)]),
    (4.0, []),
    (5.0, [Lost("a", 2, DEAD)]),
    (7.0, [Succeeded("a", 3, 0.5)]),
    (7.5, [Stopped("slow", 1)]),
    (8.0, [Abandoned(("b",))]),
    (9.0, [Stopped("b", 1)]),
]


def run(trace: Trace | None, policy: Policy | None = None) -> list[list[Order]]:
    """What a driver does, without the world."""
    scheduler = Scheduler(trace, policy or Policy())
    orders = []
    for now, facts in RUN:
        if trace is not None:
            trace.told(facts, now)
        orders.append(scheduler.handle(facts, now))
    assert scheduler.records == {}
    return orders


def test_a_run_with_a_trace_takes_the_same_decisions_as_one_without() -> None:
    assert run(Trace()) == run(None)


def test_a_replay_gives_the_same_orders_failures_of_our_own_included() -> None:
    trace = Trace()
    orders = run(trace)
    states = {order.key: order.state for step in orders for order in step if isinstance(order, Report)}
    assert states == {
        "a": State.DONE, "b": State.CANCELLED, "slow": State.CANCELLED,
        "after": State.FAILED, "orphan": State.FAILED,
    }  # fmt: skip
    assert replay(trace.steps) == orders
    assert replay(trace.steps) == replay(trace.steps)


def test_a_replay_needs_the_policy_of_the_run() -> None:
    patient, trace = Policy(first_delay=60.0, longest_delay=60.0), Trace()
    scheduler = Scheduler(trace, patient)
    facts: list[Fact] = [Slots(1), Added((Task("a", None, retries=1),)), Failed("a", 1, BOOM)]
    trace.told(facts[:2], 0.0)
    trace.told(facts[2:], 1.0)
    trace.told([], 30.0)
    orders = [scheduler.handle(step.facts, step.time) for step in list(trace.steps)]
    assert replay(trace.steps, patient) == orders
    assert any(isinstance(order, Start) for order in replay(trace.steps)[-1])


def test_the_story_of_a_task_can_be_told_after_its_death() -> None:
    trace = Trace()
    run(trace)
    assert trace.story("b").splitlines() == [
        "7.000000 waiting -> ready (unblock)",
        "7.000000 ready -> running (start)",
        "8.000000 running -> stopping (stop)",
        "9.000000 stopping -> cancelled (cancel)",
    ]
    assert trace.story("ghost") == "nothing is known of 'ghost'"


def test_facts_are_copied_when_they_are_told() -> None:
    trace, facts = Trace(), [Slots(1)]
    trace.told(facts, 2.0)
    facts.clear()
    assert list(trace.steps) == [Step(2.0, (Slots(1),))]


def test_a_limit_bounds_steps_and_moves_and_keeps_the_last() -> None:
    trace = Trace(limit=3)
    run(trace)
    assert [step.time for step in trace.steps] == [now for now, _ in RUN[-3:]]
    assert len(trace.moves) == 3
    assert [(moved.task.key, moved.move) for moved in trace.moves][-2:] == [
        ("b", Move.CANCEL),
        ("a", Move.RELEASE),
    ]


# ---- observers -------------------------------------------------------------------------------------------


class Broken:
    """An observer that raises; ``by_itself``: it has taken itself out before."""

    def __init__(self, driver: Any, *, by_itself: bool, error: Exception) -> None:
        self.driver, self.by_itself, self.error = driver, by_itself, error
        self.told = 0

    def __call__(self, moved: Moved) -> None:
        self.told += 1
        if self.by_itself:
            self.driver.unobserve(self)
        raise self.error


class Mute(Exception):
    """It cannot be shown."""

    def __repr__(self) -> str:
        raise self


@pytest.mark.parametrize("problem", ["it is gone", "no standard error", "no repr"])
def test_an_observer_that_raises_is_dropped_whatever_comes_on_top(monkeypatch: Any, problem: str) -> None:
    if problem == "no standard error":
        closed = open(os.devnull, "w")
        closed.close()
        monkeypatch.setattr(sys, "stderr", closed)
    with mrpy.session("threads", workers=1) as session:
        error = Mute() if problem == "no repr" else ValueError()
        broken = Broken(session.driver, by_itself=problem == "it is gone", error=error)
        session.driver.observe(broken)
        assert list(mrpy.pmap(abs, [1, -2])) == [1, 2]
        assert broken.told == 1
        assert session.driver.observers == []


def test_an_observer_that_is_dropped_just_then_can_be_taken_out() -> None:
    class DroppedAmid(list[Any]):
        def __contains__(self, observer: object) -> bool:
            there = super().__contains__(observer)
            self.clear()  # the driver's thread does so, at any moment
            return there

    with mrpy.session("threads", workers=1) as session:
        session.driver.observers = DroppedAmid([print])
        session.driver.unobserve(print)
