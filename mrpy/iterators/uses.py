"""What code does with a variable: which attributes it looks up there, and what it does with what they hold.

    next(self.rows)         ("rows",) TAKEN              helper(self.rows)        ("rows",) PASSED
    for row in self         () TAKEN                     self.file.readline()     ("file", "readline") PASSED
    self.file is None       ("file",) LOOKED_AT          f"{self.file}: {row}"    ("file",) LOOKED_AT
    next(parts["rows"])     (("rows",),) TAKEN           parts[0][name]           ((0,),) PASSED

The steps of the bytecode right before and behind tell, in all Pythons alike. Where they do not, it is
passed on, to whoever.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import CodeType

from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    Steps = list[tuple[str, Any]]  # the operation, and what it is done to
    Use = tuple[tuple[Any, ...], str]

TAKEN, PASSED, LOOKED_AT = "taken", "passed", "looked at"

_VARIABLE = frozenset(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FAST", "LOAD_FAST_CHECK"))
_ATTRIBUTE = frozenset(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"))
_ITERATION = frozenset(
    ("GET_ITER", "GET_YIELD_FROM_ITER", "UNPACK_SEQUENCE", "UNPACK_EX", "LIST_EXTEND", "SET_UPDATE")
    + ("CALL_FUNCTION_EX", "CONTAINS_OP")
)
_TAKERS = frozenset(
    ("next", "iter", "list", "tuple", "set", "dict", "sorted", "sum", "min", "max", "any", "all", "zip")
    + ("enumerate", "islice", "deque", "join")
)
_LOOKS = frozenset(("isinstance", "hasattr", "getattr", "callable", "type", "id", "repr", "str", "len"))
_TEXT = ("FORMAT_", "CONVERT_VALUE")  # of an f-string
_TESTS = (*_TEXT, "POP_", "TO_BOOL", "UNARY_NOT", "IS_OP", "COMPARE_OP", "STORE_ATTR", "DELETE_ATTR")
_COMPARISONS = ("IS_OP", "COMPARE_OP")
_BESIDE = frozenset(("PRECALL", "PUSH_NULL", "KW_NAMES", "EXTENDED_ARG", "CACHE", "NOP"))
_CONSTANT = ("LOAD_CONST", "LOAD_SMALL_INT")
_SUBSCRIPT = (("BINARY_SUBSCR", None), ("BINARY_OP", 26))  # the latter in Python 3.14
_NOTHING = ("", None)
_AHEAD = 20  # steps that are looked at behind one; out of the air


@lru_cache(maxsize=1000)
def uses(code: CodeType, names: frozenset[str]) -> tuple[Use, ...]:
    """All that is done with the variables of these names there, and in what is made of codes in it."""
    return tuple(_uses(code, names))


def _uses(code: CodeType, names: frozenset[str]) -> Iterator[Use]:
    steps = _steps(code)
    cells = {*code.co_cellvars, *code.co_freevars}
    for at, (step, name) in enumerate(steps):
        if step not in _VARIABLE or name not in names:
            continue
        if step == "LOAD_FAST" and name in cells:  # which a function that is made there is given
            continue
        before = steps[at - 1]
        path, end = _path(steps, at + 1, "super" in code.co_names)
        yield path, _how(before, steps[end : end + _AHEAD])
        if before[0] in _ATTRIBUTE:  # as in `Reader.body(self)`, which is `self.body()`
            yield (*path, before[1]), PASSED
    for inner in code.co_consts:
        if type(inner) is CodeType:
            yield from _uses(inner, names.difference(inner.co_varnames))


def _steps(code: CodeType) -> Steps:
    import dis  # heavy, and only where an object may take from a source

    steps: Steps = []
    for step in dis.get_instructions(code):
        name = step.opname.replace("_BORROW", "")  # of Python 3.14
        if name.count("_FAST") == 2 and type(step.argval) is tuple:  # LOAD_FAST_LOAD_FAST and its like
            first, second = name.split("_FAST_")
            steps += zip((f"{first}_FAST", second), step.argval, strict=True)
        elif name not in _BESIDE:
            steps.append((name, step.argval))
    return [*steps, _NOTHING, _NOTHING]


def _path(steps: Steps, at: int, super_too: bool) -> tuple[tuple[Any, ...], int]:
    """The attributes, and the items of constant keys, that are looked up from there, each in the one before,
    and where what follows begins."""
    between = ("COPY", "CALL") if super_too else ("COPY",)  # as in `self.n += 1`, and in `super().n`
    if steps[at][0] in between and steps[at + 1][0] in _ATTRIBUTE:
        at += 1
    path: list[Any] = []
    while True:
        step, name = steps[at]
        if step in _ATTRIBUTE:
            path.append(name)
            at += 1
        elif step in _CONSTANT and steps[at + 1] in _SUBSCRIPT:
            path.append((name,))
            at += 2
        else:
            return tuple(path), at


def _how(before: tuple[str, Any], behind: Steps) -> str:
    step = behind[0][0]
    if step in _ITERATION:
        return TAKEN
    if step.startswith(_TESTS) or (step.startswith("LOAD_") and behind[1][0] in _COMPARISONS):
        return LOOKED_AT
    callee = before[1] if before[0].startswith("LOAD_") and before[0] != "LOAD_CONST" else None
    if callee in _TAKERS:
        return TAKEN
    return LOOKED_AT if callee in _LOOKS or _is_raised(behind) else PASSED


def _is_raised(behind: Steps) -> bool:
    """Whether it goes into an exception."""
    for at, (step, _) in enumerate(behind):
        if step in ("CALL", "CALL_KW"):
            return any(step == "RAISE_VARARGS" for step, _ in behind[at + 1 : at + 3])
        if not step.startswith(("LOAD_", "BUILD_", *_TEXT)):
            return False
    return False
