"""Several searches for a factor at once: the first to find one wins, the others are called off.

    python examples/submit.py [NUMBER]      (from 2 up)
"""

import sys
from math import gcd
from queue import SimpleQueue

import mrpy

number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000_007 * 1_000_000_009


def factor(n, start):
    """Pollard's rho: each start walks another way, some much shorter than others, some to n itself."""
    slow = fast = 2
    divisor = 1 if n % 2 else 2  # the walks are for odd numbers
    while divisor == 1:
        slow = (slow * slow + start) % n
        fast = (fast * fast + start) % n
        fast = (fast * fast + start) % n
        divisor = gcd(slow - fast, n)
    return divisor


arrived = SimpleQueue()
searches = [mrpy.submit(factor, number, start) for start in range(1, 9)]
for search in searches:
    search.add_done_callback(arrived.put)

answers = (arrived.get().result() for _ in searches)
found = next((answer for answer in answers if answer < number), None)
for search in searches:
    search.cancel()
if found is None:
    print(f"{number:,}: no factor was found, it may be prime")
else:
    print(f"{number:,} = {min(found, number // found):,} x {max(found, number // found):,}")
