"""Word count: how often each word comes in Python's own sources.

    python examples/phoenix/word_count.py [FILES]
"""

import re
import sys
import sysconfig
from collections import Counter
from pathlib import Path

from beside import beside

import mrpy

most = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
paths = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))[:most]


def words(path):
    return Counter(re.findall(r"[^\W\d_]+", path.read_text(errors="replace").lower()))


def total(word, counts):
    return sum(counts)


def plain():
    counts = Counter()
    for path in paths:
        counts.update(words(path))
    return counts


def parallel():
    return Counter(dict(mrpy.mapreduce(words, total, paths, combiner=total)))


counts = beside(plain, parallel)
print(f"{counts.total():,} words in {len(paths):,} files:", *(word for word, _ in counts.most_common(8)))
