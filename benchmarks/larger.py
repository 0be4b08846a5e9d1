"""A MapReduce, and a sort, of what is larger than memory: one side alone in a process, so that `mapreduce.py`
can watch what that and its workers hold. Prints JSON: the seconds, and a few facts of the answer.

    python benchmarks/larger.py groupby mrpy|PySpark BYTES MEMORY
    python benchmarks/larger.py sort mrpy|"GNU sort" INPUT OUTPUT MEMORY
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

from mapreduce_programs import WORKERS, Spark

import mrpy

PER = 10_000  # pairs that one record makes
VALUE = 100  # bytes
KEYS = 200_000
SLICES = 64  # for PySpark: of a size that its Python workers can hold


def pairs(block: int) -> Iterator[tuple[str, bytes]]:
    """The mapper: a megabyte of pairs, which do not get smaller when they are packed."""
    noise = random.Random(block).randbytes(PER + VALUE)
    for n in range(PER):
        key = (block * PER + n) * 2654435761 % 4294967291 % KEYS  # as good as random, and cheap
        yield f"key{key}", noise[n : n + VALUE]


def sized(key: str, values: Iterable[bytes]) -> tuple[int, int]:
    """The reducer: how many values there are, and of how many bytes."""
    count = size = 0
    for value in values:
        count, size = count + 1, size + len(value)
    return count, size


def groupby_mrpy(size: int, memory: int) -> Iterable[Any]:
    blocks = range(size // (PER * VALUE))
    return mrpy.mapreduce(pairs, sized, blocks, memory=memory, workers=WORKERS)


def groupby_spark(spark: Spark, size: int) -> Iterable[Any]:
    blocks = spark.context.parallelize(range(size // (PER * VALUE)), SLICES)
    found = blocks.flatMap(pairs).groupByKey(SLICES).mapValues(_sized)
    return found.collect()  # type: ignore[no-any-return]


def _sized(values: Iterable[bytes]) -> tuple[int, int]:
    return sized("", values)


def sort_mrpy(source: str, target: str, memory: int) -> None:
    lines = mrpy.read_text(source, memory=memory, workers=WORKERS).sorted()
    with open(target, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def sort_gnu(source: str, target: str, memory: int) -> None:
    folder = os.environ.get("TMPDIR", "/tmp")
    room = f"{memory // 1_000_000}M"
    command = ["sort", f"--parallel={WORKERS}", "-S", room, "-T", folder, "-o", target, source]
    subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C"})


def timed(run: Callable[[], Any]) -> dict[str, Any]:
    began = perf_counter()
    found = run()
    keys = count = size = 0
    for _, (n, bytes_) in found or ():
        keys, count, size = keys + 1, count + n, size + bytes_
    return {"seconds": perf_counter() - began, "answer": [keys, count, size]}


def main(what: str, side: str, *given: str) -> None:
    if what == "sort":
        sort = sort_mrpy if side == "mrpy" else sort_gnu
        found = timed(lambda: sort(given[0], given[1], int(given[2])))
    elif side == "mrpy":
        found = timed(lambda: groupby_mrpy(*map(int, given)))
    else:
        spark = Spark()
        spark.open()
        found = timed(lambda: groupby_spark(spark, int(given[0]))) | {"start": spark.start}
        spark.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
