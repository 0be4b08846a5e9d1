"""The fold behind `std`: number, mean, and squared distances from it, of leaves and of neighbours.

Floats may be large and close to each other: a mean that is rounded to one of them may be further away than
they are from each other. So what does not fit into it is kept beside it, and merged with it.

Some are so far from each other that the square of that is too large for a float, or so close that it is too
small. Those are gone over once more, with fractions; and so is what they are merged with.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Sequence
from contextlib import suppress

from mrpy.light import TYPE_CHECKING, Any, Frozen, NamedTuple, later
from mrpy.mapreduce.folds import Fold, exact_kind
from mrpy.mapreduce.statistics import sum_finish, sum_leaf, widened
from mrpy.mapreduce.tree import NOTHING

if TYPE_CHECKING:
    import fractions
else:
    fractions = later("fractions")  # only for the deviation of integers, and of what is far off

LEAST = 1e-290  # of squared distances; each float among smaller ones may have lost some of its digits
WHOLE = 1 << 53  # above that not all integers are floats


class Moments(NamedTuple):
    """Number, mean, and the sum of squared distances from the mean. ``low``: what does not fit into a mean of
    floats."""

    number: int
    mean: Any
    squares: Any
    low: float = 0.0


def moments_leaf(items: Iterator[Any]) -> Any:
    """Two passes over the values of a leaf. Those of integers are exact: they may be large, as times are, and
    close to each other."""
    values = widened(items)
    if not values:
        return NOTHING
    number, kinds = len(values), set(map(type, values))
    if kinds == {int}:
        return _of_integers(values)
    mean = sum_finish(sum_leaf(iter(values), "std")) / number
    squares = sum_finish(sum_leaf(_square(value - mean) for value in values))
    if type(mean) is not float:
        return Moments(number, mean, squares)
    is_lost = not LEAST <= squares < math.inf and values.count(mean) < number
    if is_lost or (kinds == {int, float} and max(map(abs, values)) > WHOLE):
        with suppress(AttributeError, OverflowError, ValueError):  # one is no fraction: it is infinite, say
            return _exactly(values)
    if not math.isfinite(squares):
        return Moments(number, mean, squares)
    low = sum_finish(sum_leaf(value - mean for value in values)) / number
    return Moments(number, mean, max(0.0, squares - number * low * low), low)


def _of_integers(values: Sequence[int]) -> Moments:
    number, total = len(values), sum(values)
    squares = number * sum(value * value for value in values) - total * total
    return Moments(number, fractions.Fraction(total, number), fractions.Fraction(squares, number))


def _exactly(values: Sequence[Any]) -> Moments:
    """Those of any real numbers, which are integers over a common denominator."""
    ratios = [value.as_integer_ratio() for value in values]
    unit = math.lcm(*{denominator for _, denominator in ratios})
    number, mean, squares, _ = _of_integers([above * (unit // below) for above, below in ratios])
    return Moments(number, mean / unit, squares / unit**2)


def moments_merge(left: Moments, right: Moments) -> Moments:
    """Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979."""
    one, other = left, right
    if type(left.mean) is not type(right.mean):  # not all numbers take a fraction
        one, other = _inexact(left, right.mean), _inexact(right, left.mean)
    number = one.number + other.number
    apart = other.mean - one.mean
    if one.low or other.low:
        apart += other.low - one.low
    further = apart * other.number / number
    squares = one.squares + other.squares + _square(apart) * one.number * other.number / number
    if type(one.mean) is not float or type(further) is not float:
        return Moments(number, one.mean + further, squares)
    if not (LEAST <= squares < math.inf or squares == apart == 0):
        with suppress(OverflowError, ValueError):  # one is infinite, or a NaN
            return moments_merge(_exact(left), _exact(right))
    mean, low = _in_two(one.mean, one.low + further)
    return Moments(number, mean, squares, low)


def _in_two(one: float, other: float) -> tuple[float, float]:
    """The sum, and what is lost of it to rounding (Knuth, The Art of Computer Programming 2, 4.2.2)."""
    total = one + other
    added = total - one
    lost = (one - (total - added)) + (other - added)
    return total, lost if math.isfinite(lost) else 0.0


def _square(apart: Any) -> Any:
    """Of a distance; of complex numbers, and of arrays of such, it is real."""
    if type(apart) is float:
        return apart * apart
    is_number = isinstance(apart, numbers.Complex) and not isinstance(apart, numbers.Real)
    is_complex = is_number or getattr(getattr(apart, "dtype", None), "kind", None) == "c"
    return (apart * apart.conjugate()).real if is_complex else apart * apart


def _inexact(moments: Moments, beside: Any) -> Moments:
    """Exact ones as such that go with this number."""
    if not isinstance(moments.mean, fractions.Fraction):
        return moments
    kind = exact_kind(beside)
    if kind is None:
        try:
            inexact = float(moments.mean)
            low = float(moments.mean - fractions.Fraction(inexact))
            return Moments(moments.number, inexact, float(moments.squares), low)
        except OverflowError:
            if type(beside) is not float:
                raise
            return Moments(moments.number, math.inf, math.inf)  # `moments_merge` has all that it needs
    mean, squares = (kind(exact.numerator) / exact.denominator for exact in moments[1:3])
    return Moments(moments.number, mean, squares)


def _exact(moments: Moments) -> Moments:
    """The opposite, of floats."""
    if type(moments.mean) is not float:
        return moments
    mean = fractions.Fraction(moments.mean) + fractions.Fraction(moments.low)
    return Moments(moments.number, mean, fractions.Fraction(moments.squares))


class _Deviation(Frozen):
    ddof: int

    def __call__(self, value: Any) -> Any:
        if value is NOTHING or value.number <= self.ddof:
            least = f"{self.ddof} item{'' if self.ddof == 1 else 's'}"
            raise ValueError(f"std() with ddof={self.ddof} needs more than {least}")
        square = value.squares / (value.number - self.ddof)
        kind = exact_kind(square)
        if kind is not None:
            # a fraction of a Decimal may be an integer of as many digits as its exponent says
            return float(square.sqrt()) if kind.__module__ == "decimal" else _root(square)
        if isinstance(square, float) or (isinstance(square, numbers.Real) and not hasattr(square, "shape")):
            return math.sqrt(square)
        return square**0.5  # digits and units stay


def _root(square: fractions.Fraction) -> float:
    """The square root, also of what is no float itself. One that is too large is an OverflowError."""
    size = square.numerator.bit_length() - square.denominator.bit_length()
    root = math.sqrt(square / fractions.Fraction(4) ** (size // 2))
    try:
        return math.ldexp(root, size // 2)
    except OverflowError:
        raise OverflowError("std(): the deviation is too large for a float") from None


def deviation(ddof: int) -> Fold:
    """The standard deviation."""
    return Fold(moments_leaf, moments_merge, _Deviation(ddof), "std")
