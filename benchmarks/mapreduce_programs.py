"""The MapReduce benchmarks as people write them with each library: a method per workload, which takes its
input and returns its answer. The functions at the top are the same for all.
"""

from __future__ import annotations

import operator
import os
import re
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import peers
from peers import WORKERS, Peer

import mrpy

K = 21  # bases of a k-mer
GAP = 1800  # seconds without a request end a session
ROUNDS, DAMPING = 5, 0.85
PARTITIONS = 2 * WORKERS  # for what PySpark reduces: by default it makes as many as there are input files

_words = re.compile(r"[^\W\d_]+").findall
_wanted = re.compile(r"\bcopyright\b.*\b(19|20)\d\d\b", re.IGNORECASE).search

Links = list[tuple[int, list[int]]]
Pair = tuple[Any, Any]


def words(text: str) -> list[str]:
    return _words(text.lower())


def text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def counted(path: str) -> Counter[str]:
    return Counter(words(text_of(path)))


def add_split(counts: Counter[str], path: str) -> Counter[str]:
    """Count what is between blanks as well, line by line."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            counts.update(line.split())
    return counts


def split(path: str) -> Counter[str]:
    return add_split(Counter(), path)


def total(key: Any, values: Iterable[Any]) -> Any:
    return sum(values)


def postings(path: str) -> list[tuple[str, str]]:
    """Each word of a file once, with the file."""
    return [(word, path) for word in set(words(text_of(path)))]


def ordered(key: Any, values: Iterable[Any]) -> list[Any]:
    return sorted(values)


def wanted(line: str) -> bool:
    return _wanted(line) is not None


def lines_of(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n")


def is_bases(line: str) -> bool:
    return not line.startswith(">")


def kmers(read: str) -> list[str]:
    return [read[n : n + K] for n in range(len(read) - K + 1)]


def kmers_of(record: Any) -> list[str]:
    return kmers(record.sequence)


def request(line: str) -> tuple[str, int]:
    time, user, _ = line.split(" ", 2)
    return user, int(time)


def sessions(user: Any, times: Iterable[int]) -> tuple[int, int]:
    """How many sessions a user had, and how long the longest took."""
    number = longest = 0
    begin = last = -GAP
    for time in sorted(times):
        if time - last >= GAP:
            number, begin = number + 1, time
        last = time
        longest = max(longest, last - begin)
    return number, longest


def shares(page: tuple[int, list[int]], rank: float) -> list[tuple[int, float]]:
    """What a page gives to each of those that it points to."""
    targets = page[1]
    return [(target, rank / len(targets)) for target in targets]


def shares_of_all(pages: Iterable[tuple[int, list[int]]], ranks: dict[int, float]) -> list[tuple[int, float]]:
    """The same for many. A page that none points to has no rank after the first round, and gives nothing."""
    return [share for page in pages if page[0] in ranks for share in shares(page, ranks[page[0]])]


def shares_of(joined: tuple[tuple[int, list[int]], tuple[int, float]]) -> list[tuple[int, float]]:
    return shares(joined[0], joined[1][1])


def damped(page: Any, given: Iterable[float]) -> float:
    return 1 - DAMPING + DAMPING * sum(given)


class Plain(Peer):
    """The loop that needs no library."""

    name = "plain loop"

    def wordcount(self, paths: list[str]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for path in paths:
            counts.update(words(text_of(path)))
        return counts

    def splits(self, paths: list[str]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for path in paths:
            add_split(counts, path)
        return counts

    def index(self, paths: list[str]) -> dict[str, list[str]]:
        found = defaultdict(list)
        for path in paths:
            for word, _ in postings(path):
                found[word].append(path)
        return {word: sorted(where) for word, where in found.items()}

    def grep(self, paths: list[str]) -> list[str]:
        return [line for path in paths for line in lines_of(path) if wanted(line)]

    def kmers(self, paths: list[str]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for path in paths:
            for line in lines_of(path):
                if is_bases(line):
                    counts.update(kmers(line))
        return counts

    def sessions(self, paths: list[str]) -> dict[str, tuple[int, int]]:
        times = defaultdict(list)
        for path in paths:
            for line in lines_of(path):
                user, time = request(line)
                times[user].append(time)
        return {user: sessions(user, each) for user, each in times.items()}

    def pagerank(self, links: Links) -> dict[int, float]:
        ranks = {page: 1.0 for page, _ in links}
        for _ in range(ROUNDS):
            given: dict[int, float] = defaultdict(float)
            for target, share in shares_of_all(links, ranks):
                given[target] += share
            ranks = {page: damped(page, [each]) for page, each in given.items()}
        return ranks


class Pool(peers.Pool):
    """What one writes by hand: only for the word counts."""

    def wordcount(self, paths: list[str]) -> dict[str, int]:
        return self._together(counted, paths)

    def splits(self, paths: list[str]) -> dict[str, int]:
        return self._together(split, paths)

    def _together(self, counted: Any, paths: list[str]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for part in self.pool.imap_unordered(counted, paths):
            counts.update(part)
        return counts


class Mrpy(peers.Mrpy):
    def wordcount(self, paths: list[str]) -> dict[str, int]:
        return dict(mrpy.read_text(paths).flat_map(words).frequencies())

    def splits(self, paths: list[str]) -> dict[str, int]:
        return dict(mrpy.read_text(paths).flat_map(str.split).frequencies())

    def index(self, paths: list[str]) -> dict[str, list[str]]:
        return dict(mrpy.mapreduce(postings, ordered, paths))

    def grep(self, paths: list[str]) -> list[str]:
        return mrpy.read_text(paths).filter(wanted).to_list()

    def kmers(self, paths: list[str]) -> dict[str, int]:
        return dict(mrpy.read_fasta(paths).flat_map(kmers_of).frequencies())

    def sessions(self, paths: list[str]) -> dict[str, tuple[int, int]]:
        return dict(mrpy.mapreduce(request, sessions, mrpy.read_text(paths)))

    def pagerank(self, links: Links) -> dict[int, float]:
        ranks: Any = [(page, 1.0) for page, _ in links]
        for _ in range(ROUNDS):
            joined = mrpy.stream(links).join(ranks, 0)
            ranks = list(mrpy.mapreduce(shares_of, damped, joined))  # ten values a key: too few to combine
        return dict(ranks)


class ByHand(Peer):
    """mrpy once more, in the session of the first: of functions that do as the pool does."""

    name = "mrpy mapreduce"

    def wordcount(self, paths: list[str]) -> dict[str, int]:
        return dict(mrpy.mapreduce(counted, total, paths, combiner=total))


class Bag(peers.Bag):
    """Its joins are with what fits into memory: so PageRank brings the ranks along."""

    def _run(self, bag: Any) -> Any:
        return bag.compute(scheduler="processes", pool=self.pool)

    def wordcount(self, paths: list[str]) -> dict[str, int]:
        return dict(self._run(self.bag.read_text(paths).map(words).flatten().frequencies()))

    def splits(self, paths: list[str]) -> dict[str, int]:
        return dict(self._run(self.bag.read_text(paths).map(str.split).flatten().frequencies()))

    def index(self, paths: list[str]) -> dict[str, list[str]]:
        pairs = self.bag.from_sequence(paths).map(postings).flatten()
        found = self._run(pairs.foldby(0, _taken_in, list, operator.add, list))
        return {word: sorted(where) for word, where in found}

    def grep(self, paths: list[str]) -> list[str]:
        return [line.rstrip("\n") for line in self._run(self.bag.read_text(paths).filter(wanted))]

    def kmers(self, paths: list[str]) -> dict[str, int]:
        lines = self.bag.read_text(paths).map(str.rstrip).filter(is_bases)
        return dict(self._run(lines.map(kmers).flatten().frequencies()))

    def sessions(self, paths: list[str]) -> dict[str, tuple[int, int]]:
        requests = self.bag.read_text(paths).map(request)
        times = requests.foldby(0, _taken_in, list, operator.add, list)
        return dict(self._run(times.map(_sessions_of)))

    def pagerank(self, links: Links) -> dict[int, float]:
        pages = self.bag.from_sequence(links, npartitions=PARTITIONS)
        ranks = {page: 1.0 for page, _ in links}
        for _ in range(ROUNDS):
            given = pages.map_partitions(shares_of_all, ranks).foldby(0, _plus, 0.0, operator.add, 0.0)
            ranks = {page: damped(page, [each]) for page, each in self._run(given)}
        return ranks


def _taken_in(values: list[Any], pair: Pair) -> list[Any]:
    values.append(pair[1])
    return values


def _sessions_of(pair: Pair) -> Pair:
    return pair[0], sessions(*pair)


def _plus(sum: float, pair: Pair) -> float:
    return sum + pair[1]


class Spark(Peer):
    """RDDs on two threads. Its JVM starts in `open`, which is not measured with the rest, but shown."""

    name = "PySpark"
    needs = "pyspark"
    heavy = True

    @classmethod
    def available(cls) -> bool:
        return super().available() and bool(os.environ.get("JAVA_HOME") or shutil.which("java"))

    def open(self) -> None:
        began = perf_counter()
        os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
        here = str(Path(__file__).parent)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
        from pyspark import SparkConf, SparkContext

        settings = {
            "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR",
            "spark.driver.host": "127.0.0.1", "spark.local.dir": os.environ.get("TMPDIR", "/tmp"),
        }  # fmt: skip
        conf = SparkConf().setMaster(f"local[{WORKERS}]").setAll(list(settings.items()))
        self.context = SparkContext(conf=conf)
        self.context.parallelize(range(8), WORKERS).map(abs).collect()
        self.start = perf_counter() - began

    def close(self) -> None:
        self.context.stop()

    def _lines(self, paths: list[str]) -> Any:
        return self.context.textFile(",".join(paths))

    def wordcount(self, paths: list[str]) -> dict[str, int]:
        pairs = self._lines(paths).flatMap(words).map(_with_one)
        return pairs.reduceByKey(operator.add, PARTITIONS).collectAsMap()  # type: ignore[no-any-return]

    def splits(self, paths: list[str]) -> dict[str, int]:
        pairs = self._lines(paths).flatMap(str.split).map(_with_one)
        return pairs.reduceByKey(operator.add, PARTITIONS).collectAsMap()  # type: ignore[no-any-return]

    def index(self, paths: list[str]) -> dict[str, list[str]]:
        pairs = self.context.parallelize(paths, PARTITIONS * 2).flatMap(postings)
        return pairs.groupByKey(PARTITIONS).mapValues(sorted).collectAsMap()  # type: ignore[no-any-return]

    def grep(self, paths: list[str]) -> list[str]:
        return self._lines(paths).filter(wanted).collect()  # type: ignore[no-any-return]

    def kmers(self, paths: list[str]) -> dict[str, int]:
        pairs = self._lines(paths).filter(is_bases).flatMap(kmers).map(_with_one)
        return pairs.reduceByKey(operator.add, PARTITIONS).collectAsMap()  # type: ignore[no-any-return]

    def sessions(self, paths: list[str]) -> dict[str, tuple[int, int]]:
        times = self._lines(paths).map(request).groupByKey(PARTITIONS)
        return times.map(_sessions_of).collectAsMap()  # type: ignore[no-any-return]

    def pagerank(self, links: Links) -> dict[int, float]:
        pages = self.context.parallelize(links, PARTITIONS).partitionBy(PARTITIONS).cache()
        ranks = pages.mapValues(_one)
        for _ in range(ROUNDS):
            given = pages.join(ranks, PARTITIONS).flatMap(_shares_of_joined)
            ranks = given.reduceByKey(operator.add, PARTITIONS).mapValues(_damped)
        answer = ranks.collectAsMap()
        pages.unpersist()
        return answer  # type: ignore[no-any-return]


def _with_one(item: Any) -> tuple[Any, int]:
    return item, 1


def _one(item: Any) -> float:
    return 1.0


def _shares_of_joined(pair: tuple[int, tuple[list[int], float]]) -> list[tuple[int, float]]:
    page, (targets, rank) = pair
    return shares((page, targets), rank)


def _damped(given: float) -> float:
    return damped(None, [given])


ALL: list[type[Peer]] = [Plain, Pool, Mrpy, ByHand, Bag, Spark]
