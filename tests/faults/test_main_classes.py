"""Row 39: objects of classes of a main module come to the workers, and back, as what they are."""

from __future__ import annotations

import functools
import sys
import textwrap
from pathlib import Path

import pytest
from watching import run_script

import mrpy
from mrpy.scheduler.classes import as_it_is

pytestmark = pytest.mark.fault(39)

# What each kind adds to `Base`, whose objects have one attribute, compare by it, and hash by it.
BEGIN = """
import abc, collections, dataclasses, datetime, enum, functools, mrpy, sys, typing
from dataclasses import dataclass

class Base:
    __slots__ = ("a",)
    def __init__(self, a): self.a = a
    def __eq__(self, other): return type(self) is type(other) and self.a == other.a
    def __hash__(self): return hash(self.a)
T = typing.TypeVar("T")
mrpy.configure(workers=2)
"""

# For each: that the type is the user's own, there too; that its objects have a __dict__ just where they had;
# that they come back from wherever they were made.
SHOW = """
one, two = make(1), make(2)
there = mrpy.pmap(lambda x: (type(x) is C, hasattr(x, "__dict__"), x == one, look(x)), [one, two])
here = [(type(x) is C, hasattr(x, "__dict__"), x == one, look(x)) for x in (one, two)]
assert list(there) == here, list(there)
for back in (mrpy.pmap(lambda x: x, [one, two]), mrpy.pmap(make, [1, 2]), mrpy.pmap(lambda n: (one, two)[n], range(2))):
    back = list(back)
    assert back == [one, two] and {type(x) for x in back} == {C}, back
    assert [look(x) for x in back] == [look(one), look(two)], back
assert mrpy.submit(make, 1).result() == one
print("fine")
"""

LOOK = "make = C\nlook = lambda x: x.a\n"

KINDS = {
    "slots": "class C(Base): __slots__ = ('b',)\n" + LOOK,
    "slots of a base only": "class C(Base): pass\n" + LOOK,
    "no slots of its own": "class C(Base): __slots__ = ()\n" + LOOK,
    "slots of two classes": """
class B(Base):
    __slots__ = ("b",)
    def __init__(self, a): super().__init__(a); self.b = 2 * a
class C(B):
    __slots__ = ("c",)
    def __init__(self, a): super().__init__(a); self.c = 3 * a
make = C
look = lambda x: (x.a, x.b, x.c)
""",
    "a slot by a string": "class C(Base): __slots__ = 'b'\n" + LOOK,
    "slots with texts": "class C(Base): __slots__ = {'b': 'a text'}\n" + LOOK,
    "private slots": """
class C(Base):
    __slots__ = ("__b",)
    def __init__(self, a): super().__init__(a); self.__b = 2 * a
    def b(self): return self.__b
make = C
look = lambda x: (x.a, x.b())
""",
    "slots and a dict": "class C(Base): __slots__ = ('b', '__dict__')\n" + LOOK,
    "slots and weak references": "class C(Base): __slots__ = ('b', '__weakref__')\n" + LOOK,
    "slots of a generic class": "class C(Base, typing.Generic[T]): __slots__ = ('b',)\n" + LOOK,
    "slots of an abstract class": """
class A(Base, abc.ABC):
    __slots__ = ()
    @abc.abstractmethod
    def twice(self): ...
class C(A):
    __slots__ = ("b",)
    def twice(self): return 2 * self.a
make = C
look = lambda x: (x.twice(), isinstance(x, A))
""",
    "a dataclass with slots": "@dataclass(slots=True)\nclass C:\n    a: int\n    b: tuple = ()\n" + LOOK,
    "a frozen one": "@dataclass(slots=True, frozen=True, order=True)\nclass C:\n    a: int\n" + LOOK,
    "one with a base": """
@dataclass(slots=True)
class B: a: int
@dataclass(slots=True, weakref_slot=True)
class C(B): b: int = dataclasses.field(default=7, kw_only=True)
make = C
look = lambda x: (x.a, x.b)
""",
    "a named tuple": "class C(typing.NamedTuple):\n    a: int\n    b: int = 2\n    def c(self): return self.a + self.b\n" + LOOK,
    "a class of a named tuple": """
class B(typing.NamedTuple):
    a: int
class C(B):
    __slots__ = ()
    def twice(self): return 2 * self.a
make = C
look = lambda x: x.twice()
""",
    "a string": "class C(str): __slots__ = ()\nmake = lambda n: C(n)\nlook = str\n",
    "a base that wants to know": """
class Kinds(Base):
    __slots__ = ()
    known = {}
    def __init_subclass__(cls, /, unit, **others):
        super().__init_subclass__(**others)
        cls.unit = unit
        Kinds.known[unit] = cls
class C(Kinds, typing.Generic[T], unit="m"): __slots__ = ("b",)
make = C
look = lambda x: (x.unit, list(Kinds.known), Kinds.known["m"] is C)
""",
    "within a class": "class Outer:\n    class C(Base): __slots__ = ('b',)\nC = Outer.C\n" + LOOK,
    "within a function": "def made():\n    class C(Base): __slots__ = ('b',)\n    return C\nC = made()\n" + LOOK,
    "an enum with attributes": """
class C(enum.Enum):
    MERCURY = (3.3e23, 2.4e6)
    EARTH = (6e24, 6.4e6)
    EARTH_TOO = (6e24, 6.4e6)
    def __init__(self, mass, radius): self.mass, self.radius = mass, radius
    @property
    def gravity(self): return self.mass / self.radius**2
make = lambda n: list(C)[n - 1]
look = lambda x: (x.gravity, x.name, x.value, C.EARTH_TOO is C.EARTH, list(C.__members__), C((6e24, 6.4e6)) is C.EARTH)
""",
    "an enum that makes its members": """
class C(float, enum.Enum):
    def __new__(cls, value, unit):
        made = float.__new__(cls, value / 2)
        made._value_, made.unit = value, unit
        return made
    A = (1, "m")
    B = (2, "km")
    __str__ = lambda self: self.unit
make = C
look = lambda x: (x + 1, x.value, x.unit, str(x), C(1) is C.A)
""",
    "an enum of tuples": "class C(tuple, enum.Enum):\n    A = (1, 2)\n    B = (3, 4)\nmake = lambda n: list(C)[n - 1]\nlook = lambda x: x[0]\n",
    "an enum of strings": "class C(enum.StrEnum):\n    A = 'x'\n    B = enum.auto()\nmake = lambda n: list(C)[n - 1]\nlook = lambda x: x + x.name\n",
    "an enum that is a string": """
class C(str, enum.Enum):
    A = "red"
    B = "green"
make = lambda n: list(C)[n - 1]
look = lambda x: (x == x.value, len(x), x.upper(), "x" + x, {"red": 1}.get(x), C("red") in ["red"])
""",
    "enums whose methods say something else": """
class C(str, enum.Enum):
    A = "a"
    B = "b"
    def __str__(self): return "str"
class N(int, enum.Enum):
    A = 5
    def __int__(self): return 17
class T(tuple, enum.Enum):
    A = (1, 2)
    def __iter__(self): return iter("xyz")
make = lambda n: list(C)[n - 1]
look = lambda x: (x + "", N.A + 1, T.A[0], len(T.A))
""",
    "an enum of a dataclass": """
@dataclass
class Creature:
    size: str
    legs: int = 4
class C(Creature, enum.Enum):
    BEETLE = "small", 6
    DOG = "medium"
make = lambda n: list(C)[n - 1]
look = lambda x: (x.size, x.legs, x.value, repr(x))
""",
    "one with a longer name": """
class Outer:
    @dataclass
    class C:
        a: int
C = Outer.C
make = C
look = repr
""",
    "typed by parameters": """
P, N = typing.ParamSpec("P"), typing.NewType("N", int)
Ts = typing.TypeVarTuple("Ts")
class C(Base, typing.Generic[P, T]):
    def each(self, *values: typing.Unpack[Ts], **more: N) -> N: return N(len(values))
def same(function: typing.Callable[P, T]) -> typing.Callable[P, T]:
    def call(*args: P.args, **kwargs: P.kwargs) -> T: return function(*args, **kwargs)
    return call
make = C
look = same(lambda x: (x.each(1, 2), P.__name__, C.__parameters__ == (P, T), N(3)))
""",
    "flags": """
class C(enum.Flag, boundary=enum.KEEP):
    R = 4
    W = 2
    X = 1
    ALL = 7
make = C
look = lambda x: (x | C.R, ~x, C(9).value, C.ALL & x, x in C.ALL, len(C))
""",
    "flags that are numbers": "class C(enum.IntFlag):\n    A = 1\n    B = 2\nmake = C\nlook = lambda x: (x | C.A, x + 1, C(3) & x)\n",
    "an enum of functions": """
def twice(x): return 2 * x
class C(enum.Enum):
    A = enum.member(twice)
    B = enum.member(functools.partial(twice, 4))
    DOUBLE = enum.member(twice)
make = lambda n: list(C)[n - 1]
look = lambda x: (x.value(*[3][: x is C.A]), C(x.value) is x, x is C[x.name], C.DOUBLE is C.A)
""",
    "an enum of what is not equal to itself": """
class C(enum.Enum):
    A = float("nan")
    B = 1
make = lambda n: C.A if n == 1 else C.B
look = lambda x: (x.name, x is C[x.name], x.value > 0)
""",
    "an enum that is pickled in a way of its own": """
class C(enum.Enum):
    A = 1
    B = 2
    def __reduce_ex__(self, protocol): return C._from_afar, (self.value,)
    @classmethod
    def _from_afar(cls, value):
        cls.opened = True
        return cls(value)
make = C
look = lambda x: (C.opened, x.name) if x is C(x.value) else None
C.opened = True
""",
    "an enum of lengths of time": "class C(datetime.timedelta, enum.Enum):\n    A = 1\n    B = 2\nmake = lambda n: list(C)[n - 1]\nlook = lambda x: (x.days, C(x.value).name)\n",
    "an enum of dates": "class C(datetime.date, enum.Enum):\n    A = 2020, 1, 1\n    B = 2021, 2, 2\nmake = lambda n: list(C)[n - 1]\nlook = lambda x: ((x.year, x.isoformat()), C(x.value).name)\n",
    "an enum of points in time": "class C(datetime.datetime, enum.Enum):\n    A = 2020, 1, 1, 3\n    B = 2021, 2, 2, 4\nmake = lambda n: list(C)[n - 1]\nlook = lambda x: (x.isoformat(), C(x.value).name)\n",
    "an enum whose text is its name": """
class Length:
    __slots__ = ("n",)
    def __new__(cls, text):
        made = object.__new__(cls)
        made.n = int(text)
        return made
    def __eq__(self, other): return isinstance(other, Length) and self.n == other.n
    def __hash__(self): return hash(self.n)
    def __str__(self): return f"{self.n}"
    def __reduce__(self): return type(self), (str(self),)
class C(Length, enum.Enum):
    A = "1"
    B = "2"
    def __str__(self): return self.name
make = lambda n: list(C)[n - 1]
look = lambda x: (x.n, str(x), C(x.value).name)
""",
    "an enum of decimals": "from decimal import Decimal\nclass C(Decimal, enum.Enum):\n    A = '0.10'\n    B = '2'\nmake = lambda n: list(C)[n - 1]\nlook = lambda x: (x / 2, C(x.value).name)\n",
    "an enum of exceptions": """
class C(Exception, enum.Enum):
    A = ("one", 1)
    B = ("two", 2)
    def __init__(self, text, code): self.code = code
make = lambda n: list(C)[n - 1]
look = lambda x: (x.args, x.code, x.name)
""",
    "an enum of dates with values of their own": """
class C(datetime.date, enum.Enum):
    A = 2020
    B = 2021
    def __new__(cls, year):
        made = datetime.date.__new__(cls, year, 1, 1)
        made._value_ = year
        made.leap = year % 4 == 0
        return made
make = lambda n: list(C)[n - 1]
look = lambda x: (x.isoformat(), x.leap, C(x.year).name)
""",
    "an enum with more values": """
class C(enum.Enum):
    A = 1
    B = 2
    def __init__(self, n):
        if hasattr(self, "_add_value_alias_"):
            self._add_value_alias_(str(n))
            self._add_value_alias_([n])
    @classmethod
    def _missing_(cls, value): return None if sys.version_info >= (3, 13) else cls(int(str(value).strip("[]")))
make = C
look = lambda x: (C(str(x.value)).name, C([x.value]).name, sys.version_info < (3, 13) or ("1" in C, [2] in C, "3" in C))
""",
    "an enum that knows better": """
class C(enum.Enum):
    A = 1
    B = 2
    @classmethod
    def _missing_(cls, value): return cls.A
make = C
look = lambda x: (C(7), x.name, len({x, C.A}))
""",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_its_objects_are_the_same_there_and_when_they_are_back(kind: str) -> None:
    done = run_script(f"{BEGIN}\n{KINDS[kind]}\n{SHOW}")
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


class MadeInC(type):
    """What makes its classes is no function of Python's."""

    __new__ = staticmethod(functools.partial(type.__new__))  # type: ignore[assignment]


class MadeOrdinarily(type):
    pass


@pytest.mark.parametrize(("metaclass", "told"), [(MadeInC, False), (MadeOrdinarily, True), (type, True)])
def test_a_metaclass_in_c_is_not_told_of_slots(metaclass: type, told: bool) -> None:
    """That of msgspec refuses them, and sees to them itself."""
    kind = metaclass("Kind", (), {"__slots__": ("a",)})
    reduced = (type, ("Kind", (), {}), ({}, {}), None, None, None)
    _, (*_, namespace), *_ = as_it_is(kind, reduced)
    assert ("__slots__" in namespace) == told


def test_what_comes_back_does_not_overwrite_the_class_that_it_is_of() -> None:
    """Its attributes may have changed since, and its methods see our own globals."""
    done = run_script("""
        import mrpy
        unit = 2
        class Track:
            seen = []
            def __init__(self, x): self.x = x
            def length(self): return unit * self.x
        lengths = []
        for track in mrpy.pmap(Track, range(6), workers=2, chunksize=1):
            Track.seen.append(track.x)
            unit = 100
            lengths.append(track.length())
        method = Track.length
        again = mrpy.submit(Track, 3).result()
        print(Track.seen, lengths, method is Track.length, again.length(), type(again) is Track)
    """)
    assert (done.stdout, done.stderr) == ("[0, 1, 2, 3, 4, 5] [0, 100, 200, 300, 400, 500] True 300 True\n", "")


def test_members_of_an_enum_that_come_back_do_not_overwrite_those_that_are_here() -> None:
    done = run_script("""
        import enum, mrpy
        class Planet(enum.Enum):
            EARTH = 1
            def __init__(self, moons): self.seen = 0
        def count(_):
            Planet.EARTH.seen += 1
            return Planet.EARTH
        print(all(each is Planet.EARTH for each in mrpy.pmap(count, range(4), workers=1)), Planet.EARTH.seen)
    """)
    assert (done.stdout, done.stderr) == ("True 0\n", "")


def test_members_of_an_enum_come_back_as_the_ones_that_are_here() -> None:
    """Whatever their values are, and of flags that have no name of their own, too."""
    done = run_script("""
        import enum, mrpy
        def add(a, b): return a + b
        class Op(enum.Enum):
            ADD = enum.member(add)
            SUB = enum.member(lambda a, b: a - b)
            NAN = float("nan")
            LIST = [1]
            PLUS = enum.member(add)
        class Level(enum.IntEnum):
            LOW = 1
            HIGH = 2
        class Word(enum.StrEnum):
            YES = enum.auto()
        class Right(enum.Flag):
            R = 1
            W = 2
            ALL = 3
        members = [*Op, *Level, *Word, *Right, Right.ALL, Right(0), Op.PLUS]
        for backend in ("processes", "threads"):
            with mrpy.session(backend, workers=2):
                back = list(mrpy.pmap(lambda x: x, members, chunksize=1))
                print(all(x is y for x, y in zip(back, members, strict=True)))
                pairs = mrpy.stream(list(enumerate(members * 2))).group_by(lambda pair: pair[1]).to_list()
                print(len(pairs) == len(set(members)), {type(key) for key, _ in pairs} == set(map(type, members)))
                print(all(key is x for key, items in pairs for _, x in items))
                print(all(there is here for there, here in zip(mrpy.pmap(lambda n: members[n], range(11)), members)))
    """)
    assert (done.stdout, done.stderr) == ("True\nTrue True\nTrue\nTrue\n" * 2, "")


def test_registries_have_the_classes_that_are_here(tmp_path: Path) -> None:
    """Whoever is told of a class as it is made: an imported base, or a metaclass."""
    (tmp_path / "plugins.py").write_text(textwrap.dedent("""
        known = {}
        class Plugin:
            def __init_subclass__(cls): known[cls.__name__] = cls
        class Named:
            def __init_subclass__(cls, *, key): known[key] = cls
        class Complete:
            def __init_subclass__(cls): cls.run
        class Meta(type):
            def __init__(cls, *given): known[cls.__name__] = cls
    """))
    done = run_script(f"""
        import sys
        sys.path.append({str(tmp_path)!r})
        import mrpy, plugins
        class A(plugins.Plugin): run = 1
        class B(plugins.Named, key="b"): run = 2
        class C(plugins.Complete): run = 3
        class D(metaclass=plugins.Meta): run = 4
        there = lambda kind: (kind().run, plugins.known.get(kind.__name__) is kind)
        print(list(mrpy.pmap(there, [A, B, C, D], workers=1)))
        print([type(each) is kind for kind, each in zip([A, B, C, D], mrpy.pmap(lambda kind: kind(), [A, B, C, D]))])
        print(plugins.known == {{"A": A, "b": B, "D": D}})
    """)
    there = "[(1, True), (2, False), (3, False), (4, True)]"
    assert (done.stdout.splitlines(), done.stderr) == ([there, "[True, True, True, True]", "True"], "")


def test_classes_are_made_by_one_thread_at_a_time() -> None:
    """Or one takes for the base's own method what another has put there for the moment."""
    done = run_script("""
        import sys, threading, cloudpickle, mrpy
        from mrpy.scheduler import byvalue
        sys.setswitchinterval(1e-6)
        class Base:
            def __init_subclass__(cls, *, key): cls.key = key
        told = vars(Base)["__init_subclass__"]
        def one(n):
            class Sub(Base, key=n): pass
            return byvalue.dumps(Sub).replace(cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS[Sub].encode(), b"%032d" % n)
        def open_all(pickles):
            for each in pickles: cloudpickle.loads(each)
        pickles = [one(n) for n in range(300)]
        threads = [threading.Thread(target=open_all, args=(pickles[n::3],)) for n in range(3)]
        [each.start() for each in threads]
        [each.join() for each in threads]
        print(vars(Base)["__init_subclass__"] is told)
    """)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_class_in_a_function_has_no_globals_that_are_called_as_what_it_has_itself() -> None:
    done = run_script("""
        import mrpy, threading
        state = threading.Lock()
        def made(x):
            class Machine:
                @property
                def state(self): return self._state
                @state.setter
                def state(self, value): self._state = value
            machine = Machine()
            machine.state = x
            return machine.state
        print(list(mrpy.pmap(made, [1, 2], workers=1)))
    """)
    assert (done.stdout, done.stderr) == ("[1, 2]\n", "")


def test_functions_mention_typed_dicts_of_all_forms() -> None:
    done = run_script("""
        import mrpy
        from typing import Generic, NotRequired, TypedDict, TypeVar, get_type_hints, is_typeddict
        T = TypeVar("T")
        class Base(TypedDict):
            id: int
        class Row(Base, total=False):
            note: str
        class More(Row):
            "a text"
            unit: NotRequired[str]
        class Box(TypedDict, Generic[T]):
            held: T
        class Larger(Box[int]):
            size: int
        class Largest(Larger): pass
        Record = TypedDict("Record", {"in": int, "of": Row}, total=False)
        kinds = Base, Row, More, Box, Larger, Largest, Record
        def told(kind):
            keys = sorted(kind.__required_keys__), sorted(kind.__optional_keys__), kind.__total__
            return kind.__name__, kind.__module__, kind.__doc__, is_typeddict(kind), keys, str(get_type_hints(kind)), kind.__mro__[1:]
        def there(row: Row, *more: Record) -> More: return [told(kind) for kind in kinds], More(id=row["id"])
        print(mrpy.submit(there, {"id": 1}).result() == there({"id": 1}))
        print([a is b for a, b in zip(kinds, mrpy.pmap(lambda n: kinds[n], range(len(kinds)), chunksize=1))] == [True] * len(kinds))
        def local(n):
            class Inner(Row, total=False): b: int
            return Inner(id=n)
        print(list(mrpy.pmap(local, [1])))
    """)
    assert (done.stdout, done.stderr) == ("True\nTrue\n[{'id': 1}]\n", "")


def test_the_body_of_a_class_in_a_function_finds_globals() -> None:
    done = run_script("""
        import mrpy, typing
        FACTOR = 3
        class Unit: pass
        def scaled(x):
            class Scaled:
                factor = FACTOR * 2
                class Inner(typing.NamedTuple):
                    unit: Unit
            return Scaled.factor * x
        print(list(mrpy.pmap(scaled, [1, 2], workers=1)))
    """)
    assert (done.stdout, done.stderr) == ("[6, 12]\n", "")


def test_objects_of_a_class_that_is_gone_meanwhile_come_back_whole() -> None:
    """As in a notebook, where a cell defines it once more before the results of the first are opened."""
    done = run_script("""
        import gc, mrpy, weakref
        mrpy.configure(workers=1)
        def define(factor):
            class Track:
                def __init__(self, x): self.x = x
                def length(self): return factor * self.x
            return Track
        Track = define(2)
        pending = mrpy.submit(Track, 3)
        while not pending.done(): pass
        gone = weakref.ref(Track)
        Track = define(5)
        for n in range(80): mrpy.submit(abs, n, **{}).result(), mrpy.submit(eval(f"lambda: {n}")).result()
        gc.collect()
        print(pending.result().length(), mrpy.submit(Track, 3).result().length())
    """)
    assert (done.stdout, done.stderr) == ("6 15\n", "")


def test_what_is_taken_from_a_class_is_gone_in_warm_workers_too() -> None:
    done = run_script("""
        import mrpy
        from unittest import mock
        class Shop:
            def price(self): return 1
        class Own(Shop):
            limit = 5
        mrpy.configure(workers=1)
        def look(): return list(mrpy.pmap(lambda shop: (shop.price(), getattr(shop, "limit", None)), [Own()]))
        print(look())
        with mock.patch.object(Own, "price", lambda self: -1):
            print(look())
        del Own.limit
        print(look())
    """)
    assert (done.stderr, done.stdout) == ("", "[(1, 5)]\n[(-1, 5)]\n[(1, None)]\n")


def test_warm_workers_see_other_bases_another_metaclass_and_another_name_of_a_class() -> None:
    """Whose objects are of it still."""
    done = run_script("""
        import json, mrpy
        class A:
            def m(self): return "A"
        class B:
            def m(self): return "B"
        class Meta(type):
            def who(cls): return "Meta"
        class Other(type):
            def who(cls): return "Other"
        class K(A, metaclass=Meta): pass
        one = K()
        def look(x):
            json.kept = vars(json).get("kept", x)
            names = K.__name__, K.__qualname__, [base.__name__ for base in K.__bases__]
            return x.m(), K().m(), K.who(), *names, isinstance(json.kept, K), type(x) is K, isinstance(x, B)
        mrpy.configure(workers=1)
        def both():
            there, here = list(mrpy.pmap(look, [one, K()])), [look(one), look(K())]
            print(there == here, *here[0])
        both()
        K.__bases__ = (B,)
        both()
        K.__bases__ = (B, A)
        K.__class__ = Other
        both()
        K.__name__, K.__qualname__ = "L", "Long"
        both()
        print(type(list(mrpy.pmap(lambda _: K(), [0]))[0]) is K)
    """)
    assert (done.stderr, done.stdout) == ("", (
        "True A A Meta K K ['A'] True True False\n"
        "True B B Meta K K ['B'] True True True\n"
        "True B B Other K K ['B', 'A'] True True True\n"
        "True B B Other L Long ['B', 'A'] True True True\n"
        "True\n"
    ))  # fmt: skip


def test_warm_workers_see_what_has_changed_in_members_of_an_enum() -> None:
    done = run_script("""
        import enum, mrpy
        class Color(enum.Enum):
            RED = ["r"]
            BLUE = 2
            def __init__(self, value): self.seen = 0
        class Level(enum.IntEnum):
            LOW = 1
        def look(color):
            Color.BLUE.kept = getattr(Color.BLUE, "kept", 0) + 1
            notes = [getattr(each, "note", None) for each in Color]
            return color.value, Color.RED.value, Color.BLUE.value, notes, Level.LOW.value, Level.LOW + 0, color is Color.RED
        mrpy.configure(workers=1)
        def both():
            there = list(mrpy.pmap(look, [Color.RED]))
            print(there == [look(Color.RED)], *there)
        both()
        Color.RED.value.append("g")
        Color.RED.note, Color.BLUE.note = 1, 2
        both()
        del Color.RED.note
        Color.BLUE._value_ = 3
        Level.LOW._value_ = 5
        both()
        print(list(mrpy.pmap(lambda _: Color.RED, [0]))[0] is Color.RED)
    """)
    assert (done.stderr, done.stdout) == ("", (
        "True (['r'], ['r'], 2, [None, None], 1, 1, True)\n"
        "True (['r', 'g'], ['r', 'g'], 2, [1, 2], 1, 1, True)\n"
        "True (['r', 'g'], ['r', 'g'], 3, [None, 2], 5, 1, True)\n"
        "True\n"
    ))  # fmt: skip


def test_classes_come_though_their_metaclass_wants_more_than_they_begin_with() -> None:
    done = run_script("""
        import abc, mrpy
        class Checked(abc.ABCMeta):
            def __new__(meta, name, bases, space):
                if bases and "table" not in space: raise TypeError(f"{name} has no table")
                return super().__new__(meta, name, bases, space)
            def __setattr__(self, name, value):
                if not name.startswith("_"): raise AttributeError(f"{self.__name__} is constant")
                super().__setattr__(name, value)
        class Model(metaclass=Checked): pass
        Model.register(int)
        class User(Model):
            table = "users"
        class Tagged(type):
            def __new__(meta, name, bases, space, *, tag):
                made = super().__new__(meta, name, bases, space)
                made.tag = tag
                return made
            def __init__(self, name, bases, space, *, tag): pass
        class T(metaclass=Tagged, tag="T"): pass
        class Frozen(type):
            def __setattr__(self, name, value): raise AttributeError(f"{self.__name__} is constant")
        class Const(metaclass=Frozen):
            pi = 3
        mrpy.configure(workers=1)
        print(list(mrpy.pmap(lambda x: (User.table, isinstance(x, Model) and isinstance(1, Model), T.tag, Const.pi), [User()])))
        print([type(x) for x in mrpy.pmap(lambda x: x, [User(), T(), Const()])] == [User, T, Const])
    """)
    assert (done.stderr, done.stdout) == ("", "[('users', True, 'T', 3)]\nTrue\n")


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_a_metaclass_of_a_script_counts_a_class_once(backend: str, tmp_path: Path) -> None:
    """What it has done when the class was defined has come along. One that it derives from has its say."""
    (tmp_path / "plugins.py").write_text(textwrap.dedent("""
        known = {}
        class Space(dict): pass
        class Meta(type):
            @classmethod
            def __prepare__(meta, name, bases): return Space()
            def __new__(meta, name, bases, space):
                assert type(space) is Space
                return super().__new__(meta, name, bases, space)
            def __init__(cls, *given):
                super().__init__(*given)
                known[cls.__name__] = cls
    """))
    done = run_script(f"""
        import mrpy, plugins
        mrpy.configure(backend={backend!r}, workers=1)
        class Listed(plugins.Meta):
            names, ended = [], 0
            def __new__(meta, name, bases, space):
                Listed.names.append(name)
                return super().__new__(meta, name, bases, space)
            def __init__(cls, *given):
                super().__init__(*given)
                Listed.ended += 1
        class A(metaclass=Listed): pass
        class B(A): pass
        def look(x):
            return Listed.names, Listed.ended, plugins.known == {{"A": A, "B": B}}, type(x) is B
        print(*mrpy.pmap(look, [B()]), look(B()))
        class C(B): pass
        print(*mrpy.pmap(lambda x: (Listed.names, Listed.ended), [C()]), Listed.names)
    """, cwd=tmp_path)  # fmt: skip
    looked = "(['A', 'B'], 2, True, True)"
    names = "['A', 'B', 'C']"
    assert (done.stderr, done.stdout) == ("", f"{looked} {looked}\n({names}, 3) {names}\n")


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_what_a_script_does_as_it_defines_a_class_is_not_done_in_workers(backend: str, tmp_path: Path) -> None:
    """What it has done to the class, and to itself, is there. What it entered in a module is not."""
    (tmp_path / "registry.py").write_text("known = {}\ndef enter(kind): known[kind.__name__] = kind; return kind\n")
    done = run_script(f"""
        import collections.abc, mrpy, registry
        mrpy.configure(backend={backend!r}, workers=1)
        defined = []
        def enter(kind):
            kind.number = len(defined)
            defined.append(kind.__name__)
            collections.abc.Sized.register(kind)
            return registry.enter(kind)
        class Meta(type):
            def __new__(meta, name, bases, space):
                return enter(super().__new__(meta, name, bases, {{**space, "__slots__": space["fields"]}}))
        class Base:
            def __init_subclass__(cls): enter(cls)
        class A(metaclass=Meta): fields = ["n"]
        class B(Base): pass
        @enter
        class C: pass
        def look(x):
            x.n = 1
            in_modules = isinstance(x, collections.abc.Sized), type(x).__name__ in registry.known
            return type(x).number, defined, hasattr(x, "__dict__"), in_modules
        things = [A(), B(), C()]
        here, there = map(look, things), mrpy.pmap(look, things)
        for one, other in zip(here, there): print(one[:-1] == other[:-1], one, other[-1])
    """, cwd=tmp_path)  # fmt: skip
    lines = [f"True ({n}, ['A', 'B', 'C'], {n > 0}, (True, True)) (False, False)" for n in range(3)]
    assert (done.stderr, done.stdout.splitlines()) == ("", lines)


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_metaclasses_of_a_script_may_have_mixins_that_are_imported(backend: str, tmp_path: Path) -> None:
    """Which are no metaclasses."""
    (tmp_path / "mixins.py").write_text(textwrap.dedent("""
        class Shown:
            def __repr__(cls): return f"<{cls.__name__}>"
    """))
    done = run_script(f"""
        import abc, mixins, mrpy, typing
        mrpy.configure(backend={backend!r}, workers=1)
        T = typing.TypeVar("T")
        class One(mixins.Shown, type): pass
        class Two(typing.Generic[T], mixins.Shown, abc.ABCMeta): pass
        class A(metaclass=One): pass
        class B(metaclass=Two): pass
        B.register(int)
        print(*mrpy.pmap(lambda x: (repr(type(x)), isinstance(1, B)), [A(), B()]))
    """, cwd=tmp_path)  # fmt: skip
    assert (done.stderr, done.stdout) == ("", "('<A>', True) ('<B>', True)\n")


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_metaclasses_of_a_script_may_derive_from_one_that_wants_more(backend: str, tmp_path: Path) -> None:
    """Than a class begins with. It had its say."""
    (tmp_path / "tables.py").write_text(textwrap.dedent("""
        class Checked(type):
            def __init__(cls, name, bases, space):
                super().__init__(name, bases, space)
                if bases and "table" not in space: raise TypeError(f"{name} has no table")
    """))
    done = run_script(f"""
        import mrpy, tables
        mrpy.configure(backend={backend!r}, workers=1)
        class Mine(tables.Checked): pass
        class Model(metaclass=Mine): pass
        class User(Model): table = "users"
        print(*mrpy.pmap(lambda x: (x.table, type(x) is User), [User()]))
    """, cwd=tmp_path)  # fmt: skip
    assert (done.stderr, done.stdout) == ("", "('users', True)\n")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are none")
def test_type_aliases_of_a_main_module_travel() -> None:
    done = run_script("""
        import mrpy, typing
        type Json = dict[str, Json] | int
        type Pair[T] = tuple[T, T]
        class Row(typing.NamedTuple):
            a: Json
        def twice(x: Json) -> Pair[int]: return x, x
        print(list(mrpy.pmap(twice, [1])), list(mrpy.pmap(lambda x: (Row(x), Json.__name__, Pair.__value__), [1])))
    """)
    assert (done.stderr, done.stdout) == ("", "[(1, 1)] [(Row(a=1), 'Json', tuple[T, T])]\n")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are none")
def test_type_parameters_of_a_main_module_travel_with_what_they_name() -> None:
    """Which may be what they are parameters of, or not be there at all; and the same come back."""
    done = run_script("""
        import mrpy, typing
        class Node[T: Node]: pass
        def listed[T: list[T], *Ts, **P](x: T): return x
        def sized[T: Sized](x: T): return x
        def one_of[T: (int, Node)](x: T): return x
        def named(x):
            params = Node.__type_params__ + listed.__type_params__ + one_of.__type_params__
            return [(repr(p), getattr(p, "__bound__", 0), getattr(p, "__constraints__", ()), p.__module__) for p in params]
        def of_sized(x):
            try: sized.__type_params__[0].__bound__
            except NameError: return sized(x)
        here = named(0)
        for backend in ("processes", "dask"):
            mrpy.configure(backend=backend, workers=1)
            print(repr(list(mrpy.pmap(named, [0]))) == repr([here]), list(mrpy.pmap(of_sized, [1, 2])))
            params = [Node.__type_params__, listed.__type_params__]
            print([one is other for one, other in zip(mrpy.pmap(lambda n: params[n][0], [0, 1]), [params[0][0], params[1][0]])])
    """)
    assert (done.stderr, done.stdout) == ("", "True [1, 2]\n[True, True]\n" * 2)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="there are none")
def test_defaults_of_type_parameters_of_a_main_module_travel() -> None:
    done = run_script("""
        import mrpy, typing
        class Box[T, U = int, V = Box]: pass
        def f[**P = [int, str], *Ts = *tuple[int, ...]](x): return x
        W = typing.TypeVar("W", default=None, covariant=True)
        class Old(typing.Generic[W]): pass
        def task(x):
            params = Box.__type_params__ + f.__type_params__ + Old.__parameters__
            return str(Box[str]), [(repr(p), p.__default__, p.__module__) for p in params]
        print(str(list(mrpy.pmap(task, [1], backend="processes", workers=1))) == str([task(1)]))
    """)
    assert (done.stderr, done.stdout) == ("", "True\n")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are none")
def test_type_parameters_without_a_default_name_nothing_in_its_place() -> None:
    """What stands there says of no module that it is of it: pickle would find it in the main one."""
    done = run_script("""
        import multiprocessing
        from typing import *
        import mrpy
        class Box[T]: pass
        def first[T](xs: list[T]) -> T: return xs[0]
        def task(x): return str(Box[int]), first([x]), [repr(getattr(p, "__default__", 0)) for p in Box.__type_params__]
        print(list(mrpy.pmap(task, [1], backend="processes", workers=1)) == [task(1)])
    """)
    assert (done.stderr, done.stdout) == ("", "True\n")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are none")
def test_globals_that_type_parameters_of_a_class_in_a_function_name_travel() -> None:
    done = run_script("""
        import mrpy
        Big, Lim, K = float, int, 5
        def task(x):
            class A:
                type X = Big
                def m[T: Big](self, y: Lim): return K
                class B[T](list[Lim]): pass
            return A.X.__value__, A.m.__type_params__[0].__bound__, A.m.__annotations__, A.B.__orig_bases__[0]
        print(str(list(mrpy.pmap(task, [1], backend="processes", workers=1))) == str([task(1)]))
    """)
    assert (done.stderr, done.stdout) == ("", "True\n")


# ---- classes that have changed ---------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_a_run_has_the_values_that_it_began_with_whatever_an_earlier_one_sends(backend: str, tmp_path: Path) -> None:
    """An iterator that nobody has brought to its end, say: a worker that takes the place of another is sent its
    function after that of the later run."""
    done = run_script(f"""
        import enum, mrpy, os, pathlib
        FACTOR = 1
        class Base:
            def factor(self): return FACTOR
        class Model(Base):
            def value(self): return self.factor(), FACTOR
        class Kind(enum.Enum):
            A = 1
            def value_now(self): return FACTOR
        def f(x):
            if x == 5:
                pathlib.Path("died").touch(exist_ok=False)
                os._exit(1)
            return Model(), Model().value(), Kind.A.value_now(), isinstance(Model(), Base)
        with mrpy.session({backend!r}, workers=1):
            old = mrpy.pmap(f, [1] * 100, chunksize=1, buffersize=1)
            next(old)
            FACTOR = 10
            new = mrpy.pmap(f, range(50), chunksize=1, buffersize=1, on_error="skip")
            got = [next(new) for _ in range(10)]
            next(old)
            got += new
        print({{(type(model) is Model, *values) for model, *values in got}})
    """, cwd=tmp_path)  # fmt: skip
    assert done.stdout == "{(True, (10, 10), 10, True)}\n", done.stderr


def test_what_was_pickled_before_a_class_changed_and_is_opened_afterwards_does_not_change_it_back() -> None:
    done = run_script("""
        import subprocess, sys
        from mrpy.scheduler import byvalue
        FACTOR = 1
        class Model:
            def value(self): return FACTOR
        old = byvalue.dumps(Model)
        FACTOR = 10
        new = byvalue.dumps(Model)
        opens = f"import pickle; new, old = map(pickle.loads, {[new, old]!r}); print(new().value(), new is old)"
        subprocess.run([sys.executable, "-c", opens])
    """)
    assert (done.stderr, done.stdout) == ("", "10 True\n")


def test_a_function_that_is_used_again_sees_the_classes_of_its_annotations_as_they_are_now() -> None:
    done = run_script("""
        import mrpy
        from unittest import mock
        FACTOR = 1
        class Shape:
            def factor(self): return FACTOR
        class Circle(Shape): pass
        def f(shape: Shape) -> int: return shape.factor()
        mrpy.configure(workers=1)
        def look(): return mrpy.submit(f, Shape()).result(), *mrpy.pmap(f, [Circle(), Shape()], chunksize=1)
        print(look())
        FACTOR = 2
        print(look())
        with mock.patch.object(Shape, "factor", lambda self: 3):
            print(look())
        print(look())
    """)
    assert (done.stderr, done.stdout) == ("", "(1, 1, 1)\n(2, 2, 2)\n(3, 3, 3)\n(2, 2, 2)\n")


def test_members_of_an_enum_that_were_sent_back_see_what_has_changed() -> None:
    """The copy that they are of is no class of the worker's own."""
    done = run_script("""
        import enum, mrpy
        FACTOR = 1
        class Kind(enum.Enum):
            A = 1
            def factor(self): return FACTOR
        mrpy.configure(workers=1)
        for FACTOR in (1, 2, 3):
            print(*mrpy.pmap(lambda _: (Kind.A, Kind.A.factor()), [0]), *mrpy.pmap(lambda kind: kind.factor(), [Kind.A]))
    """)
    lines = [f"(<Kind.A: 1>, {n}) {n}\n" for n in (1, 2, 3)]
    assert (done.stderr, done.stdout) == ("", "".join(lines))


def test_a_class_that_has_not_changed_is_the_same_one_in_the_next_run() -> None:
    """What an imported module has kept is known again. Objects that are pickled, annotations that are asked for,
    change nothing."""
    done = run_script("""
        import json, mrpy
        class Base:
            def twice(self): return 2 * self.x
        class Row(Base):
            def __init__(self, x): self.x = x
        def keep(x): json.kept = Row(x)
        def look(_): return type(json.kept) is Row, isinstance(json.kept, Base), json.kept.twice()
        mrpy.configure(workers=1)
        list(mrpy.pmap(keep, [3]))
        print(*mrpy.pmap(look, [0]), *mrpy.pmap(lambda row: type(json.kept) is type(row), [Row(1)]))
        assert not Row.__annotations__
        print(*mrpy.pmap(look, [0]), *mrpy.pmap(lambda row: type(json.kept) is type(row), [Row(1)]))
    """)
    assert (done.stderr, done.stdout) == ("", "(True, True, 6) True\n" * 2)


# ---- classes of modules that have them under another name ------------------------------------------------

BY_OTHER_NAMES = """
import enum
from collections import namedtuple
Color = enum.Enum("Colour", "RED BLUE")
Point = namedtuple("Pt", "x y")
def make(base=object):
    class Inner(base):
        def __init__(self, x=0): self.x = x
        def __eq__(self, other): return isinstance(other, Inner) and self.x == other.x
        def __hash__(self): return hash(self.x)
    return Inner
One, Two = make(), make()
class Error(Exception): pass
Failed = make(Error)
Failed.__module__ = "builtins"
later = None
known = {Color.RED: 1, Color.BLUE: 2, Point(1, 2): 3, One(1): 4}
def look(x): return known.get(x), isinstance(x, Color | Point | One), isinstance(x, Two)
def key(x): return (Color.RED, Point(1, 2))[x % 2]
"""


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_a_class_that_a_module_has_under_another_name_is_that_of_the_module(
    backend: str, tmp_path: Path
) -> None:
    (tmp_path / "others.py").write_text(BY_OTHER_NAMES)
    done = run_script(f"""
        import mrpy, others, sys
        from others import Color, Failed, One, Point, Two
        def fails(x): raise Failed("so")
        things = [Color.RED, Color.BLUE, Point(1, 2), One(1), Two(1)]
        with mrpy.session({backend!r}, workers=2):
            print(*mrpy.pmap(others.look, things, chunksize=1))
            print(list(mrpy.pmap(lambda x: (x, Two), things, chunksize=1)) == [(x, Two) for x in things])
            print(sorted(n for key, n in mrpy.stream(range(30), chunksize=1).count_by(others.key)))
            [error] = mrpy.pmap(fails, [0], on_error="return")
            print(type(error) is Failed)
    """, cwd=tmp_path)  # fmt: skip
    looked = "(1, True, False) (2, True, False) (3, True, False) (4, True, False) (None, False, True)"
    assert (done.stderr, done.stdout) == ("", f"{looked}\nTrue\n[15, 15]\nTrue\n")


def test_a_class_that_was_put_into_a_module_later_goes_by_value(tmp_path: Path) -> None:
    """A worker has nothing there, or another thing. So does one of a module that is to go by value."""
    (tmp_path / "others.py").write_text(BY_OTHER_NAMES)
    done = run_script("""
        import cloudpickle, mrpy, others
        others.later, others.Late = others.make(), others.make()
        mrpy.configure(workers=1)
        for x in others.later(1), others.Late(2):
            print(*mrpy.pmap(lambda x: x.x, [x]), list(mrpy.pmap(lambda x: x, [x])) == [x])
        cloudpickle.register_pickle_by_value(others)
        others.One.value = 7
        print(*mrpy.pmap(lambda x: x.value, [others.One()]))
    """, cwd=tmp_path)  # fmt: skip
    assert (done.stderr, done.stdout) == ("", "1 True\n2 True\n7\n")


def test_tests_may_be_failed_and_skipped_in_tasks() -> None:
    def ends(how: str) -> None:
        getattr(pytest, how)("so")

    with mrpy.session("processes", workers=1):
        failed, skipped = mrpy.pmap(ends, ["fail", "skip"], on_error="return")
    assert isinstance(failed, pytest.fail.Exception) and isinstance(skipped, pytest.skip.Exception)


def test_objects_that_are_asked_for_what_they_have_not_travel(tmp_path: Path) -> None:
    """pydantic keeps one in a function that it checks the arguments of. By `pickle` they open in a circle."""
    (tmp_path / "proxies.py").write_text(textwrap.dedent("""
        class Settings:
            def __init__(self, **known): self.known = known
            def __getattr__(self, name): return self.known[name]
        class Slotted:
            __slots__ = ("known", "__dict__")
            def __init__(self, known, other): self.known, self.other = known, other
            def __getattr__(self, name): return getattr(self.known, name)
        class Registered(Settings): pass
        def checked(function, settings):
            def call(*args): return function(*args) + settings.least
            return call
    """))
    done = run_script(f"""
        import sys
        sys.path.append({str(tmp_path)!r})
        import copyreg, mrpy, proxies
        mrpy.configure(workers=2)
        class Mine(proxies.Settings): pass
        copyreg.pickle(proxies.Registered, lambda thing: (dict, ()))
        for settings in (proxies.Settings(least=10), Mine(least=20), proxies.Slotted(Mine(least=30), 5)):
            print(list(mrpy.pmap(proxies.checked(lambda x: x, settings), [1, 2])))
        print(mrpy.submit(lambda: settings.other).result())
        registered = proxies.Registered()
        print(mrpy.submit(lambda: type(registered) is dict).result())
    """)
    assert (done.stdout, done.stderr) == ("[11, 12]\n[21, 22]\n[31, 32]\n5\nTrue\n", "")


SENTINELS = """
class Missing:
    def __repr__(self): return "MISSING"
class Settled(Missing):
    __slots__ = ()
class Late(Missing): pass
MISSING, SETTLED, late = Missing(), Settled(), None
class Field:
    def __init__(self, default=MISSING): self.default = default
    def is_required(self): return self.default is MISSING
class Notes: pass
NOTES = Notes()
def noted(): return sorted(vars(NOTES))
"""


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_classes_keep_the_constants_of_the_library_that_made_them(backend: str, tmp_path: Path) -> None:
    """Of which there is one, and which are compared by `is`. What is not there in a worker is copied."""
    (tmp_path / "sentinels.py").write_text(SENTINELS)
    done = run_script(f"""
        import dataclasses, mrpy, sentinels
        from sentinels import Field, NOTES, SETTLED
        mrpy.configure(backend={backend!r}, workers=1)

        @dataclasses.dataclass
        class Row:
            name: str
            many: list = dataclasses.field(default_factory=list)
            n: int = 0
        class Schema:
            other, name, n = sentinels.Missing(), Field(), Field(0)
            none: object = SETTLED

        def required(row):
            return [f.name for f in dataclasses.fields(row) if f.default is f.default_factory is dataclasses.MISSING]
        def narrow(name):
            @dataclasses.dataclass
            class Narrow(Row):
                k: int = 1
            return Narrow(name).n, Narrow(name).many
        def look(schema):
            return schema.name.is_required(), schema.n.is_required(), schema.none is SETTLED, schema.other is sentinels.MISSING
        def note(x):
            NOTES.x = x
            return sorted(vars(NOTES)), sentinels.noted()

        print(*mrpy.pmap(required, [Row("a")]), *mrpy.pmap(narrow, ["a"]))
        print(*mrpy.pmap(look, [Schema(), Schema]))
        sentinels.late = late = sentinels.Late()
        print(*mrpy.pmap(lambda x: (late, sentinels.late), [0]))
        NOTES.y = 1
        print(*mrpy.pmap(note, [1]))
    """, cwd=tmp_path)  # fmt: skip
    looked = "(True, False, True, False)"
    there = "(MISSING, None)\n(['x', 'y'], [])"
    assert (done.stderr, done.stdout) == ("", f"['name'] (0, [])\n{looked} {looked}\n{there}\n")
