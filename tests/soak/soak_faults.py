"""All faults at once, at random: every answer must be what a plain loop says, and nothing may be left behind.

    python tests/soak/soak_faults.py [--minutes 3] [--workers 2] [--seed S] [--rounds A | A-B]

A round draws a verb, a source, options and faults of single items, and runs that on a warm shared pool or in a
session of its own, while a thread sends signals to the workers. The seed is printed; what came of a round is
tried again alone with ``--seed S --rounds R``. The draw is the same then, the moments of the signals are not.
A round that takes longer than its deadline is a failure, with the stacks of all threads.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from cases import TIMEOUT, Draw
from chaos import Chaos
from laws import eventually
from left import Holdings, never_comes_back, orphans, records_of
from verbs import VERBS

import mrpy
from mrpy.scheduler import session as sessions

DEADLINE = 90  # seconds for one round; out of the air, ten times what the longest should take
FRESH = 8  # rounds; the shared pool is closed after so many, to see what is left

SESSIONS: dict[str, Any] = {
    "shared": None,
    "own": {},
    "short-lived": {"max_tasks_per_worker": 50},
    "lean": {"memory_limit": 120 << 20},
    "timed": {"timeout": TIMEOUT},
}


class Sink(io.TextIOBase):
    """Takes what tasks print."""

    def write(self, text: str) -> int:
        return len(text)


def say(*words: Any) -> None:
    print(*words, file=sys.__stdout__, flush=True)


@contextlib.contextmanager
def opened(kind: str, workers: int) -> Iterator[Any]:
    """Where a round runs."""
    if SESSIONS[kind] is None:
        list(mrpy.pmap(abs, [0]))
        yield sessions.shared("processes", workers)
    else:
        with mrpy.session("processes", workers=workers, **SESSIONS[kind]) as session:
            yield session


def play(rng: random.Random, workers: int) -> str:
    """One round. Raises AssertionError; returns what happened."""
    deadly = rng.random() < 0.5
    kind = rng.choices([*SESSIONS], [10, 4, 3, 3, 3])[0]
    kills = rng.choice([0, 1, 1, 1 if deadly or kind == "timed" else 2])  # see `Chaos`
    planned = rng.choice(VERBS)(Draw(rng, deadly, kind == "timed"))
    say(f"  {kind}, {planned.text}"[:1200])
    with opened(kind, workers) as session:
        backend = session.driver.backend
        with Chaos(random.Random(rng.random()), lambda: list(backend._team), kills) as chaos:
            planned.run()
        assert list(mrpy.pmap(abs, range(-9, 0))) == [9, 8, 7, 6, 5, 4, 3, 2, 1], "it cannot be used any more"
        del planned
        assert eventually(lambda: not records_of(session)), f"still there: {records_of(session)}"
        assert len(backend._team) <= workers, f"{len(backend._team)} workers"
        open_ones = [session, *sessions._shared.values()]
        teams = {worker.pid for each in open_ones for worker in each.driver.backend._team}
        assert eventually(lambda: not orphans(teams)), f"orphans: {orphans(teams)} of {teams}"
    return ", ".join(f"{times} {name}" for name, times in Counter(chaos.done).items())


def soak(seed: int, rounds: range, minutes: float, workers: int) -> bool:
    """Play until the time is over. Says whether all was well."""
    mrpy.configure(backend="processes", workers=workers)
    with mrpy.session("processes", workers=1):
        list(mrpy.pmap(abs, [1]))  # from now on everything is imported
    bare = Holdings.now()
    ends = time.monotonic() + 60 * minutes
    for number in rounds:
        if time.monotonic() > ends:
            break
        began = time.monotonic()
        faulthandler.dump_traceback_later(DEADLINE, exit=True)
        say(f"round {number} of seed {seed}")
        try:
            chaos = play(random.Random(f"{seed} {number}"), workers)
            if number % FRESH == FRESH - 1 or number == rounds[-1]:
                sessions.close_shared()
                left = never_comes_back(bare) or (f"orphans: {orphans(set())}" if orphans(set()) else "")
                assert not left, f"left behind in the last {FRESH} rounds: {left}"
        except BaseException as problem:
            say(f"FAILED: --seed {seed} --rounds {number}, or --rounds {number - number % FRESH}-{number}")
            if not isinstance(problem, AssertionError):
                raise
            say(problem)
            return False
        finally:
            faulthandler.cancel_dump_traceback_later()
        say(f"  {time.monotonic() - began:.1f} s; from outside: {chaos or 'nothing'}")
    sessions.close_shared()
    say(f"seed {seed}: all {number - rounds[0] + 1} rounds as they must")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "little"))
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", default=None)
    given = parser.parse_args()
    rounds, minutes = range(10**9), given.minutes
    if given.rounds is not None:
        first, _, last = given.rounds.partition("-")
        rounds, minutes = range(int(first), int(last or first) + 1), 60.0
    with contextlib.redirect_stdout(Sink()):
        return 0 if soak(given.seed, rounds, minutes, given.workers) else 1


if __name__ == "__main__":
    sys.exit(main())
