"""Random numbers that do not depend on where, or in which order, items are computed.

Inside a task `rng` returns a NumPy Generator that is keyed by the run's seed and the item's position, or the
key that is reduced: the same item gets the same numbers on every backend, with any chunk size, and when it is
tried again.

The generator is counter-based (Philox: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
as 1, 2, 3", SC 2011), so that streams of different keys are independent without being skipped through.
"""

from __future__ import annotations

import os
from _thread import _local
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

from mrpy.errors import MrpyError
from mrpy.inside import inside
from mrpy.light import TYPE_CHECKING, Any, later

if TYPE_CHECKING:
    import numpy

    from mrpy.mapreduce.files.reading import Reading
else:
    numpy = later("numpy")


class _Here(_local):
    """The numbers of the item at work, whose position is in `inside`."""

    seed: int | None = None
    reading: Reading | None = None  # where the item at work is one of many that an item of the source holds
    made: tuple[Any, Any] | None = None  # (seed, position) and the generator they got


_here = _Here()
AHEAD = -2  # less a position: ahead of the item there
STRIDE = 0x9E3779B97F4A7C15  # odd, so that a seed comes again after 2**64 others; as in splitmix64
_drawn: tuple[int, int, Iterator[int]] | None = None  # process, a random number, and how many were derived


class at_positions:
    """While this is open, `rng` gives the numbers of `seed`, or of a fresh one, and of the position that is
    asked for then."""

    __slots__ = ("_before", "_position", "_reading", "_seed")

    def __init__(self, seed: int | None, position: Callable[[], int], reading: Reading | None = None) -> None:
        self._seed = seed
        self._position = position
        self._reading = reading

    def __enter__(self) -> None:
        self._before = _here.seed, inside.position, _here.made, _here.reading
        _here.seed, inside.position, _here.made = self._seed, self._position, None
        _here.reading = self._reading

    def __exit__(self, *_: object) -> None:
        _here.seed, inside.position, _here.made, _here.reading = self._before


def ahead_of(first: int, seed: int | None) -> at_positions:
    """The same where the items from this position on have been made: none of them is at work."""
    return at_positions(seed, lambda: AHEAD - first)


def of_no_item() -> at_positions:
    """While this is open there are no numbers: what is done is for a worker, whichever item is at work."""
    return at_positions(None, partial(int, -1))


def fresh_seed() -> int:
    """A seed for a run that was given none."""
    global _drawn
    drawn, pid = _drawn, os.getpid()
    if drawn is None or drawn[0] != pid:  # a forked child has numbers of its own
        _drawn = drawn = pid, int.from_bytes(os.urandom(8), "little"), count()
    return (drawn[1] + next(drawn[2]) * STRIDE) % (1 << 64)


def leaf_random(seed: int) -> tuple[Callable[[], float], int]:
    """For a fold: numbers in [0, 1) for the items of the leaf that is about to be folded, and the
    position at which the leaf begins."""
    import random

    at = inside.position() if inside.position is not None else -1
    first = at + 1 if at >= -1 else AHEAD - at
    return random.Random(f"{seed} {first}").random, first


def rng() -> numpy.random.Generator:
    """The random generator of the item at work: the same everywhere, for the same ``seed=``.

    Called several times for one item it goes on where it was. In a reducer it is the key's. Outside a task,
    and in what combines partial results, it raises `MrpyError`. A generator made beforehand, in a global or a
    closure, is copied to each worker process, and these draw the same numbers.

    >>> import mrpy
    >>> draws = mrpy.pmap(lambda n: int(mrpy.rng().integers(100)), range(4), seed=1, backend="serial")
    >>> list(draws) == list(mrpy.pmap(lambda n: int(mrpy.rng().integers(100)), range(4), seed=1,
    ...                               backend="threads", chunksize=3))
    True
    """
    position = -1 if inside.position is None else inside.position()
    if position < 0:
        raise MrpyError(
            "mrpy.rng() gives the numbers of an item, or of a reducer's key, and there is none here; call it "
            "inside a function that mrpy runs for each item. Of a fold that is a map() before it"
        )
    if _here.seed is None:  # of a single call: drawn only now, since few ask
        _here.seed = fresh_seed()
    key: tuple[Any, ...] = _here.seed, position
    if _here.reading is not None:
        key += (_here.reading.number(),)
    if _here.made is None or _here.made[0] != key:
        draws = numpy.random
        _here.made = key, draws.Generator(draws.Philox(draws.SeedSequence(key)))
    generator: numpy.random.Generator = _here.made[1]
    return generator
