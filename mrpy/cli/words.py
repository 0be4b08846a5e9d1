"""What runs on a worker: from a batch of blocks of text to the counts of their words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from mrpy.light import Frozen
from mrpy.mapreduce.files.blocks import Block
from mrpy.mapreduce.files.lines import OnlyText, lines_for
from mrpy.mapreduce.files.opening import Opening

SKIPPED = ""  # no word is empty: under this key stands how many files were passed over
UTF8 = OnlyText(lines_for("utf-8", "strict", nul=False))
OPENING = Opening()
_WORD = re.compile(r"[^\W\d_]+")


class CountWords(Frozen):
    """The mapper, and the plain loop as well: both count this way, one batch by batch, one all at once.

    It takes text as `mrpy.read_text` does, though not line by line: words are found faster in all of it.
    """

    texts: OnlyText = UTF8

    def __call__(self, batch: Iterable[Block]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for block in batch:
            pieces = self.texts.read(block, OPENING)
            if pieces is None:
                counts[SKIPPED] += 1
                continue
            for piece in pieces:
                counts.update(words(piece.whole()))
        return counts


def words(text: str) -> list[str]:
    """The words of a text: runs of letters, in lower case.

    >>> words("It's 2 o'clock, über_all")
    ['it', 's', 'o', 'clock', 'über', 'all']
    """
    return _WORD.findall(text.lower())


def total(word: str, counts: Iterator[int]) -> int:
    """The combiner and the reducer."""
    return sum(counts)
