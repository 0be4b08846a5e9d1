"""K-means: points are gathered round their nearest centre, and the centres moved, until nothing changes.

    python examples/phoenix/kmeans.py [POINTS]
"""

import os
import sys
from itertools import pairwise

import numpy as np
from beside import beside, folder

import mrpy

number = int(sys.argv[1]) if len(sys.argv) > 1 else 400_000
CENTRES, DIMENSIONS, ROUNDS = min(50, number), 8, 8
path = os.path.join(folder(), "points.npy")
draw = np.random.default_rng(1)
around = draw.uniform(-100, 100, (CENTRES, DIMENSIONS))
points = around[draw.integers(CENTRES, size=number)] + draw.normal(0, 12, (number, DIMENSIONS))
np.save(path, points)
first = points[:CENTRES].copy()
del points
parts = list(pairwise([*range(0, number, 10_000), number]))


def nearest(centres, part):
    """For each centre that has some points of this part: how many, and their sum."""
    points = np.load(path, mmap_mode="r")[slice(*part)]
    distances = [((points - centre) ** 2).sum(axis=1) for centre in centres]
    chosen = np.argmin(distances, axis=0)
    for centre in np.unique(chosen):
        its = points[chosen == centre]
        yield int(centre), (len(its), its.sum(axis=0))


def together(centre, sums):
    counts, totals = zip(*sums, strict=True)
    return sum(counts), sum(totals)


def moved(centres, sums):
    return np.array([sums[n][1] / sums[n][0] if n in sums else centres[n] for n in range(CENTRES)])


def plain():
    centres = first
    for _ in range(ROUNDS):
        groups = {}
        for part in parts:
            for centre, some in nearest(centres, part):
                groups.setdefault(centre, []).append(some)
        centres = moved(centres, {centre: together(centre, some) for centre, some in groups.items()})
    return centres


def parallel():
    centres = first
    for _ in range(ROUNDS):
        pairs = mrpy.mapreduce(lambda part: nearest(centres, part), together, parts)
        centres = moved(centres, dict(pairs))
    return centres


centres = beside(plain, parallel, np.allclose)
middle = np.round(centres.mean(axis=0), 1).tolist()
print(f"{number:,} points, {ROUNDS} rounds: the mean of the centres is {middle}")
