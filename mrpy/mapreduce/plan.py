"""Plans: what is computed, a source and the narrow steps over it, as frozen nodes that print themselves.
Nothing here runs anything.
"""

from __future__ import annotations

from mrpy.light import TYPE_CHECKING, Frozen
from mrpy.mapreduce.marks import Settled
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.sources import Counted, Pulled, Sliced, Zipped, is_run, stages_of

if TYPE_CHECKING:
    from typing import Any

    from mrpy.mapreduce.sources import Source
    from mrpy.mapreduce.steps import Step
    from mrpy.options import Options
    from mrpy.scheduler.job import Job


class Plan(Frozen):
    """A source and the steps over it."""

    source: Source
    steps: tuple[Step, ...] = ()

    def then(self, *steps: Step) -> Plan:
        """This plan with further steps."""
        return Plan(self.source, self.steps + steps)

    @property
    def stages(self) -> int:
        """How many stages what it yields has been through: those of the runs before it, and its own."""
        return stages_of(self.source) + bool(self.steps)

    @property
    def program(self) -> tuple[Any, ...]:
        """By what a checkpoint knows it: the steps, and how the items under these are made of others, by
        `skip` and `batch` say. Which the others are it does not know."""
        return *_said_of(self.source), *self.steps

    def __str__(self) -> str:
        return " -> ".join([str(self.source), *map(str, self.steps)])


def _said_of(source: Source) -> tuple[Any, ...]:
    if isinstance(source, Zipped):
        return tuple(map(_said_of, source.sources))
    if isinstance(source, Counted):
        return "count", source.sequence.start + source.start
    if isinstance(source, Sliced):
        return ("from", source.start) if source.start else ()
    run = source.iterable if isinstance(source, Pulled) and is_run(source.iterable) else None
    return getattr(run, "said", ())


def ready(plan: Plan, options: Options, job: Job) -> tuple[Plan, Rules]:
    """The plan for one run in this job, which begins in this thread - some steps need something for each
    run - and its rules."""
    plan = of_single_items(plan, options)
    if any(hasattr(step, "ready") for step in plan.steps):
        travels = job.driver.backend.remote
        made = (step.ready(travels=travels) if hasattr(step, "ready") else step for step in plan.steps)
        plan = plan.replaced(steps=tuple(made))
    return plan, Rules.of(options, stages_of(plan.source))


def is_said_of_items(options: Options) -> bool:
    """Whether something is said of single items: that they are left out, tried again, or stopped."""
    return options.on_error != "raise" or bool(options.retries) or options.timeout is not None


def of_single_items(plan: Plan, options: Options) -> Plan:
    """The same plan where something is said of single items: what a join makes of one are several items then,
    which come from a run of their own. What fails in a part that is run by itself is an item of the whole."""
    if not is_said_of_items(options):
        return plan
    for place in reversed(range(len(plan.steps))):
        step: Any = plan.steps[place]
        if hasattr(step, "by_itself"):
            rows = step.by_itself(plan.replaced(steps=plan.steps[:place]))
            return Plan(Pulled(rows), plan.steps[place + 1 :])
    return _settling(plan) if options.on_error != "raise" else plan


def _settling(plan: Plan) -> Plan:
    """The same plan where its source has parts that are run by themselves: what fails in these is a mark."""
    parts: Any = plan.source.iterable if isinstance(plan.source, Pulled) else None
    if not is_run(parts) or getattr(parts, "marks", True):  # the second: that was done before
        return plan
    return Plan(Pulled(parts.marking()), (Settled(), *plan.steps))


def for_records(plan: Plan) -> Plan:
    """The same plan where what it yields comes to the consumer: of a huge file no worker holds all, then."""
    source: Any = plan.source
    return plan.replaced(source=source.for_records()) if hasattr(source, "for_records") else plan
