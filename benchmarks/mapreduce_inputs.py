"""What the MapReduce benchmarks read: real text that is on most machines, and generated records.

Nothing is fetched. What is generated depends on the sizes alone, and goes into a folder that the caller
removes.
"""

from __future__ import annotations

import gzip
import os
import random
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path

TEXTS = ("/usr/share/doc", "/usr/share/man", sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
PLAIN = (".txt", ".md", ".rst", ".html", ".py", "copyright", "README", "NEWS", "changelog")
FILES = 24  # about equal files of text: enough for two workers, few enough for those that pay for each
LINE = 100  # bytes, and the end of the line
GENOME_SHARE, READ = 20, 150  # each place of the genome is in so many reads, of so many bases


def corpus(folder: Path, size: int) -> list[str]:
    """Files with `size` bytes of the machine's own documentation, manuals and sources, as plain text."""
    each, texts, paths = size // FILES, _texts(), []
    for number in range(FILES):
        paths.append(str(folder / f"text{number:02}.txt"))
        with open(paths[-1], "w", encoding="utf-8", newline="\n") as file:
            written = 0
            for text in texts:
                file.write(text)
                written += len(text)
                if written >= each:
                    break
    return paths


def _texts() -> Iterator[str]:
    for folder in TEXTS:
        for where, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                if name.endswith((".gz", *PLAIN)):
                    yield from _text(os.path.join(where, name))


def _text(path: str) -> Iterator[str]:
    """The lines of a file, if it has text, some at a time."""
    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            text = file.read().decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return
    if "\0" not in text:
        lines = text.splitlines()
        for begin in range(0, len(lines), 1000):
            yield "\n".join(lines[begin : begin + 1000]) + "\n"


def reads(folder: Path, bases: int) -> list[str]:
    """FASTA files with short reads of a random genome, each on one line."""
    draw = random.Random(1)
    genome = "".join(draw.choices("ACGT", k=bases // GENOME_SHARE))
    paths = [str(folder / f"reads{number:02}.fasta") for number in range(FILES)]
    for path in paths:
        with open(path, "w", encoding="ascii") as file:
            for number in range(bases // READ // FILES):
                place = draw.randrange(len(genome) - READ)
                file.write(f">read{number}\n{genome[place : place + READ]}\n")
    return paths


def logs(folder: Path, lines: int) -> list[str]:
    """Lines of a server's log in the order of time: seconds, user, address."""
    draw = random.Random(2)
    users = max(10, lines // 40)
    paths = [str(folder / f"log{number:02}.txt") for number in range(FILES)]
    time = 1_700_000_000
    for path in paths:
        with open(path, "w", encoding="ascii") as file:
            for _ in range(lines // FILES):
                time += draw.randrange(3)
                user = int(users * draw.random() ** 2)  # some come more often than others
                file.write(f"{time} user{user} /articles/{draw.randrange(10_000)}.html\n")
    return paths


def links(pages: int) -> list[tuple[int, list[int]]]:
    """A graph: each page, and the ten pages or so that it points to, some of which are popular."""
    draw = random.Random(3)
    return [
        (page, [int(pages * draw.random() ** 2) for _ in range(draw.randrange(5, 16))])
        for page in range(pages)
    ]


def lines(path: Path, size: int) -> None:
    """A file of random text, in lines of 100 bytes."""
    draw = random.Random(4)
    left = size // (LINE + 1)
    with open(path, "wb") as file:
        while left:
            some = min(left, 10_000)
            text = draw.randbytes(some * LINE // 2).hex()
            pieces = (text[n : n + LINE] for n in range(0, len(text), LINE))
            file.write(("\n".join(pieces) + "\n").encode())
            left -= some
