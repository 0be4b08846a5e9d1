"""Tasks, keys, dependencies: when things run, and where. See README.md in this folder.

This package has never heard of map, reduce or iterators. What users take from it is `get`, which runs the
graphs of Dask.
"""

TYPE_CHECKING = False  # as in typing, which would have to be imported; type checkers know the name
if TYPE_CHECKING:
    from mrpy.scheduler.graphs import get

__all__ = ["get"]


def _named(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mrpy.scheduler import graphs  # workers come through this file, and ask for no name of it

    return getattr(graphs, name)


if not TYPE_CHECKING:  # type checkers would take any name for one of ours
    __getattr__ = _named
