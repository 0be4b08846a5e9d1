"""What workers can import: modules that they find too, and what is found in these by its name. All else, of a
main module or one that was made by hand, has to travel by value.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from types import BuiltinFunctionType, ModuleType

from mrpy.light import Any

MAIN = ("__main__", "__mp_main__")  # modules that workers do not have; so a child of multiprocessing calls it
OF_MAIN = b"_main__"  # how their names end
_NAMED = b"\x93"  # STACK_GLOBAL: what was named before it
PIPES = "multiprocessing.connection"  # where the ends of pipes are from

_found: dict[str, bool] = {}  # of modules, as far as it was asked
_lost: dict[str, tuple[bytes, bytes]] = {}  # of those that are not, by the first part: how pickles name them
_looked: set[str] = set()  # names of modules that were looked at
_path: list[str] = []  # where modules were looked for, when it was found out
_relative, _folder = False, ""  # whether from the current folder; that


def is_found(module: str) -> bool:
    """Whether a worker may import a module that is here, by its name. It cannot where that was made by hand:
    by `runpy.run_path`, from a file that lies nowhere on the path, by a test runner's own way. Nor where it
    would find another one of that name."""
    found = _found.get(module)
    if found is None:
        name = module.partition(".")[0]  # what is inside a package is the package's business
        found = name not in MAIN and (name in _THERE or _is_on_the_path(name))
        if not found and name not in MAIN:
            whole = name.encode("utf-8", "replace")
            _lost[name] = b"\x8c%c%b" % (min(len(whole), 255), whole), whole + b"."
        _found[module] = found
    return found


_THERE = sys.stdlib_module_names | {"mrpy"}


def _is_on_the_path(name: str) -> bool:
    try:
        asked: Any = ((finder, finder.find_spec(name, None)) for finder in tuple(sys.meta_path))
        finder, found = next((pair for pair in asked if pair[1] is not None), (None, None))
        here: Any = getattr(sys.modules.get(name), "__spec__", None)
        if found is None or here is None or not (found.has_location and here.has_location):
            return found is not None
        if _relative and finder is PathFinder and _folder_of(found) not in map(os.path.abspath, sys.path):
            return False  # it is found by where the current folder was
        return found.origin == here.origin or os.path.samefile(found.origin, here.origin)
    except FileNotFoundError:  # as it was deleted since
        return False
    except Exception:  # there are finders of all kinds
        return True


def _folder_of(spec: Any) -> str:
    """Where a module, or a package, was looked for."""
    folder: str = os.path.dirname(spec.origin)
    return folder if spec.submodule_search_locations is None else os.path.dirname(folder)


def _note_moves() -> None:
    """What is on the path is another thing where that has changed, or leads through a folder that has."""
    global _found, _lost, _looked, _path, _relative, _folder
    moved = _path != sys.path
    if moved:
        _path, _relative = list(sys.path), not all(map(os.path.isabs, sys.path))
    if _relative:
        before = _folder
        try:
            _folder = os.getcwd()
        except OSError:  # it is gone
            _folder = ""
        moved = moved or _folder != before
    if moved:
        _found, _lost, _looked = {}, {}, set()  # others may go through those


def mentions_lost(pickled: bytes | bytearray, *, by_value: bool = False) -> bool:
    """Whether something in there may be by its name that no worker can import; or the end of a pipe.
    ``by_value``: classes and functions may be in there so, with the names of modules among their values."""
    end = len(pickled) if by_value else end_of_names(pickled)
    if end == 0:  # nothing is, as in most calls
        return False
    lost = list(_lost.values())  # another thread may find more
    there = any(pickled.rfind(name, 0, end) >= 0 for names in ((OF_MAIN,), *lost) for name in names)
    return there or mentions_pipes(pickled, end)


def mentions_pipes(pickled: bytes | bytearray, end: int) -> bool:
    """Whether an end of a `multiprocessing.Pipe` may be in there: to `pickle` that is an object like others,
    with the number of a descriptor that is another's wherever it is opened. ``byvalue.py`` refuses it."""
    return PIPES in sys.modules and pickled.rfind(PIPES.encode(), 0, end) >= 0


def end_of_names(pickled: bytes | bytearray) -> int:
    """Up to where a plain pickle may name a class or a function: the last opcode for that. Behind it are
    values, of a long text all; to search these takes longer than to pickle them. (Searches go from the end,
    which takes CPython half as long.)"""
    return pickled.rfind(_NAMED) + 1


def look_around() -> None:
    """Find out which modules are lost, before objects of theirs are pickled. Called for each call's data, and
    for functions."""
    _note_moves()
    if len(sys.modules) == len(_looked):
        return
    new = set(sys.modules) - _looked
    _looked.update(new)
    if len(sys.modules) < len(_looked):  # some are gone
        _looked.intersection_update(tuple(sys.modules))
    path = list(sys.path)
    for name in new:
        module = sys.modules.get(name)
        if module is None or type(module) is not type(sys) or "." in name:
            continue
        if not _is_in_its_place(name, module, path) and _has_something(name, module):
            is_found(name)


def _has_something(name: str, module: ModuleType) -> bool:
    """Whether anything is of it that may be named: of what Cython makes for itself, one for each of its
    versions, nothing is."""
    of_cython = name.startswith("_cython_") and name[8:9].isdigit()
    parts = () if of_cython else list(vars(module).values())
    return any(getattr(part, "__module__", None) == name for part in parts)


def _is_in_its_place(name: str, module: ModuleType, path: list[str]) -> bool:
    """Whether it comes from where it may be looked for, or is installed at all; no finder is asked. Only of
    plain modules: others may be imported as soon as anything is asked of them."""
    spec: Any = getattr(module, "__spec__", None)
    try:
        if spec is None or not spec.has_location:
            return spec is not None
        if spec.origin.startswith((sys.prefix, sys.base_prefix)):
            return True
        folder = _folder_of(spec)
        file = spec.origin[len(folder) :].strip(os.sep)  # or that in a package's folder
        if file.partition(os.sep)[0].partition(".")[0] != name or folder not in path:
            return False
        before = [os.path.join(each, name) for each in path[: path.index(folder)]]
        return not any(os.path.exists(f"{each}.py") or os.path.isdir(each) for each in before)
    except Exception:  # as there are loaders
        return True


def is_importable_module(module: ModuleType) -> bool:
    """Whether a worker gets this one by its name."""
    return is_found(module.__name__) and sys.modules.get(module.__name__) is module


def is_importable(thing: Any) -> bool:
    """Whether a worker finds it by its name."""
    if isinstance(thing, BuiltinFunctionType) and not isinstance(thing.__self__, ModuleType | None):
        return False  # a method of an object
    module: Any = getattr(thing, "__module__", None)
    found = sys.modules.get(module)
    if found is None or not is_found(module):
        return False
    # What `typing` makes may have the second only; what caches a partial has neither.
    whole = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if whole is None:
        return False
    for name in whole.split("."):
        found = getattr(found, name, None)
    return found is thing
