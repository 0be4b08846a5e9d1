"""The fold behind `std`: number, mean, and squared distances from it, of leaves and of neighbours.

Floats may be large and close to each other: a mean that is rounded to one of them may be further away than
they are from each other. So what does not fit into it is kept beside it, and merged with it.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator

from mrpy.light import TYPE_CHECKING, Any, Frozen, NamedTuple, later
from mrpy.mapreduce.folds import Fold, exact_kind
from mrpy.mapreduce.statistics import sum_finish, sum_leaf, widened
from mrpy.mapreduce.tree import NOTHING

if TYPE_CHECKING:
    import fractions
else:
    fractions = later("fractions")  # only for the deviation of integers


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
    number = len(values)
    if set(map(type, values)) == {int}:
        total = sum(values)
        squares = number * sum(value * value for value in values) - total * total
        return Moments(number, fractions.Fraction(total, number), fractions.Fraction(squares, number))
    mean = sum_finish(sum_leaf(iter(values), "std")) / number
    squares = sum_finish(sum_leaf(_square(value - mean) for value in values))
    if type(mean) is not float or not math.isfinite(squares):
        return Moments(number, mean, squares)
    low = sum_finish(sum_leaf(value - mean for value in values)) / number
    return Moments(number, mean, max(0.0, squares - number * low * low), low)


def moments_merge(left: Moments, right: Moments) -> Moments:
    """Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979."""
    if type(left.mean) is not type(right.mean):  # not all numbers take a fraction
        left, right = _inexact(left, right.mean), _inexact(right, left.mean)
    number = left.number + right.number
    apart = right.mean - left.mean
    if left.low or right.low:
        apart += right.low - left.low
    further = apart * right.number / number
    squares = left.squares + right.squares + _square(apart) * left.number * right.number / number
    if type(left.mean) is not float or type(further) is not float:
        return Moments(number, left.mean + further, squares)
    mean, low = _in_two(left.mean, left.low + further)
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
        inexact = float(moments.mean)
        low = float(moments.mean - fractions.Fraction(inexact))
        return Moments(moments.number, inexact, float(moments.squares), low)
    mean, squares = (kind(exact.numerator) / exact.denominator for exact in moments[1:3])
    return Moments(moments.number, mean, squares)


class _Deviation(Frozen):
    ddof: int

    def __call__(self, value: Any) -> Any:
        if value is NOTHING or value.number <= self.ddof:
            least = f"{self.ddof} item{'' if self.ddof == 1 else 's'}"
            raise ValueError(f"std() with ddof={self.ddof} needs more than {least}")
        square = value.squares / (value.number - self.ddof)
        is_plain = isinstance(square, numbers.Real) or exact_kind(square) is not None
        if isinstance(square, float) or (is_plain and not hasattr(square, "shape")):
            return math.sqrt(square)
        return square**0.5  # digits and units stay


def deviation(ddof: int) -> Fold:
    """The standard deviation."""
    return Fold(moments_leaf, moments_merge, _Deviation(ddof), "std")
