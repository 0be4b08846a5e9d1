"""Histogram: how often each value of red, green and blue comes in a picture.

    python examples/phoenix/histogram.py [MILLIONS OF PIXELS]
"""

import os
import random
import sys
from collections import Counter

from beside import beside, folder

import mrpy

millions = int(sys.argv[1]) if len(sys.argv) > 1 else 24
path = os.path.join(folder(), "picture.rgb")  # three bytes a pixel
draw, means = random.Random(1), (90, 120, 150)
pixels = [[min(255, max(0, int(draw.gauss(mean, 30)))) for mean in means] for _ in range(100_000)]
with open(path, "wb") as file:
    for _ in range(millions * 10):  # the same again and again
        file.write(b"".join(map(bytes, pixels)))
STRIPE = 3 * 250_000
stripes = range(0, 3_000_000 * millions, STRIPE)


def levels(begin):
    """The mapper: of each colour in a stripe, how often which value comes."""
    with open(path, "rb") as file:
        file.seek(begin)
        data = file.read(STRIPE)
    for place, colour in enumerate(("red", "green", "blue")):
        yield colour, Counter(data[place::3])


def total(colour, counts):
    return sum(counts, Counter())


def plain():
    found = {}
    for stripe in stripes:
        for colour, counts in levels(stripe):
            found.setdefault(colour, Counter()).update(counts)
    return found


def parallel():
    return dict(mrpy.mapreduce(levels, total, stripes, combiner=total))


found = beside(plain, parallel)
most = {colour: counts.most_common(1)[0][0] for colour, counts in found.items()}
print(f"{millions} million pixels, mostly {most}")
