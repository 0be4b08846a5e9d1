"""What code does with a variable: which attributes it looks up there, and what it does with what they hold.

    next(self.rows)         ("rows",) TAKEN              return self.rows         ("rows",) PASSED
    for row in self         () TAKEN                     self.file.readline()     ("file", "readline") PASSED
    self.file is None       ("file",) LOOKED_AT          f"{self.file}: {row}"    ("file",) LOOKED_AT
    next(parts["rows"])     (("rows",),) TAKEN           next(parts[name])        (ANY,) TAKEN
    row in self.rows        ("rows",) ASKED              some.extend(self.rows)   ("rows",) TAKEN
    helper(row, self.rows)  ("rows",) Handed(helper, 1, PASSED)
    Counter(self.rows)      ("rows",) Handed(Counter, 0, TAKEN)

The steps of the bytecode right before and behind tell, in all Pythons alike. Where they do not, it is
passed on, to whoever. Of `rows = self.rows` what is done with `rows` counts, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property, lru_cache
from types import CodeType, FunctionType

from mrpy.light import TYPE_CHECKING, Any
from mrpy.scheduler.simple_functions import globals_of

if TYPE_CHECKING:
    Steps = list[tuple[str, Any]]  # the operation, and what it is done to
    Code = tuple[CodeType, frozenset[str]]  # and the names of variables in it
    Use = tuple[tuple[Any, ...], Any]  # the path, and one of these, or `Handed`

TAKEN, PASSED, LOOKED_AT, ASKED = "taken", "passed", "looked at", "asked whether it has something"
ANY = ("any item",)


class Handed(tuple[str, Any, str]):
    """To a function of a name, as its parameter at a place, or of a name; and what that is where none of that
    name is known: `TAKEN` or `PASSED`."""

    def parameter_of(self, code: CodeType) -> str:
        """The parameter of that function; empty where it is one of others."""
        place, count = self[1], code.co_argcount
        if type(place) is int:
            return code.co_varnames[place] if place < count else ""
        return place if place in code.co_varnames[: count + code.co_kwonlyargcount] else ""


class Callee(str):
    """The name of what is called with what is loaded behind it."""


_VARIABLE = frozenset(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FAST", "LOAD_FAST_CHECK"))
_ATTRIBUTE = frozenset(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"))
_ITERATION = frozenset(
    ("GET_ITER", "GET_YIELD_FROM_ITER", "UNPACK_SEQUENCE", "UNPACK_EX", "LIST_EXTEND", "SET_UPDATE")
    + ("CALL_FUNCTION_EX",)
)
_AT_ANY_PLACE = frozenset(  # what is called so takes it, wherever it stands among the arguments
    ("zip", "zip_longest", "map", "starmap", "filter", "filterfalse", "reduce", "chain", "takewhile")
    + ("dropwhile", "product", "compress", "nsmallest", "nlargest", "sumprod", "array", "join", "executemany")
    + ("union", "intersection", "difference", "symmetric_difference", "issubset", "issuperset", "isdisjoint")
)
TAKERS = _AT_ANY_PLACE.union(  # of these only what is first counts: methods of users may be called that, too
    ("next", "iter", "list", "tuple", "set", "dict", "sorted", "sum", "min", "max", "any", "all", "enumerate")
    + ("frozenset", "bytes", "bytearray", "deque", "Counter", "OrderedDict", "fromkeys", "fromiter", "islice")
    + ("pairwise", "groupby", "accumulate", "batched", "cycle", "tee", "combinations", "permutations")
    + ("from_iterable", "merge", "prod", "fsum", "mean", "fmean", "median", "stdev", "pstdev", "variance")
    + ("pvariance", "contains", "countOf", "indexOf", "extend", "extendleft", "update", "difference_update")
    + ("intersection_update", "symmetric_difference_update", "writelines", "writerows")
)
_LOOKS = frozenset(
    ("isinstance", "hasattr", "getattr", "callable", "type", "id", "repr", "str", "len", "print", "bool")
    + ("length_hint", "format")
)
_TEXT = ("FORMAT_", "CONVERT_VALUE")  # of an f-string
_TESTS = (*_TEXT, "POP_", "TO_BOOL", "UNARY_NOT", "IS_OP", "COMPARE_OP", "STORE_ATTR", "DELETE_ATTR")
_COMPARISONS = ("IS_OP", "COMPARE_OP")
_BESIDE = frozenset(("PRECALL", "PUSH_NULL", "EXTENDED_ARG", "CACHE", "NOP"))
_CALLS = ("CALL", "CALL_KW", "CALL_FUNCTION_EX")
_NULL_BEFORE = sys.version_info < (3, 13)  # what is called, and behind it since
_STORES = ("STORE_FAST", "STORE_DEREF")
_PLAIN = (*_VARIABLE, "LOAD_CONST", "LOAD_SMALL_INT")
_CONSTANT = ("LOAD_CONST", "LOAD_SMALL_INT")
_SUBSCRIPT = (("BINARY_SUBSCR", None), ("BINARY_OP", 26))  # the latter in Python 3.14
_NOTHING = ("", None)
_FIRST = (0, None, "iterable")  # or not seen, and right behind what is called
_NOT_SEEN, _SPREAD, _NO_ARGUMENT = (-1, None), (-1, "*"), (-1, "")
_INSIDE: dict[type, str] = {
    property: "fget", cached_property: "func", staticmethod: "__func__", classmethod: "__func__",
    type(lru_cache(len)): "__wrapped__", FunctionType: "__wrapped__",
}  # fmt: skip
_DEEPEST = 10  # of decorators around one another; out of the air
_AHEAD = 20  # steps that are looked at behind one; out of the air


@lru_cache(maxsize=1000)
def uses(code: CodeType, names: frozenset[str]) -> tuple[Use, ...]:
    """All that is done with the variables of these names there, and in what is made of codes in it."""
    return tuple(_uses(code, names, names))


def codes_of(method: Any) -> list[Code]:
    """What is written in Python of a method, a property, or what was made of one, and the variables that may
    be the object there."""
    found: list[Code] = []
    anywhere = type(method) in (staticmethod, classmethod)
    for _ in range(_DEEPEST):
        if type(method) is FunctionType:
            code = method.__code__
            count = code.co_argcount if anywhere else min(code.co_argcount, 1)
            found.append((code, frozenset(code.co_varnames[:count])))
        inside = _INSIDE.get(type(method))
        method = inside and getattr(method, inside, None)
    return found


def _uses(code: CodeType, names: frozenset[str], known: frozenset[str]) -> Iterator[Use]:
    """``known``: these, and the names of variables that these were taken from."""
    steps = _steps(code)
    not_local = {*code.co_cellvars, *code.co_freevars, *globals_of(code)}
    for at, (step, name) in enumerate(steps):
        if step not in _VARIABLE or name not in names:
            continue
        # which a function that is made there is given; or a comprehension's own, of the same name
        if step == "LOAD_FAST" and name in not_local:
            continue
        before = steps[at - 1]
        path, end = _path(steps, at + 1, "super" in code.co_names)
        yield path, _how(steps, at, end)
        store = _stored(steps, end)
        once = store is not _NOTHING and steps.count(store) == 1
        stored = frozenset((store[1],)) if once else known
        if not stored <= known:  # it has another name from there on
            yield from ((path + more, how) for more, how in _uses(code, stored, known | stored))
        if before[0] in _ATTRIBUTE:  # as in `Reader.body(self)`, which is `self.body()`
            yield (*path, before[1]), PASSED
    for inner in code.co_consts:
        if type(inner) is CodeType:
            yield from _uses(inner, names.difference(_own(inner)), known)


def _own(code: CodeType) -> set[str]:
    """The variables that are its own wherever it names them. From Python 3.12 on comprehensions are part of
    the code that they are in, which may have others of those names from elsewhere."""
    return {*code.co_varnames, *code.co_cellvars}.difference(code.co_freevars, globals_of(code))


def _steps(code: CodeType) -> Steps:
    import dis  # heavy, and only where an object may take from a source

    steps: Steps = []
    null = named = False
    for step in dis.get_instructions(code):
        name = step.opname.replace("_BORROW", "")  # of Python 3.14
        if name == "KW_NAMES":  # before Python 3.13, which loads them as a constant
            steps.append(("LOAD_CONST", code.co_consts[step.arg or 0]))
            named = True
            continue
        if name == "CALL" and named:
            name, named = "CALL_KW", False
        if name.count("_FAST") == 2 and type(step.argval) is tuple:  # LOAD_FAST_LOAD_FAST and its like
            first, second = name.split("_FAST_")
            steps += zip((f"{first}_FAST", second), step.argval, strict=True)
        elif name not in _BESIDE:
            with_null = name in _ATTRIBUTE | _VARIABLE and " + " in step.argrepr
            is_called = with_null or name == "LOAD_METHOD" or (null and _NULL_BEFORE and name in _VARIABLE)
            steps.append((name, Callee(step.argval) if is_called else step.argval))
        null = name == "PUSH_NULL"
        if null and not _NULL_BEFORE and steps[-1][0] in _ATTRIBUTE | _VARIABLE:
            steps[-1] = steps[-1][0], Callee(steps[-1][1])
    return [*steps, _NOTHING, _NOTHING]


def _path(steps: Steps, at: int, super_too: bool) -> tuple[tuple[Any, ...], int]:
    """The attributes and items that are looked up from there, each in the one before, and where what follows
    begins."""
    between = ("COPY", "CALL") if super_too else ("COPY",)  # as in `self.n += 1`, and in `super().n`
    if steps[at][0] in between and steps[at + 1][0] in _ATTRIBUTE:
        at += 1
    path: list[Any] = []
    while True:
        step, name = steps[at]
        if step in _ATTRIBUTE:
            path.append(name)
            at += 1
        elif step in _PLAIN and steps[at + 1] in _SUBSCRIPT:
            path.append((name,) if step in _CONSTANT else ANY)
            at += 2
        elif path[-1:] == ["get"] and step in _CONSTANT and steps[at + 1] == ("CALL", 1):
            path.append((name,))
            at += 2
        else:
            return tuple(path), at


def _stored(steps: Steps, end: int) -> tuple[str, Any]:
    """What stores it, if that is next: also in `rows, n = self.rows, 0`, where the last is stored first."""
    at, more = end, 0
    while steps[at][0] in _PLAIN or steps[at][0] in _ATTRIBUTE:
        more += steps[at][0] in _PLAIN
        at += 1
    stores = steps[at : at + more + 1]
    return stores[-1] if all(step in _STORES for step, _ in stores) else _NOTHING


def _how(steps: Steps, at: int, end: int) -> Any:
    behind = steps[end : end + _AHEAD]
    step = behind[0][0]
    if step in _ITERATION:
        return TAKEN
    if step == "CONTAINS_OP":
        return ASKED
    compared = step.startswith("LOAD_") and behind[1][0] in _COMPARISONS
    if step.startswith(_TESTS) or compared or (step == "LOAD_CONST" and _has_spec(*behind[1])):
        return LOOKED_AT
    place, parameter = argument = _argument(steps, end)
    callee = _callee(steps, at, place >= 0)
    if argument == _SPREAD or callee in _LOOKS:
        return TAKEN if argument == _SPREAD else LOOKED_AT
    takers = TAKERS if parameter in _FIRST else _AT_ANY_PLACE if type(parameter) is int else ()
    how = TAKEN if callee in takers else PASSED
    if how == PASSED and _is_raised(behind):
        return LOOKED_AT
    return _handed(steps, at, place, parameter, how) or how


def _callee(steps: Steps, at: int, is_argument: bool) -> str | None:
    """The name of what it is an argument of: a function's, or a method's."""
    calls = 0  # that are arguments before it
    for place in range(at - 1, 0, -1):
        step, name = steps[place]
        calls += step in _CALLS
        if type(name) is not Callee:
            continue
        if calls == 0:
            behind = place + 1
            while steps[behind][0] in _ATTRIBUTE and behind < at:  # of a module, say
                behind += 1
            return steps[behind - 1][1] if behind == at or is_argument else None
        calls -= 1
    return None


def _argument(steps: Steps, end: int) -> tuple[int, Any]:
    """Which it is of the arguments of a call, and its place or name there. What is made for those behind it
    is followed as far as each step makes one value of some."""
    above = 0  # values of the stack
    for at, (step, count) in enumerate(steps[end:], end):
        if step == "CALL_FUNCTION_EX":  # with keywords; without any it is right behind
            return _SPREAD if count == above == 1 else _NO_ARGUMENT
        used = _used(step, count)
        if used is None:
            return _NOT_SEEN
        if step in _CALLS and used > above:
            names = steps[at - 1][1] if step == "CALL_KW" else ()
            place = used - 1 - above
            by_name = place - (count - len(names))
            return place, place if by_name < 0 else names[by_name]
        if used > above or (step in _CALLS and used == above):  # a part of it is made, or it is called itself
            return _NO_ARGUMENT
        above -= used if step in _CALLS else used - 1
    return _NOT_SEEN


def _used(step: str, count: Any) -> int | None:
    """Of how many values it makes one, beside what is called; None where it does something else."""
    if step.startswith("BUILD_"):
        return int(count) * (1 + (step == "BUILD_MAP")) + (step == "BUILD_CONST_KEY_MAP")
    if step in ("CALL", "CALL_KW"):
        return int(count) + (step == "CALL_KW")  # the names
    if step in ("LOAD_ATTR", "LOAD_METHOD", "DICT_MERGE"):
        return 1 + (step == "DICT_MERGE")
    return 0 if step in _PLAIN else None


def _has_spec(step: str, argument: Any) -> bool:
    """Whether it makes text of what was loaded before its specification, as in `f"{rows!r:.5}"`."""
    return step == "FORMAT_WITH_SPEC" or (step == "FORMAT_VALUE" and bool(argument[1]))


def _handed(steps: Steps, at: int, place: int, parameter: Any, how: str) -> Handed | None:
    """That it goes to what is called by its name, if the arguments before it are variables or constants."""
    if place < 0 or at <= place or any(step not in _PLAIN for step, _ in steps[at - place : at]):
        return None
    step, name = steps[at - place - 1]
    return Handed((name, parameter, how)) if step in _VARIABLE and type(name) is Callee else None


def _is_raised(behind: Steps) -> bool:
    """Whether it goes into an exception."""
    for at, (step, _) in enumerate(behind):
        if step in ("CALL", "CALL_KW"):
            return any(step == "RAISE_VARARGS" for step, _ in behind[at + 1 : at + 3])
        if not step.startswith(("LOAD_", "BUILD_", *_TEXT)):
            return False
    return False
