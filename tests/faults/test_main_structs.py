"""Row 39: classes of a main module that a metaclass makes of their bodies, in a way that Python does not see."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

import pytest
from watching import run_script

pytestmark = pytest.mark.fault(39)

# As msgspec does it, in C: a class tells of its fields, but what its objects are made by is in no attribute.
MSGSPEC = """
    import sys, typing, weakref
    NODEFAULT = object()
    class Field:
        def __init__(self, *, default=NODEFAULT, default_factory=NODEFAULT, name=None):
            self.default = default if default_factory is NODEFAULT else Factory(default_factory)
            self.name = name
        def __reduce__(self): raise TypeError("cannot pickle a Field")
    field = Field
    class Factory:
        def __init__(self, factory): self.factory = factory
    class Config:
        def __init__(self, frozen, tag): self.frozen, self.tag = frozen, tag
    made = weakref.WeakKeyDictionary()
    class StructMeta(type):
        def __new__(meta, name, bases, space, *, frozen=False, tag=None, kw_only=False, rename=None):
            above = [made[base] for base in bases if base in made]
            fields = {}
            for one in above: fields.update(one["fields"])
            for own, kind in space.get("__annotations__", {}).items():
                if "ClassVar" in str(kind): continue
                told = space.pop(own, NODEFAULT)
                told = told if isinstance(told, Field) else Field(default=told)
                told.keyword, told.name = kw_only, told.name or (rename(own) if rename else own)
                fields[own] = told
            plain = [own for own, told in fields.items() if not told.keyword]
            order = plain + [own for own in fields if own not in plain]
            kind = super().__new__(meta, name, bases, {**space, "__slots__": tuple(order)} if order and not above else space)
            made[kind] = dict(fields=fields, order=order, plain=plain, post=getattr(kind, "__post_init__", None),
                              config=Config(frozen, tag))
            return kind
        def __setattr__(cls, name, value):
            if "__init__" in name or cls not in made: raise TypeError("not like this")
            super().__setattr__(name, value)
        __struct_fields__ = property(lambda cls: tuple(made[cls]["order"]))
        __struct_encode_fields__ = property(lambda cls: tuple(made[cls]["fields"][own].name for own in made[cls]["order"]))
        __match_args__ = property(lambda cls: tuple(made[cls]["plain"]))
        __struct_config__ = property(lambda cls: made[cls]["config"])
        @property
        def __struct_defaults__(cls):
            defaults = [made[cls]["fields"][own].default for own in made[cls]["order"]]
            first = next((at for at, each in enumerate(defaults) if each is not NODEFAULT), len(defaults))
            return tuple(defaults[first:])
        def __call__(cls, *given, **named):
            about, self = made[cls], cls.__new__(cls)
            if len(given) > len(about["plain"]): raise TypeError("Extra positional arguments provided")
            values = {**dict(zip(about["plain"], given)), **named}
            for own, told in about["fields"].items():
                default = told.default
                value = values.pop(own, default.factory() if isinstance(default, Factory) else default)
                if value is NODEFAULT: raise TypeError("Missing required argument " + own)
                object.__setattr__(self, own, value)
            if values: raise TypeError("Unexpected keyword argument")
            if about["post"]: about["post"](self)
            return self
    class Meta:
        def __init__(self, *, ge=None, title=None): self.ge, self.title = ge, title
        def __reduce__(self): raise TypeError("cannot pickle a Meta")
    def rebuild(cls, values): return cls(**values)
    class Struct(metaclass=StructMeta):
        __slots__ = ()
        def __reduce__(self): return rebuild, (type(self), {own: getattr(self, own) for own in made[type(self)]["order"]})
        def __repr__(self):
            told = made[type(self)]
            names = [told["fields"][own].name + "=" + repr(getattr(self, own)) for own in told["order"]]
            return type(self).__name__ + "(" + ", ".join(names) + ")" + repr(vars(told["config"]))
    def types(cls): return typing.get_type_hints(cls)
"""


@pytest.fixture
def with_structs(tmp_path: Path) -> str:
    """How a script begins that has them."""
    (tmp_path / "msgspec.py").write_text(textwrap.dedent(MSGSPEC))
    return f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport mrpy, msgspec\nmrpy.configure(workers=2)\n"


def shown(begin: str, body: str) -> subprocess.CompletedProcess[str]:
    return run_script(begin + textwrap.dedent(body))


def test_it_has_its_fields_there(with_structs: str) -> None:
    """With their defaults, their other names, and the options of the class."""
    done = shown(with_structs, """
        class Base(msgspec.Struct, frozen=True):
            x: int
            y: str = "k"
        class Named(msgspec.Struct, kw_only=True, rename=str.upper):
            z: list = msgspec.field(default_factory=lambda: [len(Base.__name__)])
            w: int
        class Both(Base, tag="both"):
            v: "dict | None" = None
        for kind, given in ((Base, dict(x=1)), (Named, dict(w=2)), (Both, dict(x=1, v={})), (msgspec.Struct, {})):
            here = kind(**given)
            there = list(mrpy.pmap(lambda given: (kind(**given), repr(kind(**given))), [given]))
            print(repr(there[0][0]) == repr(here) == there[0][1], type(there[0][0]) is kind)
            print(list(mrpy.pmap(lambda one: repr(one) == repr(here), [here])))
    """)
    assert (done.stdout, done.stderr) == ("True True\n[True]\n" * 4, "")


def test_its_types_may_mention_each_other(with_structs: str) -> None:
    """They are looked up late, among names that only the main module has; and a copy is sent like the first."""
    done = shown(with_structs, """
        import typing
        class Other:
            def make(self): return Record(1, self)
        class Record(msgspec.Struct):
            n: int
            other: "Other | Record | None" = None
            KNOWN: "typing.ClassVar[int]" = 3
            def twice(self): return 2 * self.n + len(Record.__name__)
        def look(n):
            one = Record(n, Record(n))
            return one, one.twice(), Record.KNOWN, msgspec.types(Record)["other"] == (Other | Record | None), Other().make()
        for one, *seen, made in mrpy.pmap(look, [1, 2]):
            print(type(one) is Record, type(one.other) is Record, seen, type(made.other) is Other)
    """)
    assert (done.stdout, done.stderr) == ("True True [8, 3, True] True\nTrue True [10, 3, True] True\n", "")


def test_it_is_told_of_what_it_calls_for_each_object(with_structs: str) -> None:
    done = shown(with_structs, """
        class Record(msgspec.Struct):
            n: int
            def __post_init__(self): assert self.n >= 0, Record.__name__
        print(mrpy.submit(lambda: Record(1).n).result())
        print(repr(mrpy.submit(lambda: Record(-1)).exception()))
    """)
    assert (done.stdout, done.stderr) == ("1\nAssertionError('Record')\n", "")


def test_its_types_may_say_more_of_themselves(with_structs: str) -> None:
    """So they do where a number has limits."""
    done = shown(with_structs, """
        from typing import Annotated
        Positive = Annotated[int, msgspec.Meta(ge=1)]
        class Record(msgspec.Struct):
            n: Positive
            names: "list[Annotated[str, msgspec.Meta(title='t')]]" = ["a"]
        def look(n):
            (number,), (name,) = Positive.__metadata__, msgspec.types(Record)["names"].__args__
            hint, = typing.get_type_hints(Record, include_extras=True)["names"].__args__[0].__metadata__
            return number.ge, number.title, hint.title, Record(n).n
        import typing
        print(list(mrpy.pmap(look, [1, 2])))
    """)
    assert (done.stdout, done.stderr) == ("[(1, None, 't', 1), (1, None, 't', 2)]\n", "")
