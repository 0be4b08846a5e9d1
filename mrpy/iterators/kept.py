"""In which files the runs of a program keep their finished chunks. A checkpoint is for one run: what another
has there begins at the same places, of another source, and would be taken for its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from mrpy.errors import OptionError
from mrpy.iterators.builtin import Items
from mrpy.iterators.inner import ByItself, Inner, Joined
from mrpy.iterators.reductions import OfAll
from mrpy.iterators.stream import ParallelIterator
from mrpy.light import TYPE_CHECKING
from mrpy.mapreduce.account import Account
from mrpy.mapreduce.sources import Pulled, run_of, shows_its_plan

if TYPE_CHECKING:
    from typing import Any

    from mrpy.iterators.builtin import Given
    from mrpy.mapreduce.plan import Plan


def see_that_each_has_its_own(what: str, inputs: Iterable[Any]) -> None:
    """Raises `OptionError` where different runs that the inputs are, or come from, have the same file."""
    keepers: dict[str, int] = {}
    for file, run in set().union(*map(files_of, inputs)):
        if keepers.setdefault(file, run) != run:
            raise OptionError(
                f"{what} of several runs with checkpoint={file!r}: a file keeps the chunks of one run; take "
                "the others from a stream without it, or with another one"
            )


def is_taken(file: str | os.PathLike[str], items: object) -> bool:
    """Whether a run that these items come from has it."""
    return os.path.abspath(file) in dict(files_of(items))


def results_of(computed: ParallelIterator[Any]) -> ParallelIterator[Any]:
    """What is computed with a file, for a run over it that has none. To the user they are one: what either of
    them skips is counted together. An item that the run over it skips has its position among these
    results, not in the source."""
    account = Account()
    results = computed._by("checkpoint", _counted_in, account)
    results._account = account
    return results


def _counted_in(computed: ParallelIterator[Any], account: Account) -> Iterator[Any]:
    account.skipped = computed._account.skipped  # of this run, which has begun
    return iter(computed)


def files_of(thing: Any) -> set[tuple[str, int]]:
    """The files of a run, and of those that it comes from, each with the id of its run."""
    run: Any = run_of(thing)
    if not shows_its_plan(run):
        return set()
    if isinstance(run, Items):
        return _files(run, run.given or {}, run.plan, keeps=bool(run.plan.steps))
    if isinstance(run, ParallelIterator):
        return _files(run, run._given, run._plan, keeps=bool(run._plan.steps))
    if isinstance(run, Inner):  # which refuses to have one
        return _files(run, {}, run._plan, keeps=False)
    if isinstance(run, OfAll):
        return _files(run, run._items._given, run._items._plan, keeps=True)
    if hasattr(run, "_sides"):  # of a shuffle
        return set().union(*(_files(run, run._given, side.plan, keeps=True) for side in run._sides))
    if isinstance(run, ByItself):
        return files_of(run._items)
    parts = run._parts if isinstance(run, Joined) else getattr(run, "upstream", ())
    return set().union(*map(files_of, parts))


def _files(run: object, given: Given, plan: Plan, *, keeps: bool) -> set[tuple[str, int]]:
    file = given.get("checkpoint")
    own = {(os.path.abspath(file), id(run))} if keeps and file is not None else set()
    return own | files_of(plan.source.iterable) if isinstance(plan.source, Pulled) else own
