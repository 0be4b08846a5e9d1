"""What all eight do: run the plain loop and the parallel one, compare their answers, say what was gained."""

import atexit
import operator
import shutil
import tempfile
from time import perf_counter

import mrpy


def beside(plain, parallel, same=operator.eq):
    """The answer of `parallel()`, which must be that of `plain()`."""
    list(mrpy.pmap(abs, range(8), chunksize=1))  # starts the workers, which stay
    began = perf_counter()
    expected = plain()
    between = perf_counter()
    found = parallel()
    ended = perf_counter()
    if not same(found, expected):
        raise SystemExit("the plain loop comes to something else")
    times = between - began, ended - between
    print(f"plain {times[0]:.2f} s, parallel {times[1]:.2f} s, speed-up {times[0] / times[1]:.2f}")
    return found


def folder():
    """For the input: a directory that is removed at the end of the program."""
    made = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, made)
    return made
