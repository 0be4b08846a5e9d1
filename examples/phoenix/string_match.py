"""String match: which of many words are behind a few hashes.

    python examples/phoenix/string_match.py [WORDS]
"""

import hashlib
import itertools
import sys

from beside import beside

import mrpy

number = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
letters = itertools.product("etaoinshrdlu", repeat=6)
words = ["".join(each) for each in itertools.islice(letters, number)]


def hashed(word):
    return hashlib.pbkdf2_hmac("sha256", word.encode(), b"salt", 8)


wanted = {hashed(words[number * n // 5]) for n in range(1, 5)}


def plain():
    return [word for word in words if hashed(word) in wanted]


def parallel():
    return list(mrpy.parallel(word for word in words if hashed(word) in wanted))


found = beside(plain, parallel)
print(f"{len(words):,} words tried, found:", *found)
