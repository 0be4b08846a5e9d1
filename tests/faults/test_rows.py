"""No fault goes untested: each row of the list below has a test that is marked with its number.

A mark is ``@pytest.mark.fault(2)``, or with several rows ``@pytest.mark.fault(1, 4)``, on a test anywhere
below ``tests``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROWS = {
    1: "a worker is killed while it runs a task",
    2: "a worker is stopped and does not go on",
    3: "a task calls os._exit(0)",
    4: "a task crashes the interpreter, or aborts",
    5: "a task raises SystemExit, KeyboardInterrupt, GeneratorExit or a BaseException of its own",
    6: "a task raises StopIteration",
    7: "a task recurses without end; a traceback is enormous",
    8: "an exception cannot be called, pickled or printed",
    9: "a result cannot be pickled, or not opened",
    10: "an argument cannot be pickled; it raises, exits or crashes when it is opened",
    11: "a function or closure holds a lock, a socket, a generator",
    12: "a source raises half-way",
    13: "a source has no end; the consumer leaves, or sleeps",
    14: "Ctrl-C",
    15: "the parent is killed",
    16: "the parent ends with work in flight",
    17: "a task leaves a thread, a process, or open files",
    18: "a task forks and the child returns",
    19: "a task closes descriptors, or floods its output",
    20: "a worker dies half-way through a message",
    21: "parallel calls inside of tasks, and waiting for a result there",
    22: "memory runs out, or leaks",
    23: "a message of more than 2 GiB; a result that is nested deeply",
    24: "a disk is full",
    25: "a file that was spilled, or a checkpoint, is damaged",
    26: "keys of many kinds, under random hash seeds",
    27: "keys that are NaN",
    28: "keys that cannot be hashed, or not be ordered",
    29: "one key has nearly all records; nothing but None; nothing at all; one item",
    30: "an initial value is changed",
    31: "a reducer is not associative",
    32: "read-only arrays, and arrays that a task changes",
    33: "a task changes the directory, the environment, signal handlers",
    34: "the parent has threads and holds locks when workers start",
    35: "the clock jumps",
    36: "a million tiny tasks; no descriptors left",
    37: "a late or second result; output that is committed twice",
    38: "a worker of another version; a connection to a cluster is cut",
    39: "a main module without a guard, from wherever it comes",
    40: "two sessions, two threads, a session after a fork, closed twice",
    41: "shared memory of multiprocessing, and what tracks it",
}
TESTS = Path(__file__).resolve().parents[1]


def marks(tree: ast.Module) -> Iterator[int]:
    """The numbers that tests in a module are marked with."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="fault", value=ast.Attribute(attr="mark")), args=numbers):
                yield from map(ast.literal_eval, numbers)


MARKED = {row for file in TESTS.rglob("test_*.py") for row in marks(ast.parse(file.read_text()))}


@pytest.mark.parametrize("row", ROWS)
def test_each_fault_has_a_test(row: int) -> None:
    assert row in MARKED, f"no test is marked with fault({row}): {ROWS[row]}"


def test_each_mark_is_the_number_of_a_fault() -> None:
    assert MARKED <= set(ROWS)
