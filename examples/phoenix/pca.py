"""PCA: the covariances of all pairs of sensors; then the direction that matters most.

    python examples/phoenix/pca.py [SENSORS]
"""

import operator
import random
import sys

import numpy as np
from beside import beside

import mrpy

sensors = int(sys.argv[1]) if len(sys.argv) > 1 else 500
MEASUREMENTS = 500
draw = random.Random(1)
cause = [draw.randrange(-100, 100) for _ in range(MEASUREMENTS)]
strengths = [draw.randrange(1, 9) for _ in range(sensors)]
rows = [[strength * each + draw.randrange(-300, 300) for each in cause] for strength in strengths]


def centred(row):
    """The row, less its mean; times its length, so that it stays exact."""
    total = sum(row)
    return [MEASUREMENTS * value - total for value in row]


def products(n):
    """Of one row with itself and all that come later: the first has most to do."""
    return [sum(map(operator.mul, middle[n], other)) for other in middle[n:]]


middle = [centred(row) for row in rows]


def plain():
    return [products(n) for n in range(sensors)]


def parallel():
    return list(mrpy.parallel(products(n) for n in range(sensors)))


found = beside(plain, parallel)
covariances = np.zeros((sensors, sensors))
for n, some in enumerate(found):
    covariances[n, n:] = covariances[n:, n] = [each / MEASUREMENTS**3 for each in some]
variances = np.linalg.eigvalsh(covariances)
print(f"{sensors} sensors: one direction has {variances[-1] / variances.sum():.1%} of the variance")
