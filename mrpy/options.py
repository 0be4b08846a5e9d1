"""Every run option, in one frozen value.

Verbs take options as keywords; inside they travel as one `Options`. Where an option is not given, the
innermost of these decides: the open `session`, `configure`, the environment (``MRPY_BACKEND``,
``MRPY_WORKERS``), the defaults below.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from mrpy.errors import OptionError
from mrpy.inside import inside
from mrpy.light import TYPE_CHECKING, Any, Frozen, later
from mrpy.machine import cpu_count
from mrpy.scoped import Scoped

if TYPE_CHECKING:
    import difflib
    from types import CodeType
    from typing import Literal, TypeAlias

    OnError: TypeAlias = Literal["raise", "skip", "return"] | Callable[[BaseException], Any]
else:
    difflib = later("difflib")  # only for those who mistype

BACKENDS = ("serial", "threads", "processes", "dask")  # where each lives: mrpy/scheduler/backends

_THREADS = ("threads", "n_threads", "num_threads", "nthreads")
_WORKERS = (
    "n_jobs", "njobs", "jobs", "max_workers", "n_workers", "num_workers", "nodes", "ncpus", "num_cpus",
    "n_cpu", "cpus", "processes", "n_processes", "num_processes", "nproc", "nprocs", "n_procs", "num_proc",
    "concurrency", "max_concurrency", "max_concurrent", "pool_size", *_THREADS,
)  # fmt: skip
_LIFESPAN = ("maxtasksperchild", "max_tasks_per_child", "max_tasks_per_worker", "worker_lifespan")
_ELSEWHERE = {  # what other libraries call it
    **dict.fromkeys(_WORKERS, "workers"),
    **dict.fromkeys(("batch", "batch_size", "chunk_size", "partition_size"), "chunksize"),
    **dict.fromkeys(("prefetch", "prefetch_factor", "buffer_size", "max_tasks_active"), "buffersize"),
    "max_retries": "retries", "prefer": "backend", "scheduler": "backend", "pool": "backend",
    "progress_bar": "progress", "verbose": "progress",
    "return_exceptions": "on_error='return'",
    "raise_exception": "on_error", "random_state": "seed", "random_seed": "seed", "rng": "seed",
    "in_order": "ordered", "desc": "name",
    **dict.fromkeys(_LIFESPAN, "mrpy.session(max_tasks_per_worker=...)"),
    "memory_limit": "mrpy.session(memory_limit=...)",
    "address": "mrpy.session('dask', address=...)", "client": "mrpy.session('dask', client=...)",
}  # fmt: skip
_OF_SOME = {  # what other libraries call an argument that only some verbs have
    "sep": ("delimiter",), "names": ("fieldnames", "fields"), "columns": ("fieldnames", "fields"),
    "initializer": ("initial",),  # as the docs of `functools.reduce` had it for long
}  # fmt: skip
_SET_UP = "what a worker needs is made in mrpy.stage(setup=...), or in setup() of a mrpy.Job"
_ENDS = "what a worker does last goes into teardown() of a mrpy.Job"
_COUNTED = "progress=True sees how many items there are where the source has a length"
_STARTS = "there is one way to start worker processes, without a main guard"
_ARRAYS = "large arrays go to worker processes by shared memory, without being asked"
_DONE = "mrpy.submit(...).add_done_callback(f), where f gets the pending result"
_BAR = "progress=True shows a bar, without it is none; what the function takes goes into functools.partial"
_PARTS = "chunksize= says how many items a task takes; .repartition(n) makes n parts"
_OTHERWISE = {  # what is done in another way
    **dict.fromkeys(_THREADS, "backend='threads' has threads in the place of processes"),
    "npartitions": _PARTS, "n_splits": _PARTS, "leave": _BAR, "unit": _BAR, "disable": _BAR,
    "pre_dispatch": "buffersize= says how many items are pulled ahead",
    "return_as": "results come in order, as you ask for them; ordered=False gives them as they are completed",
    "callback": f"loop over the results, or write {_DONE}",
    "error_callback": "on_error= may be a function, and what that returns stands in place of the result",
    "initializer": _SET_UP, "initargs": _SET_UP, "max_nbytes": _ARRAYS, "mmap_mode": _ARRAYS,
    "worker_init": _SET_UP, "use_worker_state": _SET_UP, "worker_exit": _ENDS,
    "total": _COUNTED, "iterable_len": _COUNTED,
    "mp_context": _STARTS, "start_method": _STARTS,
    "temp_folder": f"{_ARRAYS}; what has no room in memory goes to disk, into the folder TMPDIR",
    "shared_objects": f"a function is sent with what it holds, as functools.partial(f, it) does; {_ARRAYS}",
    "require": "backend='threads' shares the memory of this process",
    "cache": "checkpoint= keeps results, for the same run started again",
}  # fmt: skip


class Options(Frozen):
    """How a run is to be done. None of these changes what is computed.

    ``backend``     ``"processes"``, ``"threads"``, ``"serial"`` or ``"dask"``
    ``workers``     tasks at the same moment; None: the processors that this process may use
    ``ordered``     results in the order of their items; False: as they are completed
    ``chunksize``   items per task; ``"auto"`` follows the measured cost of an item
    ``buffersize``  items pulled from the source and not yet yielded (or, in a reduction, folded), at
                    most, in all runs of a chain together; ``"auto"``: a few chunks per worker
    ``buffer_bytes``  the same in bytes: pickled chunks and results, arrays. The size of an item is known once
                    it is pulled; until then it is taken to be as large as the last ones
    ``memory``      bytes that a shuffle or a sort may hold, in all processes together; more goes to disk;
                    ``"auto"``: a quarter of what this process may still take
    ``on_error``    ``"raise"``; ``"skip"`` the item; ``"return"`` the exception in its place; or a
                    callable that gets the exception and returns the replacement
    ``max_errors``  with ``on_error="skip"``: more skipped items than this end the run with `TooManyErrors`;
                    None: no limit
    ``retries``     further attempts at an item whose function raised, after a growing pause
    ``timeout``     seconds that one item may run, counted from its own start; None: no limit. What is no
                    item's, as a fold, has those of all its items, and five at least
    ``progress``    show a progress bar on standard error
    ``seed``        seed of `mrpy.rng` inside tasks
    ``checkpoint``  a file in which finished chunks are kept, so that the same run can be resumed
    ``check``       before the run, see on copies of a few items, in this process, that the answer does not
                    depend on the cut
    ``name``        what to call the run in its progress bar, and its tasks on a Dask cluster (but those of
                    folds); a call of `submit` also in its errors
    """

    backend: str = "processes"
    workers: int | None = None
    ordered: bool = True
    chunksize: int | Literal["auto"] = "auto"
    buffersize: int | Literal["auto"] = "auto"
    buffer_bytes: int | None = None
    memory: int | Literal["auto"] = "auto"
    on_error: OnError = "raise"
    max_errors: int | None = None
    retries: int = 0
    timeout: float | None = None
    progress: bool = False
    seed: int | None = None
    checkpoint: str | os.PathLike[str] | None = None
    check: bool = False
    name: str | None = None

    @property
    def worker_count(self) -> int:
        """How many workers that means on this machine."""
        return self.workers if self.workers is not None else cpu_count()

    @property
    def threads_per_worker(self) -> int:
        """How many threads a library may use in one worker."""
        return threads_each(self.worker_count)

    def but(self, given: Mapping[str, Any]) -> Options:
        """These options with some replaced. Raises `OptionError` on a name or value that is wrong.

        >>> Options().but({"n_jobs": 4})
        Traceback (most recent call last):
            ...
        mrpy.errors.OptionError: there is no option n_jobs=; it is called workers= here
        """
        if not given:
            return self
        given = {name: plain(value) for name, value in given.items()}
        for name, value in given.items():
            if name not in _CHECKS:
                raise OptionError(_unknown(name))
            checked(name, value, _CHECKS[name])
        return self.replaced(**given)._fitting(given)

    def _fitting(self, given: Mapping[str, Any]) -> Options:
        """These, if what was given goes with the others."""
        if given.get("max_errors") is not None and self.on_error != "skip":
            raise OptionError(
                f"max_errors={self.max_errors} is for on_error='skip' only, and this is "
                f"on_error={self.on_error!r}; max_errors=None is no limit"
            )
        return self


def threads_each(workers: int) -> int:
    """How many threads a library may use in each of so many workers, for all to share the processors."""
    return max(1, cpu_count() // workers)


def _unknown(name: str) -> str:
    verbs = _verbs()
    names = [*_keywords(verbs), *_CHECKS]
    hints = [f"it is called {ours}= here" for ours in _OF_SOME.get(name, ()) if ours in names][:1]
    if name in _ELSEWHERE:
        there = _ELSEWHERE[name]
        hints.append(f"it is called {there if '=' in there else there + '='} here")
    if name in _OTHERWISE:
        hints.append(_OTHERWISE[name])
    if not hints:
        near = difflib.get_close_matches(name, names, 1)
        hints.append(f"did you mean {near[0]}=?" if near else f"there are {', '.join(dict.fromkeys(names))}")
        if not near and any(verb.co_name in _OF_A_FUNCTION for verb in verbs):
            hints.append(f"what the function takes goes into it: functools.partial(f, {name}=...)")
    return "; ".join([f"there is no option {name}=", *hints])


_TAKES_OPTIONS = 0x08  # what `inspect` calls CO_VARKEYWORDS
_OF_A_FUNCTION = ("pmap", "pstarmap", "pfilter")  # whose further arguments may be meant
_AMONG_OPTIONS = {  # what these take out of them before
    "session": ("address", "client", "max_tasks_per_worker", "memory_limit"),
    "read_csv": ("delimiter", "quotechar", "escapechar", "doublequote", "skipinitialspace", "quoting"),
}


def _verbs() -> list[CodeType]:
    """Those that the user has called, and that take options."""
    verbs: list[CodeType] = []
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("mrpy."):
        if frame.f_code.co_flags & _TAKES_OPTIONS:
            verbs.append(frame.f_code)
        frame = frame.f_back
    return verbs


def _keywords(verbs: list[CodeType]) -> list[str]:
    """What they take besides options."""
    names: list[str] = []
    for code in verbs:
        taken = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
        names += [each for each in taken if each != "self"]
        names += _AMONG_OPTIONS.get(code.co_name, ())
    return names


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """A whole number or a truth value of NumPy's as one of Python's: an `arange` of workers has those."""
    of_numpy = type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0
    known = hasattr(value, "__index__") or type(value).__name__ in ("bool", "bool_")
    return value.item() if of_numpy and known else value


def checked(name: str, value: Any, check: Callable[[Any], str]) -> Any:
    """The value of an argument. Raises `OptionError` where a check finds a problem with it."""
    if problem := check(value):
        raise OptionError(f"{name}={value!r:.60}: {problem}")
    return value


def whole_from(least: int, *words: Any, of: str = "", hint: str = "") -> Callable[[Any], str]:
    """The check that a value is a whole number from there up, or one of these words (None, or a string)."""

    def check(value: Any) -> str:
        fine = value in words if isinstance(value, str | None) else _is_int(value) and value >= least
        if fine:
            return ""
        others = "".join(f", or {word!r}" for word in words)
        return f"must be a whole number{of} from {least} up{others}{hint}"

    return check


def truth(name: str, value: Any) -> bool:
    """An argument that is either. A word like "no" would be true, and what it says be done."""
    return bool(checked(name, plain(value), _truth))


def _truth(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be True or False"


_BACKENDS_ELSEWHERE = {
    **dict.fromkeys(("loky", "multiprocessing", "mp", "fork", "forkserver", "spawn"), "processes"),
    **dict.fromkeys(("multithreading", "threading"), "threads"), "distributed": "dask",
    **dict.fromkeys(("synchronous", "sync", "single-threaded", "sequential"), "serial"),
}  # fmt: skip


def _backend(value: Any) -> str:
    if isinstance(value, str) and value in BACKENDS:
        return ""
    theirs = _BACKENDS_ELSEWHERE.get(str(value))
    near = [theirs] if theirs else difflib.get_close_matches(str(value), BACKENDS, 1)
    hint = _meant(value) or (f"; did you mean {near[0]!r}?" if near else "")
    return f"must be one of {', '.join(BACKENDS)}{hint}"


def _workers(value: Any) -> str:
    problem = whole_from(1, None)(value)
    return problem and problem + (_meant(value) or "; without it all processors are taken")


def _meant(value: Any) -> str:
    """What one of the two might be that was given in place of the other."""
    if _is_int(value) and value >= 1:
        return f"; did you mean workers={value}?"
    if isinstance(value, str) and value in BACKENDS:
        return f"; did you mean backend={value!r}?"
    at = isinstance(value, str) and "://" in value
    return f"; did you mean mrpy.session('dask', address={value!r})?" if at else ""


def _on_error(value: Any) -> str:
    fine = value in ("raise", "skip", "return") if isinstance(value, str) else callable(value)
    return "" if fine else "must be 'raise', 'skip', 'return' or a callable"


def _timeout(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fine = value is None or (number and 0 < value <= sys.float_info.max)
    return "" if fine else "must be a number of seconds above 0, or None for no limit"


def _path(value: Any) -> str:
    return "" if value is None or isinstance(value, str | os.PathLike) else "must be a path, or None"


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, str) else "must be a string, or None"


_BYTES = " of bytes (512 * 2**20, say)"

_CHECKS: dict[str, Callable[[Any], str]] = {
    "backend": _backend,
    "workers": _workers,
    "ordered": _truth,
    "chunksize": whole_from(1, "auto"),
    "buffersize": whole_from(1, "auto"),
    "buffer_bytes": whole_from(1, None, of=_BYTES),
    "memory": whole_from(1, "auto", of=_BYTES),
    "on_error": _on_error,
    "max_errors": whole_from(0, None, hint=" for no limit"),
    "retries": whole_from(0),
    "timeout": _timeout,
    "progress": _truth,
    "seed": whole_from(0, None),
    "checkpoint": _path,
    "check": _truth,
    "name": _text,
}
assert Options.__match_args__ == tuple(_CHECKS)


# ---- defaults ------------------------------------------------------------------------------------


_DEFAULTS = Options()
_configured: dict[str, Any] = {}
of_session = Scoped("mrpy_session_options")
# What the last call of `resolve` found: the environment, the other two, which are never changed in place,
# and what they come to together.
_merged: tuple[tuple[Any, Any, Any], Options] = ({}, _configured, None), Options()


def configure(**given: Any) -> None:
    """Set default options for the whole process. Without arguments: back to the defaults.

    >>> configure(workers=2, progress=False)
    >>> configure()
    """
    global _configured
    merged = over(_configured, given)  # another one: see `resolve`
    Options().but(merged)
    _configured = merged if given else {}


def over(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, and what was given before where that says nothing of it. How many items may be skipped
    goes with the skipping."""
    merged = {**before, **given}
    if "max_errors" not in given and given.get("on_error", "skip") != "skip":
        merged.pop("max_errors", None)
    return merged


def resolve(given: Mapping[str, Any]) -> Options:
    """The options of a run for which these were given."""
    if inside.task:  # workers of another process know of no session, so those of this one ask none
        return _DEFAULTS.but(_environment()).but(given)
    global _merged
    scopes = _environment(), _configured, of_session.get()
    last, options = _merged
    if scopes[0] != last[0] or scopes[1] is not last[1] or scopes[2] is not last[2]:
        options = _DEFAULTS.but(scopes[0]).but(scopes[1]).but(scopes[2] or {})
        _merged = scopes, options
    return options.but(given) if given else options


def origin(name: str, given: Mapping[str, Any]) -> str:
    """Who decided on an option, in words."""
    layers = ((given, "as given"), (of_session.get() or {}, "of the open session"))
    for layer, words in (*layers, (_configured, "by configure()"), (_environment(), "by the environment")):
        if name in layer:
            return words
    return "the default"


_VARIABLES = frozenset(map(os.fsencode, ("MRPY_BACKEND", "MRPY_WORKERS")))


def _environment() -> dict[str, Any]:
    # For a variable that is not set `os.environ` makes two exceptions: 10 us of a single call's 200. So the
    # dict that it keeps is asked first; there is none where somebody has put something else in its place.
    kept = getattr(os.environ, "_data", None)
    if kept is not None and kept.keys().isdisjoint(_VARIABLES):
        return {}
    found: dict[str, Any] = {}
    if backend := os.environ.get("MRPY_BACKEND"):
        if problem := _backend(backend):
            raise OptionError(f"the environment says MRPY_BACKEND={backend!r}; {problem}")
        found["backend"] = backend
    if workers := os.environ.get("MRPY_WORKERS"):
        if not workers.isdigit() or int(workers) < 1:
            raise OptionError(f"the environment says MRPY_WORKERS={workers!r}; must be a number from 1 up")
        found["workers"] = int(workers)
    return found
