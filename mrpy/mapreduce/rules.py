"""What the workers have to know of the options of a run."""

from __future__ import annotations

from mrpy.light import TYPE_CHECKING, Frozen
from mrpy.mapreduce.random import fresh_seed

if TYPE_CHECKING:
    from mrpy.mapreduce.plan import Plan
    from mrpy.options import OnError, Options


class Rules(Frozen):
    """What the worker has to know of the options."""

    on_error: OnError = "raise"
    retries: int = 0
    timeout: float | None = None
    seed: int = 0
    max_errors: int | None = None

    @classmethod
    def of(cls, options: Options, plan: Plan | None = None) -> Rules:
        """The part of `options` that concerns workers."""
        seed = stage_seed(options, plan)
        return cls(options.on_error, options.retries, options.timeout, seed, options.max_errors)


def stage_seed(options: Options, plan: Plan | None = None, behind: int = 0) -> int:
    """The seed of the random numbers of a run over this plan. A run over the results of another has other
    numbers than that: one for each stage of the chain that is behind it. ``behind``: stages further on, in
    the same run."""
    seed = options.seed if options.seed is not None else fresh_seed()
    stages = behind + (str(plan.source).count(" -> ") if plan is not None else 0)
    return seed + (stages << 64)
