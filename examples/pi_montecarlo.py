"""Pi by throwing darts. With a seed the answer is the same on every backend, to the last digit.

    python examples/pi_montecarlo.py [THROWS]      (in handfuls of 100,000)
"""

import operator
import sys

import mrpy

throws = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000_000
HANDFUL = 100_000


def hits(handful):
    x, y = mrpy.rng().random((2, HANDFUL))  # the numbers of this item, whichever worker has it
    return int((x * x + y * y < 1.0).sum())


handfuls = max(1, throws // HANDFUL)
inside = mrpy.preduce(operator.add, (hits(handful) for handful in range(handfuls)), 0, seed=1)
print(f"pi is about {4 * inside / (handfuls * HANDFUL):.5f}, after {handfuls * HANDFUL:,} throws")
