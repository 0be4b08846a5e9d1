'''Generator expressions and pipelines, written by hand: one a line, grouped by what they are hard on.

``GROUPS``    expressions; each makes a fresh iterable, which `mrpy.parallel` is to equal
``PROGRAMS``  functions without arguments that return one, for what needs a scope of its own
``CHAINS``    pairs: an expression, and a chain on ``S`` (a stream with the options of the run) that equals it

All are evaluated over the names of ``SETUP``. Some raise on purpose: what a plain loop raises, and all that it
yields before, is part of its answer.
'''

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

TEXT_FILE = """It was the best of times,
it was the worst of times,

it was the age of wisdom
"""

SETUP = f"TEXT = {TEXT_FILE!r}" + '''
import array, base64, bisect, collections, csv, dataclasses, datetime, decimal, enum, fractions, functools, hashlib
import heapq, io, itertools, json, math, operator, os, random, re, statistics, string, struct, textwrap, types
from collections import ChainMap, Counter, OrderedDict, UserList, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from itertools import chain, count, cycle, islice, product, starmap
import numpy as np
import toolz

N, LIMIT, RATE = 5, 20, 0.5
WORDS = "the quick brown fox jumps over the lazy dog the end".split()
TABLE = {"one": 1, "two": 2, "three": 3, "four": 4}
PAIRS = [(n, chr(97 + n)) for n in range(12)]
TREE = (1, (2, (3, ()), ()), (4, (5, ()), (6, ())))
MATRIX = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 0]]
MIXED = [1, "a", None, 2.5, (1, 2), [3], {"k": 1}, True, b"b", 3 + 4j, ..., frozenset({1})]
HUGE = 2**70

def double(x): return 2 * x
def add(a, b=10, *rest, c=0, **more): return a + b + sum(rest) + c + sum(more.values())
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
def total(tree): return tree[0] + sum(total(branch) for branch in tree[1:]) if tree else 0
def depth_first(tree):
    if tree:
        yield tree[0]
        for branch in tree[1:]:
            yield from depth_first(branch)
def upto(n): yield from range(n)
def divisors(n): return [d for d in range(1, n + 1) if n % d == 0]
def is_prime(n): return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))
def adder(k): return lambda x: x + k
def counter():
    n = 0
    def step():
        nonlocal n
        n += 1
        return n
    return step
def advanced(iterable, steps=2):
    iterator = iter(iterable)
    for _ in range(steps):
        next(iterator, None)
    return iterator
def raising(n):
    yield from range(n)
    raise LookupError(f"after {n}")

@dataclasses.dataclass(frozen=True, order=True)
class Point:
    x: int
    y: int = 0
    ORIGIN = (0, 0)
    def norm(self): return abs(self.x) + abs(self.y)
    def moved(self, by): return Point(self.x + by, self.y)
    @property
    def flipped(self): return Point(self.y, self.x)
    @classmethod
    def diagonal(cls, n): return cls(n, n)
    @staticmethod
    def dot(p, q): return p.x * q.x + p.y * q.y
class Scale:
    factor = 3
    __slots__ = ("offset",)
    def __init__(self, offset): self.offset = offset
    def __call__(self, x): return self.factor * x + self.offset
    def every(self, xs): return [self(x) for x in xs]
    def lazily(self, xs): return (self.factor * x + self.offset for x in xs)
class Twice(Scale):
    __slots__ = ()
    def __call__(self, x): return 2 * super().__call__(x)
class Old:
    def __init__(self, n): self.n = n
    def __getitem__(self, place):
        if place >= self.n:
            raise IndexError(place)
        return place * place
class Sized(Old):
    def __len__(self): return self.n
class Again:
    def __init__(self, xs): self.xs = xs
    def __iter__(self): return iter(self.xs)
class Countdown:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        if self.n <= 0:
            raise StopIteration
        self.n -= 1
        return self.n
class Squares(list):
    def __iter__(self): return (x * x for x in list.__iter__(self))
class Loud(str): pass
class Missing(dict):
    def __missing__(self, key): return f"no {key}"
class Colour(enum.Enum):
    RED = 1
    GREEN = 2
    BLUE = 4
Row = namedtuple("Row", "name value")
ROWS = [Row(w, len(w)) for w in WORDS]
POINTS = [Point(n, -n % 7) for n in range(15)]
'''

GROUPS = {
    "one for": """
(x for x in range(0))
(x for x in range(1))
(x for x in [])
(x * x for x in range(30))
(-x for x in range(30))
(x for x in range(30) if x % 3 == 0)
(x for x in range(30) if x % 2 if x % 3 if x % 5)
(x for x in range(30) if False)
(x for x in range(30) if x > 28)
(None for _ in range(7))
(_ for _ in range(7))
(x if x % 2 else -x for x in range(9))
('fizz' * (not x % 3) + 'buzz' * (not x % 5) or x for x in range(1, 31))
(x and x - 1 for x in range(4))
(x or 'zero' for x in range(4))
(0 < x < 5 < 9 for x in range(8))
(not x for x in [0, 1, '', 'a', None, [], [0]])
(x is None for x in MIXED)
(type(x).__name__ for x in MIXED)
(x for x in MIXED)
(repr(x) for x in MIXED if x is not ...)
(x == x for x in [float('nan'), 1.0, None])
(x for x in [float('inf'), -0.0, 1e308 * 10])
(True for x in range(3))
(... for x in range(3))
(x @ x for x in [np.arange(3), np.ones(2)])
(x ** 40 for x in range(9))
(~x & 0xFF | 3 ^ x << 2 >> 1 for x in range(20))
(divmod(x, 7) for x in range(-20, 20))
(x // 3 + x % 3 for x in range(-9, 9))
(1 / x for x in [1, 2, 4, 8])
(complex(x, -x) for x in range(5))
(round(x / 7, 3) for x in range(20))
""",
    "several fors and ifs": """
((x, y) for x in range(6) for y in range(4))
((x, y) for x in range(9) for y in range(x))
((x, y, z) for x in range(5) for y in range(x) for z in range(y))
((x, y) for x in range(9) if x % 2 for y in range(x) if y % 2)
((x, y) for x in range(9) if x % 2 if x > 2 for y in range(x) if y if y < 5)
(a * b for a in range(1, 10) for b in range(1, 10) if a < b)
((a, b, c) for a in range(1, 14) for b in range(a, 14) for c in range(b, 14) if a * a + b * b == c * c)
(x for row in MATRIX for x in row)
(x for row in MATRIX if sum(row) > 1 for x in row if x)
(x for x in range(5) for x in range(x))
(x for x in [[1, [2]], [3, [4]]] for x in x)
(c for word in WORDS for c in word if c in 'aeiou')
((i, j) for i, row in enumerate(MATRIX) for j, x in enumerate(row) if x % 2)
(a + b + c + d for a in 'ab' for b in 'cd' for c in 'ef' for d in 'gh')
(x for x in range(4) for _ in range(2) for _ in range(x))
(x for x in range(3) for y in [] for z in range(9))
(x + y for x in range(8) for y in (10, 20, 30) if (x + y) % 3)
(y for x in range(9) for y in [x * x])
(y for x in range(20) for y in [x * x] if y % 3 == 1)
(k for x in range(9) for k in (x if x % 2 else -x,) if k < 3)
(k + v for d in [{'a': 'b'}, {}, {'c': 'd', 'e': 'f'}] for k, v in d.items())
(z for x in range(5) for y in range(x) if x * y % 2 for z in (x, y))
((w, c) for w in WORDS for c in sorted(set(w)) if w.count(c) > 1)
(q for x in range(10) for q in divisors(x) if is_prime(q))
(p for n in range(60) if is_prime(n) for p in (n, n + 2) if is_prime(p))
(x for x in range(100) if all(x % d for d in range(2, x)))
""",
    "nested generators": """
(x + 1 for x in (y * 2 for y in range(20)))
(x for x in (y for y in range(20) if y % 2) if x % 3)
(a for a in (b for b in (c for c in range(20) if c % 2) if b % 3) if a % 5)
(a + 1 for a in (b * 2 for b in (c - 3 for c in (d ** 2 for d in range(15)))))
(a for a in (b + 1 for b in (c + 1 for c in (d + 1 for d in (e + 1 for e in range(15))))))
(a for a in (b for b in (c for c in (d for d in (e for e in (f for f in range(9)))))))
(x for x in (y for x in range(5) for y in range(x)) for _ in range(2))
((x, y) for x, y in ((y, x) for x, y in PAIRS))
(x for x in (n for n in range(10)) if x in (n for n in range(5)))
(sum(y for y in range(x)) for x in range(12))
(max((y % 7 for y in range(x)), default=-1) for x in range(12))
(list(y for y in range(x) if y != x - 1) for x in range(8))
(tuple(tuple(z for z in range(y)) for y in range(x)) for x in range(5))
(sorted(set(y * y % 11 for y in range(x))) for x in range(12))
(dict((k, k * x) for k in range(x)) for x in range(5))
(any(y * y == x for y in range(x + 1)) for x in range(30))
(next((d for d in range(2, x) if x % d == 0), None) for x in range(20))
(''.join(c for c in w if c not in 'aeiou') for w in WORDS)
(y for x in range(5) for y in (z + x for z in range(3)))
(y for x in range(5) for y in (z + x for z in (w * x for w in range(3))))
((lambda g: list(g))(y for y in range(x)) for x in range(5))
(list(zip((a for a in range(x)), (b for b in range(x, 0, -1)))) for x in range(6))
(x for x in (sum(z for z in range(y)) for y in range(10)) if x % 2)
(list(g) for g in [(y for y in range(3)), (y for y in 'ab')][:0])
(x * N for x in (y + LIMIT for y in (z for z in range(9) if z < N)))
(x for x in (y for y in WORDS if len(y) > 3) if x in (w for w in WORDS if 'o' in w))
""",
    "walrus": """
(y for x in range(20) if (y := x * x) % 3 == 1)
((y := x + 1) * y for x in range(20))
((x, y) for x in range(20) if (y := x % 7) if (z := y % 3) != 1)
([y := x, y ** 2, y ** 3] for x in range(5))
(m.group(1) for w in WORDS if (m := re.match(r'(\\w)o', w)))
(a + b for x in range(9) if (a := x * 2) > 3 for z in range(3) if (b := z - a) < 0)
((n := len(w), n * n) for w in WORDS)
(s for x in range(9) if (s := sum(d for d in range(x))) % 2)
(f'{(k := x * 2)}{k}' for x in range(6))
((lambda: (t := x) + t)() for x in range(6))
(y if (y := x % 3) else 'none' for x in range(9))
({(k := x): k} for x in range(4))
(w for row in MATRIX if any((w := v) > 4 for v in row))
(h for g in WORDS if (h := (lambda q: q.upper())(g)) != 'THE')
((y := 1, y := y + x, y)[-1] for x in range(4))
""",
    "bodies": """
((x, -x) for x in range(9))
((x,) for x in range(9))
(() for x in range(3))
([x, [x]] for x in range(9))
([] for x in range(3))
({x, -x, x % 2} for x in range(9))
({x: -x} for x in range(9))
({} for x in range(3))
({'n': x, 'square': x * x, **TABLE} for x in range(4))
({**{x: 1}, **{x + 1: 2}} for x in range(4))
([*range(x), x, *range(x)] for x in range(5))
((*range(x), *'ab') for x in range(4))
({*range(x), *range(3)} for x in range(5))
([y for y in range(x)] for x in range(6))
([[z for z in range(y)] for y in range(x)] for x in range(5))
({y: x for y in range(x)} for x in range(6))
({y % 3 for y in range(x)} for x in range(6))
([y for y in range(x) if y % 2 if y > 1] for x in range(9))
([a + b for a in range(x) for b in range(a)] for x in range(5))
({k: v for k, v in zip('abc', range(x, x + 3))} for x in range(4))
(f'{x}' for x in range(5))
(f'{x:>5}|{x:<5}|{x:^5}|{x!r:>3}' for x in range(5))
(f'{x:{x + 1}.{x}f}' for x in range(5))
(f'{w!r}: {len(w):03d} {"long" if len(w) > 3 else "short"}' for w in WORDS)
(f'{x=}' for x in range(3))
(f'{[y for y in range(x)]}' for x in range(4))
('%s-%05.2f' % (x, x / 3) for x in range(5))
('{0}{1}{0}'.format(x, -x) for x in range(5))
('a' 'b' * x for x in range(4))
(x[::-1] for x in WORDS)
(x[1:3] for x in WORDS)
(x[0] + x[-1] for x in WORDS)
(WORDS[x] for x in range(5))
(WORDS[x:] for x in range(5))
(MATRIX[x][y] for x in range(4) for y in range(3))
(x['k'] for x in [{'k': 1}, {'k': 2}])
(x.real + x.imag for x in [1 + 2j, 3, 4.5])
(1 if x < 3 else 2 if x < 6 else 3 for x in range(9))
((1 if x else 2, 3) if x % 2 else [4] for x in range(4))
(x if x else (yes for yes in 'ab').__next__() for x in range(3))
((x, y) == (y, x) for x in range(3) for y in range(3))
(b'%d' % x for x in range(4))
(Point(x, y) for x in range(3) for y in range(3))
(Colour(c.value) for c in Colour)
(datetime.date(2024, 1, 1) + datetime.timedelta(days=x) for x in range(40))
(Decimal(x) / 7 for x in range(9))
(Fraction(x, x + 1) for x in range(9))
(slice(x, x + 1) for x in range(3))
(range(x) for x in range(5))
(bytes(range(x)) for x in range(5))
(array.array('i', range(x)) for x in range(4))
(deque(range(x), maxlen=3) for x in range(6))
(OrderedDict(a=x, b=-x) for x in range(3))
(Counter(w) for w in WORDS)
(x.__class__ for x in MIXED)
(int for x in range(3))
""",
    "targets": """
(a + b for a, b in [(1, 2), (3, 4), (5, 6)])
(b for _, b in PAIRS)
((a, b) for [a, b] in PAIRS)
(first for first, *_ in ['ab', 'c', (1, 2, 3)])
(rest for _, *rest in ['ab', 'c', (1, 2, 3)])
((a, m, z) for a, *m, z in [range(2), range(5), 'xyz'])
(last for *_, last in WORDS)
(a + c for a, (b, c) in [(1, (2, 3)), (4, (5, 6))])
((a, d) for a, (b, [c, *d]) in [(1, (2, 'abc')), (4, (5, 'z'))])
(((a), b) for (a), b in PAIRS)
((k, v) for k, v in TABLE.items())
(k * v for k, v in TABLE.items() if v % 2)
((i, a, b) for i, (a, b) in enumerate(PAIRS))
((i, w) for i, w in enumerate(WORDS, 10) if i % 2)
((a, b, c) for a, b, c in zip(range(9), 'abcdefghi', WORDS))
((a, b, c) for (a, b), c in zip(PAIRS, WORDS))
((r.name, r.value) for r in ROWS)
(name for name, value in ROWS if value > 3)
(a for a, b in ['ab', 'cd', 'e'])
(a for a, b in [(1, 2), (3, 4, 5)])
(a for a, b in [(1, 2), 3])
(x for (x,) in zip(range(5)))
(d['k'] for d['k'] in range(5) for d in [{}])
(box[0] for box in [[0]] for box[0] in range(5))
(p.x for p in [types.SimpleNamespace(x=0)] for p.x in range(4))
""",
    "closures and names": """
(x * N for x in range(9))
(x * N + LIMIT * RATE for x in range(9))
(double(x) for x in range(9))
(double(double(x)) for x in range(9) if double(x) % 3)
(fib(x) for x in range(15))
(even(x) for x in range(12))
((even(x), odd(x)) for x in range(12))
(total(TREE[k:k + 1]) for k in range(1))
(total(t) for t in [TREE, TREE[1], TREE[2], ()])
(x for x in depth_first(TREE))
(list(depth_first(t)) for t in [TREE, *TREE[1:]])
(TABLE[w] for w in ['one', 'two'])
(TABLE.get(w, len(w)) for w in WORDS)
(adder(x)(1) for x in range(9))
([f(10) for f in [adder(k) for k in range(x)]] for x in range(4))
(math.sqrt(x) for x in range(9))
(math.gcd(x, 12) for x in range(20))
(operator.itemgetter(1)(p) for p in PAIRS)
(operator.attrgetter('x', 'y')(p) for p in POINTS)
(functools.reduce(operator.mul, range(1, x + 1), 1) for x in range(9))
(functools.partial(add, c=x)(1) for x in range(5))
(int(w, 36) for w in WORDS)
(sorted(w, key=lambda c: (c in 'aeiou', c)) for w in WORDS)
(json.dumps({'n': x, 'l': [x]}) for x in range(5))
(json.loads(t) for t in ['1', '[2]', '{"a": null}'])
(re.sub('[aeiou]', lambda m: m.group().upper(), w) for w in WORDS)
(hashlib.sha256(w.encode()).hexdigest() for w in WORDS)
(struct.pack('>I', x) for x in range(5))
(base64.b64encode(w.encode()) for w in WORDS)
(bisect.bisect([1, 4, 9, 16], x) for x in range(20))
(Colour.RED.value + x for x in range(3))
(Colour.GREEN for x in range(3))
(undefined_name for x in range(3))
(x + undefined_name for x in range(0))
(__name__ for x in range(3))
(random.Random(x).random() for x in range(5))
(string.ascii_letters[x] for x in range(9))
(statistics.mean([x, x + 1]) for x in range(9))
(toolz.pipe(x, double, str) for x in range(5))
(toolz.get_in(['a', x], {'a': {1: 'found'}}, 'not') for x in range(3))
(Missing(a=1)[k] for k in 'abc')
""",
    "methods and classes": """
(w.upper() for w in WORDS)
(w.title().center(9, '*') for w in WORDS)
(str.upper(w) for w in WORDS)
(w.split('o') for w in WORDS)
(p.norm() for p in POINTS)
(p.moved(3).flipped for p in POINTS)
(Point.diagonal(x) for x in range(5))
(Point.dot(p, p.flipped) for p in POINTS)
(Point.ORIGIN + (x,) for x in range(3))
(POINTS[3].moved(x) for x in range(5))
(POINTS[x] < POINTS[3] for x in range(6))
(Scale(1)(x) for x in range(9))
(Scale.factor * x for x in range(9))
(Twice(x)(x) for x in range(9))
(Scale(x).every(range(3)) for x in range(4))
(list(Scale(x).lazily(range(3))) for x in range(4))
Scale(2).lazily(range(9))
Twice(2).lazily(range(9))
(f(x) for x in range(3) for f in [Scale(0), Twice(1), double, abs, str])
(isinstance(x, (int, str)) for x in MIXED)
(issubclass(type(x), int) for x in MIXED)
(getattr(p, name) for p in POINTS for name in 'xy')
(hasattr(x, '__len__') for x in MIXED)
(Row(r.value, r.name) for r in ROWS)
(r._replace(value=0) for r in ROWS)
(dataclasses.replace(p, y=1) for p in POINTS)
(type('Made', (), {'n': x})().n for x in range(3))
(Loud(w).upper() for w in WORDS)
(Squares([x, x + 1])[0] for x in range(4))
(list(Squares([x, x + 1])) for x in range(4))
(x.bit_length() for x in range(9))
((x).__add__(1) for x in range(9))
(int.from_bytes(bytes([x, 1]), 'big') for x in range(5))
([].append(x) for x in range(3))
(','.join(map(str, row)) for row in MATRIX)
(dict.fromkeys(w, 0) for w in WORDS)
""",
    "lambdas": """
((lambda y: y * 2)(x) for x in range(9))
((lambda: x)() for x in range(9))
((lambda y, z=3, *a, k=4, **m: (y, z, a, k, m))(x, *range(x), q=x) for x in range(4))
((lambda *a: a)(*range(x)) for x in range(5))
((lambda **k: k)(**{'a': x}) for x in range(3))
((lambda y: (lambda z: y + z)(x))(1) for x in range(5))
((lambda x: x)(-x) for x in range(5))
((lambda f: f(f, x))(lambda f, n: 1 if n < 2 else n * f(f, n - 1)) for x in range(8))
(list(map(lambda y: y + x, range(3))) for x in range(4))
(list(filter(lambda y: y % (x + 1), range(6))) for x in range(4))
(sorted(range(6), key=lambda y: (y * x % 7, y)) for x in range(5))
([f() for f in [lambda: x, lambda: -x]] for x in range(4))
([f() for f in [lambda: y for y in range(x)]] for x in range(4))
([f() for f in [lambda y=y: y for y in range(x)]] for x in range(4))
((lambda: (yield x))().__next__() for x in range(3))
(next(iter((lambda: (y for y in [x]))())) for x in range(3))
((lambda y: y if y < 2 else [y, x])(x) for x in range(4))
((lambda a, /, b, *, c: (a, b, c))(x, b=1, c=2) for x in range(2))
""",
    "calls": """
(add(x) for x in range(5))
(add(x, *range(3)) for x in range(5))
(add(*[x, 1, 2], c=5) for x in range(5))
(add(x, **{'b': 1, 'c': 2, 'd': 3}) for x in range(5))
(add(*(x,), *(1, 2), **{'c': x}, **{'e': 1}) for x in range(5))
(max(*row) for row in MATRIX)
(max(row, key=lambda v: -v) for row in MATRIX)
(print(end='') for x in range(2))
(dict(zip('ab', (x, -x))) for x in range(3))
(dict(a=x, **{'b': 1}) for x in range(3))
(list(zip(*MATRIX))[x] for x in range(3))
(pow(x, 3, 7) for x in range(9))
(int(str(x)[::-1]) for x in range(8, 30))
(str(x).zfill(4) for x in range(5))
(next(iter([x])) for x in range(3))
(next(iter([]), x) for x in range(3))
(list(itertools.accumulate(range(x))) for x in range(5))
(list(itertools.groupby(w))[0][0] for w in WORDS)
([(k, len(list(g))) for k, g in itertools.groupby(w)] for w in WORDS)
(list(islice(count(x), 3)) for x in range(4))
(list(product(range(x), 'ab')) for x in range(3))
(list(itertools.combinations(range(x), 2)) for x in range(5))
([*itertools.pairwise(range(x))] for x in range(5))
(heapq.nsmallest(2, row) for row in MATRIX)
(eval('x + 1', {'x': x}) for x in range(3))
(callable(f) for f in [abs, 1, double, Scale(1)])
(list(reversed(w)) for w in WORDS)
(list(upto(x)) for x in range(4))
(x for n in range(4) for x in upto(n))
(textwrap.shorten(TEXT, x) for x in range(12, 30, 4))
(counter()() for x in range(3))
((lambda s: (s(), s(), s()))(counter()) for x in range(3))
(operator.methodcaller('count', 'o')(w) for w in WORDS)
""",
    "errors": """
(1 / (x - 3) for x in range(6))
(int(w) for w in ['1', '2', 'x', '4'])
(TABLE[w] for w in WORDS)
([][x] for x in range(2))
(x.nothing for x in range(2))
(None + x for x in range(2))
(x() for x in range(2))
(x for x in raising(5))
(x * 2 for x in (y + 1 for y in raising(5)))
(y for x in range(5) for y in raising(x))
(y for x in range(3) for y in x)
(next(iter([])) for x in range(2))
(1 // 0 if x == 2 else x for x in range(4))
(x for x in range(4) if 1 // (x - 2))
(x for x in range(4) if x.real if x.oops)
(int(x) for x in 'abc')
(a + b for a, b in ['ab', 'abc'])
(fib(x) if x < 3 else fib(None) for x in range(5))
(x for x in map(int, ['1', 'x', '3']))
map(int, ['1', 'x', '3'])
filter(lambda x: 1 // x, [1, 2, 0, 3])
(sum(y for y in [x, None]) for x in range(2))
({[]: x} for x in range(2))
(f'{x:q}' for x in range(2))
(Colour(x) for x in range(1, 5))
(bytes([x]) for x in range(254, 258))
(raise_from_nowhere(x) for x in range(1))
(list(raising(x)) for x in range(2))
""",
    "sources that can be cut": """
(x for x in range(3, 40, 7))
(x for x in range(40, 3, -7))
(x for x in range(0, -30, -1))
(x for x in range(5, 5, 3))
(x for x in range(5, 0, 3))
(x for x in range(HUGE, HUGE + 9))
(x for x in range(HUGE, HUGE + 50, 7))
(x for x in range(HUGE, HUGE - 9, -2))
(x for x in range(-HUGE, -HUGE + 9))
(x for x in (1, 2, 3))
(x for x in [1, [2], (3,)])
(x for x in 'hello \\u00e9\\U0001d11e\\0')
(x for x in b'hello')
(x for x in bytearray(b'hello'))
(x for x in memoryview(b'hello'))
(x for x in memoryview(array.array('d', [1.5, 2.5])))
(x for x in array.array('i', range(9)))
(x for x in array.array('d', [0.1, 0.2]))
(x for x in np.arange(9))
(x for x in np.arange(9.0)[::-2])
(x for x in np.arange(12).reshape(3, 4))
(x.sum() for x in np.arange(24).reshape(2, 3, 4))
(x for x in np.array(['a', 'bc']))
(x for x in np.array([(1, 2.5), (3, 4.5)], dtype=[('a', int), ('b', float)]))
(x for x in np.array([None, 1, 'a'], dtype=object))
(x for x in np.ma.array([1, 2, 3], mask=[0, 1, 0]).filled(-1))
(x for x in np.arange(10, dtype='>i2'))
(x for x in np.array([], dtype=float))
(x for x in np.float32([0.1, 0.2]))
(x for x in np.array(5).reshape(1))
(row.tolist() for row in np.asfortranarray(np.arange(12).reshape(4, 3)))
(k for k in TABLE)
(k for k in TABLE.keys())
(v for v in TABLE.values())
(kv for kv in TABLE.items())
(k for k in {})
(x for x in sorted({3, 1, 2}))
(x for x in {3, 1, 2})
(x for x in frozenset('abc'))
(x for x in Squares(range(5)))
(x for x in Loud('abc'))
(x for x in Row('a', 1))
(x for x in deque(range(9)))
(x for x in UserList(range(9)))
(x for x in OrderedDict(a=1, b=2))
(x for x in Counter('banana').items())
(x for x in ChainMap({'a': 1}, {'b': 2}))
(x for x in types.MappingProxyType(TABLE))
(c.name for c in Colour)
(x for x in Old(5))
(x for x in Sized(5))
(x for x in Again([1, 2, 3]))
(x for x in WORDS[2:5])
(x for x in WORDS[::-1])
range(9)
islice(range(HUGE), 4)
[1, 'a', None]
'text'
TABLE
np.arange(5)
Again('ab')
""",
    "iterators from where they stand": """
(x for x in iter(range(9)))
(x for x in advanced(range(9)))
(x for x in advanced(range(9), 20))
(x for x in advanced(range(20, 0, -3)))
(x for x in advanced(range(HUGE, HUGE + 9)))
(x for x in advanced([1, 2, 3, 4]))
(x for x in advanced((1, 2, 3, 4)))
(x for x in advanced('abcdef'))
(x for x in advanced('\\u00e9abcdef'))
(x for x in advanced(b'abcdef'))
(x for x in advanced(bytearray(b'abcdef')))
(x for x in advanced(array.array('i', range(9))))
(x for x in advanced(np.arange(9)))
(x for x in advanced(TABLE))
(x for x in advanced(TABLE.items(), 1))
(x for x in advanced(dict(TABLE).values(), 1))
(x for x in advanced({1, 2, 3, 4}))
(x for x in advanced(deque(range(9))))
(x for x in advanced(reversed([1, 2, 3, 4])))
(x for x in advanced(reversed('abcd')))
(x for x in advanced(reversed(range(9))))
(x for x in advanced(reversed(TABLE), 1))
(x for x in reversed(()))
(x for x in reversed([]))
(x for x in advanced(reversed([1, 2]), 5))
(x for x in reversed(deque('abc')))
(x for x in reversed(np.arange(4)))
(x for x in reversed(Sized(4)))
(x for x in advanced(Old(6)))
(x for x in advanced(enumerate('abcdef')))
(x for x in advanced(enumerate(upto(6), 5)))
(x for x in advanced(zip(range(9), 'abcdef')))
(x for x in advanced(map(double, range(9))))
(x for x in advanced(filter(None, range(9))))
(x for x in advanced(chain([1], [2, 3], [4, 5])))
(x for x in advanced(islice(range(20), 3, 15, 2)))
(x for x in advanced(islice(count(), 3, 15), 1))
(x for x in advanced(starmap(add, PAIRS[:0])))
(x for x in advanced(upto(9)))
(x for x in Countdown(5))
(x for x in advanced(Countdown(5)))
(x for x in iter(counter(), 5))
(x for x in itertools.tee(range(5))[1])
(x for x in itertools.accumulate(range(9)))
(x for x in itertools.takewhile(lambda x: x < 4, count()))
(x for x in itertools.dropwhile(lambda x: x < 4, range(9)))
(x for x in itertools.repeat('a', 3))
(x for x in itertools.zip_longest('ab', 'c'))
(x for x in product('ab', repeat=2))
(x for x in itertools.permutations(range(3)))
(x for x in itertools.compress('abcd', [1, 0, 1, 0]))
(k for k, g in itertools.groupby('aabbc'))
(list(g) for g in (list(g) for k, g in itertools.groupby('aabbc')))
(x for x in os.environ if x == 'PATH')
(x for x in toolz.concat([[1], (2,)]))
([m.span() for m in re.finditer('an', w)] for w in ['banana', 'an', ''])
(list(g) for k, g in itertools.groupby('aabbc'))
((k, sum(g)) for k, g in itertools.groupby(range(20), lambda x: x // 6) if k != 1)
(len(list(g)) for k, g in advanced(itertools.groupby('aabbbc'), 1))
(list(g) for k, g in toolz.groupby(len, WORDS).items())
(x for x in memoryview(b'abc'))
""",
    "built-in iterators": """
map(double, range(9))
map(double, map(double, range(9)))
map(str, filter(None, map(int, '0102')))
map(add, range(5), range(5, 10))
map(add, range(5), upto(3))
map(add, upto(5), (x for x in range(9)))
map(lambda *a: a, 'abc', range(9), [1, 2])
map(str.upper, WORDS)
map(WORDS.count, WORDS)
map(operator.itemgetter(0), PAIRS)
map(Point, range(3), range(3))
map(Scale(1), range(3))
map(functools.partial(add, b=1), range(3))
map(None, [])
filter(None, [0, 1, '', 'a', None, [0]])
filter(str.isalpha, 'a1b2')
filter(is_prime, range(40))
filter(lambda x: x % 2, (x * 3 for x in range(9)))
filter(None, map(lambda x: x % 3, range(9)))
zip(range(9), 'abc')
zip('abc', range(9))
zip()
zip('ab')
zip([], upto(3))
zip(upto(3), [])
zip(upto(3), (x for x in range(5)), map(str, range(9)))
zip(range(5), (x * x for x in range(9)), strict=False)
zip(*MATRIX)
zip(zip('ab', 'cd'), zip('ef', 'gh'))
enumerate('abc')
enumerate('abc', 5)
enumerate([], 5)
enumerate('abc', HUGE)
islice(enumerate(range(HUGE)), 5)
(x for x in islice(zip(range(HUGE), range(HUGE, 0, -1)), 3))
enumerate(upto(4), -2)
enumerate(enumerate('abc'))
enumerate(x * x for x in range(6))
enumerate(map(double, range(6)))
enumerate(zip('abc', 'def'))
reversed([1, 2, 3])
reversed('abc')
reversed(range(9))
starmap(add, PAIRS[:0])
starmap(pow, [(2, 3), (3, 2), (5, 2, 3)])
starmap(lambda a, b: b * a, PAIRS)
starmap(add, zip(range(5), range(5)))
starmap(add, enumerate(range(5)))
chain()
chain('ab')
chain('ab', [], range(3))
chain.from_iterable(['ab', [1, 2], ()])
chain((x * x for x in range(4)), map(double, range(3)), 'z')
chain.from_iterable(range(n) for n in range(5))
chain(chain('ab', 'c'), chain(), [chain])
islice(range(20), 5)
islice(range(20), 2, 12, 3)
islice(range(20), 2, None, 3)
islice(range(3), 9)
islice(range(20), 0)
islice(count(), 5)
islice((x * x for x in count()), 3, 9, 2)
islice(map(double, count()), 6)
islice(islice(range(20), 3, 15), 2, 8)
(a + b for a, b in zip((x * x for x in range(9)), map(double, range(9))))
(x for x in chain('ab', (y for y in 'cd')) if x != 'b')
(i * x for i, x in enumerate(y + 1 for y in range(9) if y % 2))
(x for x in map(double, (y for y in filter(None, range(9)))))
(x for x in islice((y for y in range(100) if y % 7 == 0), 2, 10))
(x for x in starmap(add, zip(range(9), (y for y in range(9)))))
(x for x in zip(enumerate('ab'), enumerate('cd', 5)))
(list(map(double, range(x))) for x in range(4))
(list(zip(range(x), 'abc')) for x in range(5))
(list(enumerate(w, 1)) for w in WORDS[:3])
(list(chain(w, [w])) for w in WORDS[:3])
""",
    "plain sources": """
(line for line in io.StringIO(TEXT))
(line.strip() for line in io.StringIO(TEXT) if line.strip())
(len(line.split()) for line in io.StringIO(TEXT))
(line for line in io.BytesIO(TEXT.encode()))
(line for line in advanced(io.StringIO(TEXT), 1))
(line for line in opened(PATH))
(line.rstrip() for line in opened(PATH) if line.strip())
(row for row in csv.reader(io.StringIO('a,b\\n1,"x,y"\\n')))
(row for row in csv.DictReader(io.StringIO('a,b\\n1,2\\n3,4\\n')))
(int(row['a']) for row in csv.DictReader(io.StringIO('a,b\\n1,2\\n3,4\\n')) if row['b'] != '2')
(row for row in csv.reader(opened(PATH)))
(chunk for chunk in iter(functools.partial(io.BytesIO(b'abcdefg').read, 2), b''))
(x for x in json.loads('[1, [2], {"a": 3}]'))
(x for x in struct.iter_unpack('<H', bytes(range(8))))
(word for line in io.StringIO(TEXT) for word in line.split())
(n for n, line in enumerate(io.StringIO(TEXT)) if 'age' in line)
((a, b) for a, b in zip(io.StringIO(TEXT), opened(PATH)))
(x for x in random.Random(1).choices('abc', k=5))
""",
}

PROGRAMS = """
def make():
    n = 3
    return (x * n for x in range(9))

def make():
    n = 3
    g = (x * n for x in range(9))
    n = 5
    return g

def make():
    seen = [1, 4, 9]
    return (x in seen for x in range(10))

def make():
    table = defaultdict(list, {1: [2]})
    return (table[x] for x in range(3))

def make(k=4, *, j=5):
    return (x + k - j for x in range(9))

def make():
    a, b, c = 1, 2, 3
    return (x + a for x in range(9) if x != b for y in range(c))

def make():
    def inner(x):
        return x + offset
    offset = 7
    return (inner(x) for x in range(9))

def make():
    def factorial(n):
        return 1 if n < 2 else n * factorial(n - 1)
    return (factorial(x) for x in range(9))

def make():
    def ping(n): return n if n <= 0 else pong(n - 1)
    def pong(n): return -n if n <= 0 else ping(n - 2)
    return (ping(x) for x in range(9))

def make():
    return (lambda n: (x + n for x in range(9)))(5)

def make():
    functions = [lambda x, k=k: x + k for k in range(3)]
    return (f(x) for x in range(4) for f in functions)

def make():
    class Local:
        rate = 3
        def __init__(self, n): self.n = n
        def value(self): return self.n * self.rate
    return (Local(x).value() for x in range(9))

def make():
    class Base:
        def name(self): return "base"
    class Child(Base):
        def name(self): return super().name() + "/child"
    return (Child().name() + str(x) for x in range(3))

def make():
    class Holder:
        squares = (x * x for x in range(9))
    return Holder.squares

def make():
    class Holder:
        k = 3
        items = [1, 2, 3]
        scaled = (x for x in items)
    return Holder.scaled

def make():
    class Holder:
        k = 3
        scaled = (x * k for x in range(3))
    return Holder.scaled

def make():
    class Holder:
        def __init__(self): self.k = 4
        def scaled(self, xs): return (self.k * x for x in xs)
        @property
        def items(self): return (x + self.k for x in range(5))
    return chain(Holder().scaled(range(5)), Holder().items)

def make():
    class Holder:
        def scaled(self): return (__class__.__name__ for x in range(2))
    return Holder().scaled()

def make():
    xs = [1, 2, 3]
    g = (x for x in xs)
    xs.append(4)
    return g

def make():
    xs = [1, 2, 3]
    g = (x for x in xs)
    xs = [9]
    return g

def make():
    xs = [1, 2, 3, 4]
    g = (x for x in xs)
    del xs[1]
    return g

def make():
    d = {}
    g = (d[x] for x in range(3))
    d.update({n: n * n for n in range(3)})
    return g

def make():
    g = (late + x for x in range(3))
    late = 10
    return g

def make():
    g = (never + x for x in range(3))
    if 0:
        never = 10
    return g

def make():
    if 0:
        never = 10
    return (x for x in range(5) if x < 3 or never)

def make():
    x = 10
    return (x for x in range(x))

def make():
    x = [range(3), range(2)]
    return (x for x in x for x in x)

def make():
    g = (x for x in range(5))
    for _ in range(4):
        g = (x + 1 for x in g)
    return g

def make():
    g = (x for x in range(50))
    for k in range(2, 6):
        g = filter(lambda x, k=k: x % k or x == k, g)
    return g

def make():
    g = range(9)
    for f in (double, adder(1), str, len):
        g = map(f, g)
    return g

def make():
    y = None
    return (y for x in range(9) if (y := x % 4))

def make():
    last = -1
    return ((last := x) for x in range(9))

def make():
    def f():
        return hidden
    hidden = "seen"
    return (f() for x in range(3))

def make():
    import math as m
    return (m.floor(x / 2) for x in range(9))

def make():
    from fractions import Fraction as F
    return (F(1, x) for x in range(1, 6))

def make():
    def gen(n):
        while n:
            yield n
            n -= 1
    return (y for x in range(5) for y in gen(x))

def make():
    def deep(n):
        return (deep(n - 1) if n else 0 for _ in range(1)) if n else 0
    def count(g): return 0 if g == 0 else 1 + sum(map(count, g))
    return (count(deep(x)) for x in range(4))

def make():
    names = ["a", "b"]
    return ({n: v for n, v in zip(names, (x, -x))} for x in range(3))

def make():
    it = iter(range(9))
    return (a + b for a, b in zip(it, it))

def make():
    it = iter(range(10))
    return zip(it, it, it)

def make():
    it = (x * x for x in range(9))
    return zip(it, it)

def make():
    it = iter("abcdef")
    return map(lambda a, b: a + b, it, it)

def make():
    it = iter(range(10))
    return chain(islice(it, 3), ["|"], it)

def make():
    it = iter(range(10))
    return chain(it, it)

def make():
    it = map(double, range(6))
    return zip(it, enumerate(it))

def make():
    it = iter(range(9))
    return zip((x for x in it), (-x for x in it))

def make():
    it = iter(range(9))
    return map(add, map(double, it), filter(None, it))

def make():
    it = iter(range(12))
    return chain.from_iterable(islice(it, 3) for _ in range(3))

def make():
    it = iter(range(12))
    return chain((x for x in islice(it, 2)), "|", it)

def make():
    it = iter([1, 2, 3, 4])
    return enumerate(zip(it, starmap(add, zip(it, it))))

def make():
    it = chain("ab", range(9))
    return zip(it, chain(it, "z"))

def make():
    a, b = itertools.tee(x * x for x in range(6))
    next(b)
    return zip(a, b)

def make():
    stop = 4
    return itertools.takewhile(lambda x: x < stop, (x for x in range(9)))

def make():
    rows = csv.DictReader(io.StringIO("n,w\\n1,a\\n2,b\\n3,c\\n"))
    return ((int(r["n"]), r["w"]) for r in rows if r["w"] != "b")

def make():
    lines = (line.rstrip() for line in io.StringIO(TEXT))
    words = (w.strip(",") for line in lines for w in line.split())
    longs = (w for w in words if len(w) > 2)
    return ((n, w) for n, w in enumerate(longs) if n % 2)

def make():
    grid = np.arange(12).reshape(3, 4)
    return (grid[i, j] for i in range(3) for j in range(4) if grid[i, j] % 2)

def make():
    weights = np.linspace(0, 1, 5)
    return (float(weights @ np.arange(5) * x) for x in range(5))

def make():
    value = object
    return (isinstance(x, value) for x in range(2))

def make(_x=3):
    __private = 4
    return (x + _x + __private for x in range(4))

def make():
    \u00fcber = 2
    return (\u00fcber * x for x in range(4))

def make():
    a = b = c = d = e = f = g = h = i = j = k = l = m = n = o = p = q = 1
    return (x + a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q for x in range(5))

def make():
    compiled = re.compile(r"o(.)")
    return (compiled.findall(w) for w in WORDS)

def make():
    from dataclasses import dataclass
    @dataclass
    class Local:
        n: int
    return (Local(x).n for x in range(3))

def make():
    memo = {}
    def slow(n):
        if n not in memo:
            memo[n] = n if n < 2 else slow(n - 1) + slow(n - 2)
        return memo[n]
    return (slow(x) for x in range(20))

def make():
    wrap = functools.wraps(double)(lambda x: double(x) + 1)
    return (wrap(x) for x in range(4))

def make():
    async def co(x): return x + 1
    def run(c):
        try:
            c.send(None)
        except StopIteration as end:
            return end.value
    return (run(co(x)) for x in range(4))

def make():
    def safe(x):
        try:
            return 10 // x
        except ZeroDivisionError:
            return None
        finally:
            x = 0
    return (safe(x) for x in range(-2, 3))

def make():
    def matched(x):
        match x:
            case int(n) if n > 1: return "big"
            case (a, *rest): return rest
            case {"k": v}: return v
            case _: return None
    return (matched(x) for x in [1, 2, (3, 4), {"k": 5}, "s"])

def make():
    return (globals() is globals() for x in range(2))

def make():
    values = [3, 1, 2]
    return (v for v in sorted(values, key=lambda v: -v))

def make():
    def outer():
        k = 2
        def middle():
            def inner():
                return (x * k for x in range(5))
            return inner()
        return middle()
    return outer()
"""

CHAINS = {
    "narrow": """
map(double, range(20)) == S(range(20)).map(double)
(x for x in range(20) if x % 2) == S(range(20)).filter(lambda x: x % 2)
filter(None, [0, 1, 2, 0]) == S([0, 1, 2, 0]).filter(None)
starmap(pow, [(2, 3), (3, 2)]) == S([(2, 3), (3, 2)]).starmap(pow)
(y for x in range(9) for y in range(x)) == S(range(9)).flat_map(range)
(c for w in WORDS for c in w) == S(WORDS).flat_map(lambda w: w)
(c for w in WORDS for c in w) == S(WORDS).unbatch()
(double(double(x)) for x in range(20)) == S(range(20)).map(double).map(double)
(str(x) for x in range(20) if x % 3) == S(range(20)).filter(lambda x: x % 3).map(str)
(d for x in range(20) if x % 3 for d in divisors(x) if is_prime(d)) == S(range(20)).filter(lambda x: x % 3).flat_map(divisors).filter(is_prime)
(x + 1 for x in range(20) if x % 2) == S(x for x in range(20) if x % 2).map(lambda x: x + 1)
(x + 1 for x in range(20) if x % 2) == S(map(lambda x: x + 1, range(0, 20))).filter(lambda x: x % 2 == 0)
(a * b for a, b in enumerate(range(9))) == S(range(9)).enumerate().starmap(operator.mul)
[] == S([]).map(double).filter(None).flat_map(range)
(w.upper() for line in io.StringIO(TEXT) for w in line.split()) == S(io.StringIO(TEXT)).flat_map(str.split).map(str.upper)
map(int, ['1', 'x', '2']) == S(['1', 'x', '2']).map(int)
(x for x in upto(9) if x % 2) == S(upto(9)).filter(lambda x: x % 2)
""",
    "reshaping": """
[(0, 1, 2), (3, 4, 5), (6,)] == S(range(7)).batch(3)
[(0,), (1,)] == S(range(2)).batch(1)
[(0, 1)] == S(range(2)).batch(9)
[] == S([]).batch(3)
range(7) == S(range(7)).batch(3).unbatch()
map(sum, [(0, 1, 2), (3, 4, 5), (6,)]) == S(range(7)).batch(3).map(sum)
[((0, 1), (2, 3)), ((4,),)] == S(range(5)).batch(2).batch(2)
toolz.sliding_window(3, range(9)) == S(range(9)).window(3)
[] == S(range(2)).window(3)
toolz.sliding_window(1, range(3)) == S(range(3)).window(1)
(b - a for a, b in itertools.pairwise(x * x for x in range(9))) == S(x * x for x in range(9)).window(2).starmap(lambda a, b: b - a)
enumerate('abc', 3) == S('abc').enumerate(3)
enumerate(w for w in WORDS if 'o' in w) == S(WORDS).filter(lambda w: 'o' in w).enumerate()
zip(range(9), 'abc') == S(range(9)).zip('abc')
zip(range(3), upto(9), 'abcd') == S(range(3)).zip(upto(9), 'abcd')
zip(map(double, range(9)), map(str, range(9))) == S(range(9)).map(double).zip(S(range(9)).map(str))
zip(range(3), 'abc', strict=True) == S(range(3)).zip('abc', strict=True)
zip(range(3), 'ab', strict=True) == S(range(3)).zip('ab', strict=True)
chain(range(3), 'ab', []) == S(range(3)).chain('ab', [])
chain(map(double, range(3)), map(str, range(3))) == S(range(3)).map(double).chain(S(range(3)).map(str))
map(str, chain(range(3), range(2))) == S(range(3)).chain(range(2)).map(str)
islice(range(20), 5) == S(range(20)).take(5)
islice(count(), 5) == S(count()).take(5)
islice(map(double, count()), 5) == S(count()).map(double).take(5)
[] == S(count()).map(double).take(0)
islice(range(20), 5, None) == S(range(20)).skip(5)
[] == S(range(2)).skip(5)
range(5, 9) == S(count()).map(lambda x: x).skip(5).take(4)
range(5, 9) == S(range(100)).take(9).skip(5)
itertools.takewhile(lambda x: x < 5, count()) == S(count()).take_while(lambda x: x < 5)
itertools.takewhile(lambda x: x < 20, map(double, count())) == S(count()).map(double).take_while(lambda x: x < 20)
[] == S(range(5)).take_while(lambda x: x)
toolz.unique(WORDS) == S(WORDS).distinct()
toolz.unique(WORDS, key=len) == S(WORDS).distinct(len)
toolz.unique(x % 7 for x in range(50)) == S(x % 7 for x in range(50)).distinct()
toolz.unique([1, True, 1.0, 0, False]) == S([1, True, 1.0, 0, False]).distinct()
islice((x for x in count() if is_prime(x)), 9) == S(count()).filter(is_prime).take(9)
map(list, zip(range(0, 8, 2), range(1, 8, 2))) == S(range(8)).batch(2).map(list)
[3, 3, 3] == S(range(9)).batch(3).map(len).take(3)
chain([0], map(double, range(3))) == S(range(3)).map(double).peek()[1].take(0).chain([0], map(double, range(3)))
map(double, range(5)) == S(range(5)).map(double).peek()[1]
map(double, range(5)) == S(range(5)).map(double).tee()[1]
zip(range(5), range(5)) == (lambda ab: ab[0].zip(ab[1]))(S(range(5)).tee())
enumerate(enumerate('ab')) == S('ab').enumerate().enumerate()
[(0, 'a', 1.5)] == S('a').enumerate().zip([1.5]).map(lambda p: (*p[0], p[1]))
""",
    "reducing": """
Counter('banana').items() == S('banana').frequencies()
Counter(w[0] for w in WORDS).items() == S(WORDS).map(lambda w: w[0]).frequencies()
sorted(WORDS) == S(WORDS).sorted()
sorted(WORDS, key=len) == S(WORDS).sorted(len)
sorted(WORDS, key=len, reverse=True) == S(WORDS).sorted(len, reverse=True)
sorted(PAIRS, key=lambda p: p[1], reverse=True) == S(PAIRS).sorted(1, reverse=True)
sorted(Counter('banana').items()) == S('banana').frequencies().sorted()
heapq.nlargest(3, WORDS) == S(WORDS).topk(3)
heapq.nlargest(3, WORDS, key=len) == S(WORDS).topk(3, len)
Counter('bananab').most_common(2) == S('bananab').frequencies().topk(2, 1)
map(str, sorted(range(9), key=lambda x: -x)) == S(range(9)).sorted(lambda x: -x).map(str)
heapq.nlargest(0, range(5)) == S(range(5)).topk(0)
heapq.nlargest(9, range(5)) == S(range(5)).topk(9)
[45] == [S(range(10)).sum()]
[0] == [S([]).sum()]
[sum('abc', '')] == [S('abc').sum('')]
[sum([[1], [2]], [])] == [S([[1], [2]]).sum([])]
[285] == [S(x * x for x in range(10)).sum()]
[4.5] == [S(range(10)).mean()]
[10] == [S(range(10)).count()]
[(0, 9)] == [(S(range(10)).min(), S(range(10)).max())]
['the'] == [S(WORDS).min(len)]
['quick'] == [S(WORDS).max(len)]
['none'] == [S([]).max(default='none')]
[3628800] == [S(range(1, 11)).reduce(operator.mul)]
[list(range(9))] == [S(range(9)).fold(lambda seen, x: [*seen, x], [])]
[statistics.pstdev(range(10))] == [S(range(10)).std()]
[0] == [S(range(9)).first()]
[list(range(9))] == [S(range(9)).to_list()]
[range(9)] == [range(S(range(9)).count())]
[None] == [S(range(9)).foreach(double)]
[[0, 1, 2]] == [S(range(3)).sample(9, seed=1)]
[[1, 1, 2]] == [S([0.5, 1, 1.5, 3.0]).histogram([0, 1, 1.5, 3])[0].tolist()]
[{0: 20, 1: 25}] == [dict(MR(lambda x: (x % 2, x), lambda k, v: sum(v), range(10)))]
[sorted(Counter(w for w in WORDS).items())] == [list(MR(lambda w: (w, 1), lambda k, v: sum(v), WORDS, sort=True))]
""",
}


class Entry(NamedTuple):
    """One line of the table. ``plain`` is evaluated for what is expected; ``chain``, where there is one, is
    the other side, else the same text in `mrpy.parallel` is."""

    group: str
    plain: str
    chain: str | None = None

    @property
    def program(self) -> bool:
        """Whether it is a function that makes the iterable, not an expression."""
        return self.plain.startswith("def make")


def _entries() -> Iterator[Entry]:
    for group, lines in GROUPS.items():
        yield from (Entry(group, line) for line in lines.split("\n") if line)
    yield from (Entry("programs", text.strip()) for text in PROGRAMS.split("\ndef make")[1:])
    for group, lines in CHAINS.items():
        for line in filter(None, lines.split("\n")):
            plain, chain = line.split(" == ", 1)
            yield Entry(f"chains, {group}", plain, chain)


ENTRIES = [
    entry._replace(plain="def make" + entry.plain) if entry.group == "programs" else entry for entry in _entries()
]


def evaluate(text: str, space: dict[str, Any]) -> Any:
    """What an entry makes, afresh."""
    if not text.startswith("def make"):
        return eval(compile(text, "<corpus>", "eval", dont_inherit=True), space)
    exec(compile(text, "<corpus>", "exec", dont_inherit=True), space)
    return space["make"]()
