"""The words of many files, counted: python examples/wordcount.py [PATH...]"""

import re
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import mrpy


def words(path):
    """The mapper: the words of one file, each with how often it comes."""
    return Counter(re.findall(r"[^\W\d_]+", path.read_text(errors="replace").lower()))


def total(word, counts):
    """The reducer, and the combiner as well: what one file comes to is counted like what many do."""
    return sum(counts)


paths = [Path(name) for name in sys.argv[1:]] or sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
pairs = mrpy.mapreduce(words, total, paths, combiner=total, progress=True)
for word, count in sorted(pairs, key=lambda pair: -pair[1])[:10]:
    print(f"{count:>8}  {word}")
