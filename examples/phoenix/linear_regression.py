"""Linear regression: the line through the points of a text file, from five sums.

    python examples/phoenix/linear_regression.py [POINTS]
"""

import os
import random
import sys

from beside import beside, folder

import mrpy

points = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
path = os.path.join(folder(), "points.txt")
draw = random.Random(1)
with open(path, "w") as file:
    for x in draw.choices(range(256), k=points):
        file.write(f"{x} {3 * x + 7 + draw.getrandbits(6) - 32}\n")


def taken_in(sums, line):
    """One more point."""
    x, y = map(int, line.split())
    n, sx, sy, sxx, sxy = sums
    return n + 1, sx + x, sy + y, sxx + x * x, sxy + x * y


def together(left, right):
    return tuple(map(sum, zip(left, right, strict=True)))


def plain():
    sums = (0, 0, 0, 0, 0)
    with open(path) as file:
        for line in file:
            sums = taken_in(sums, line)
    return sums


def parallel():
    return mrpy.read_text(path).fold(taken_in, (0, 0, 0, 0, 0), together)


n, sx, sy, sxx, sxy = beside(plain, parallel)
slope = (n * sxy - sx * sy) / (n * sxx - sx * sx)
print(f"{n:,} points: y = {slope:.3f} x + {(sy - slope * sx) / n:.3f}")
