"""A generator expression, run in parallel: the primes below a limit."""

import math

import mrpy


def is_prime(n):
    return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))


limit = 200_000
twins = 0
last = -1
for prime in mrpy.parallel(n for n in range(limit) if is_prime(n)):
    twins += prime - last == 2
    last = prime
print(f"{twins} pairs of twin primes below {limit}, the last prime is {last}")
