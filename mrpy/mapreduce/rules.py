"""What the workers have to know of the options of a run."""

from __future__ import annotations

from mrpy.light import TYPE_CHECKING, Frozen
from mrpy.mapreduce.random import fresh_seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from mrpy.options import OnError, Options


class Rules(Frozen):
    """What the worker has to know of the options.

    ``ends``  made on the worker: whether an error that was raised at an item is that of all of them
    """

    on_error: OnError = "raise"
    retries: int = 0
    timeout: float | None = None
    seed: int = 0
    max_errors: int | None = None
    ends: Callable[[BaseException], bool] | None = None

    @classmethod
    def of(cls, options: Options, stage: int = 0) -> Rules:
        """The part of `options` that concerns workers."""
        seed = stage_seed(options, stage)
        return cls(options.on_error, options.retries, options.timeout, seed, options.max_errors)


def stage_seed(options: Options, stage: int) -> int:
    """The seed of the random numbers of a stage: of a run that is behind so many others. Each has other
    numbers than those before it in its chain."""
    seed = options.seed if options.seed is not None else fresh_seed()
    return seed + (stage << 64)
