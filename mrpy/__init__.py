"""mrpy: parallel map, reduce and lazy iterators, compiled from ordinary generators.

    for row in mrpy.parallel(parse(p) for p in paths if p.suffix == ".csv"): ...
    squares = mrpy.pmap(f, xs)                      # like map(): lazy, in order
    total = mrpy.preduce(operator.add, (f(x) for x in xs), 0)
    counts = mrpy.mapreduce(mapper, reducer, inputs)
    top = mrpy.read_text(paths).flat_map(str.split).frequencies().topk(10, key=1)
    pending = mrpy.submit(f, x)

This is the shop window: public names, each loaded when it is first used. Importing mrpy imports neither
numpy nor dask, and nothing else that takes time.
"""

import sys
from types import ModuleType

from mrpy._version import __version__
from mrpy.light import imported

TYPE_CHECKING = False  # as in typing, which would have to be imported; type checkers know the name
if TYPE_CHECKING:
    from mrpy import errors as errors
    from mrpy import iterators as iterators
    from mrpy import options as options
    from mrpy import scheduler as scheduler
    from mrpy.api import (
        configure,
        mapreduce,
        parallel,
        pfilter,
        pfold,
        pmap,
        preduce,
        pstarmap,
        session,
        stream,
        submit,
    )
    from mrpy.iterators.check import check
    from mrpy.iterators.executor import Executor
    from mrpy.iterators.jobs import Job
    from mrpy.iterators.pending import PendingResult
    from mrpy.iterators.reading import (
        read_csv,
        read_fasta,
        read_fastq,
        read_jsonl,
        read_parquet,
        read_records,
        read_sql,
        read_text,
    )
    from mrpy.iterators.stage import stage
    from mrpy.iterators.stream import ParallelIterator
    from mrpy.iterators.together import as_completed, gather, wait
    from mrpy.mapreduce.random import rng

__all__ = [
    "Executor", "Job", "ParallelIterator", "PendingResult", "__version__", "as_completed", "check",
    "configure", "gather", "mapreduce", "parallel", "pfilter", "pfold", "pmap", "preduce", "pstarmap",
    "read_csv", "read_fasta", "read_fastq", "read_jsonl", "read_parquet", "read_records", "read_sql",
    "read_text", "rng", "session", "stage", "stream", "submit", "wait",
]  # fmt: skip

_ELSEWHERE = {
    "Executor": "mrpy.iterators.executor",
    "Job": "mrpy.iterators.jobs",
    "ParallelIterator": "mrpy.iterators.stream",
    "PendingResult": "mrpy.iterators.pending",
    "check": "mrpy.iterators.check",
    "rng": "mrpy.mapreduce.random",
    "stage": "mrpy.iterators.stage",
    **dict.fromkeys(("as_completed", "gather", "wait"), "mrpy.iterators.together"),
    **dict.fromkeys(
        ("read_csv", "read_fasta", "read_fastq", "read_jsonl", "read_parquet", "read_records", "read_sql",
         "read_text"), "mrpy.iterators.reading",
    ),
}  # fmt: skip
_PACKAGES = ("errors", "iterators", "options", "scheduler")


def _named(name: str) -> object:
    if name in __all__:
        imported("mrpy.scheduler.unraisable").hear_of()  # before all that is imported: see there
        value = getattr(imported(_ELSEWHERE.get(name, "mrpy.api")), name)
        if name != "mapreduce":
            globals()[name] = value
        return value
    if name in _PACKAGES:
        return imported(f"mrpy.{name}")
    raise AttributeError(imported("mrpy.iterators.elsewhere").verb_called_here(name, __dir__()))


if not TYPE_CHECKING:  # type checkers would take any name for one of ours
    __getattr__ = _named


def __dir__() -> list[str]:
    return sorted({*__all__, *_PACKAGES})


class _Shop(ModuleType):
    """There is a verb `mapreduce` and a package of that name. The import system would put the package
    into the window as soon as anything of it is imported; what belongs there is the verb."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        from importlib import import_module  # workers come through this file, and do not need it

        return import_module, (self.__name__,)  # functions that mention it travel to workers

    @property
    def mapreduce(self) -> object:
        return _named("mapreduce")

    @mapreduce.setter
    def mapreduce(self, package: ModuleType) -> None:
        """The package is found by ``from mrpy.mapreduce import ...`` all the same."""


sys.modules[__name__].__class__ = _Shop

if getattr(sys, "frozen", False):
    from mrpy.scheduler.backends.frozen import serve_if_worker

    serve_if_worker()
