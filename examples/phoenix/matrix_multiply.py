"""Matrix multiply: row by column, in plain Python. (For numbers that fit, use NumPy. This is exact for all.)

    python examples/phoenix/matrix_multiply.py [ROWS]
"""

import operator
import random
import sys

from beside import beside

import mrpy

size = int(sys.argv[1]) if len(sys.argv) > 1 else 400
draw = random.Random(1)
left = [[draw.getrandbits(40) for _ in range(size)] for _ in range(size)]
right = [[draw.getrandbits(40) for _ in range(size)] for _ in range(size)]
columns = list(zip(*right, strict=True))


def times_all_columns(row):
    return [sum(map(operator.mul, row, column)) for column in columns]


def plain():
    return [times_all_columns(row) for row in left]


def parallel():
    return list(mrpy.parallel(times_all_columns(row) for row in left))


product = beside(plain, parallel)
print(f"{size} x {size}: the trace is {sum(product[n][n] for n in range(size))}")
