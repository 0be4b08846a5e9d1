"""Names that other libraries use for what is called otherwise here: one name each, and a hint."""

from __future__ import annotations

import mrpy.errors as errors
from mrpy.light import TYPE_CHECKING, later

if TYPE_CHECKING:
    import difflib
    from typing import Any
else:
    difflib = later("difflib")  # only for those who mistype

NEAR = 0.75  # of a name to one of ours: with less "take" would be near to "stage"

_HERE = {
    "map": ("imap", "apply", "select", "transform", "map_elements", "amap"),
    "starmap": ("istarmap", "map_star"),
    "filter": ("where", "select_if", "keep_if", "ifilter"),
    "flat_map": ("flatmap", "flatMap", "concat_map", "mapcat", "bind", "explode", "map_concat"),
    "batch": ("chunk", "chunked", "chunks", "batched", "partition_all", "grouper", "buffer", "group"),
    "unbatch": ("flatten", "concat", "from_iterable"),
    "window": ("sliding", "sliding_window", "windowed", "rolling", "pairwise"),
    "enumerate": ("zip_with_index", "zipWithIndex", "with_index"),
    "chain": ("union", "extend", "append", "concatenate"),
    "take": ("limit", "head", "islice", "first_n"),
    "skip": ("drop", "offset"),
    "take_while": ("takewhile", "takeWhile"),
    "distinct": ("unique", "drop_duplicates", "dedupe", "uniq"),
    "sorted": ("sort", "sort_by", "sortBy", "order_by", "sort_values"),
    "topk": ("top", "nlargest", "top_k", "largest"),
    "count": ("size", "length", "len", "num_rows"),
    "frequencies": ("value_counts", "countByValue", "counts", "counter", "tally"),
    "mean": ("average", "avg", "fmean"),
    "std": ("stdev", "stddev", "pstdev"),
    "reduce": ("combine", "treeReduce"),
    "fold": ("aggregate", "foldl", "fold_left", "treeAggregate"),
    "histogram": ("hist",),
    "first": ("find_first", "head_one", "next", "get_first"),
    "to_list": ("collect", "compute", "list", "tolist", "toList", "get", "gather", "result", "results"),
    "foreach": ("for_each", "forEach", "each", "do"),
    "tee": ("split", "copy", "fork"),
    "group_by": ("groupby", "groupBy"),
    "count_by": ("countby", "countByKey", "count_by_key", "counts_by"),
    "reduce_by": ("reduceby",),
    "fold_by": ("foldby", "foldBy"),
    "aggregate_by": ("agg", "agg_by", "aggregateBy", "summarise", "summarize"),
    "repartition": ("coalesce", "partitionBy", "repartition_by"),
    "topk_by": ("top_by", "nlargest_by", "top_k_by", "topKByKey"),
    "join": ("merge", "inner_join", "join_by", "innerJoin", "hash_join", "equi_join"),
    "cogroup": ("groupWith", "co_group", "CoGroupByKey", "cogroup_by", "group_join"),
    "to_text": ("to_textfiles", "to_textfile", "saveAsTextFile", "write_text", "to_txt"),
    "to_jsonl": ("to_json", "to_ndjson", "to_json_lines", "write_json", "write_ndjson", "sink_ndjson"),
    "to_csv": ("write_csv", "sink_csv", "saveAsCsv"),
    "to_parquet": ("write_parquet", "sink_parquet"),
    "to_sqlite": ("to_sql", "write_sql", "write_database", "to_table"),
}
_VERBS = {
    "stream": ("from_sequence", "parallelize", "from_iterable", "from_iter", "from_list", "seq"),
    "submit": ("apply_async", "remote"),
    "pmap": ("map", "imap", "parallel_map", "p_map", "p_imap", "map_async", "amap", "process_map"),
    "pstarmap": ("starmap", "istarmap", "starmap_async"),
    "pfilter": ("filter",),
    "preduce": ("reduce",),
    "pfold": ("fold", "aggregate"),
    "mapreduce": ("map_reduce", "MapReduce"),
    "Job": ("MRJob",),
    "read_text": ("textFile", "read_lines", "read_textfiles", "open_text"),
    "read_jsonl": ("read_json", "read_ndjson", "read_json_lines", "scan_ndjson"),
    "read_csv": ("read_table", "scan_csv", "from_csv"),
    "read_parquet": ("read_feather", "read_ipc", "scan_parquet", "scan_ipc", "from_parquet"),
    "read_records": ("binaryRecords", "fromfile", "read_binary"),
    "read_sql": ("read_sql_table", "read_sql_query", "read_database", "from_sql"),
}
_CUT = "chunks are cut as it runs: chunksize= says how many items, partitions= how many tasks take the keys"
_JOINS = {
    "left": ("left_join", "leftOuterJoin", "left_outer_join"),
    "right": ("right_join", "rightOuterJoin", "right_outer_join"),
    "outer": ("outer_join", "fullOuterJoin", "full_join", "full_outer_join"),
    "semi": ("semi_join", "left_semi_join"),
    "anti": ("anti_join", "left_anti_join", "subtractByKey", "subtract", "difference"),
}
_LOOKING = "use map() with a function that looks at its item and returns it"
_PICKLES = "what it writes others can read: to_text(), to_jsonl(), to_csv(), to_parquet(), to_sqlite()"
_PAIRS = "a key goes with whole items here, not with the values of pairs"
_VALUES = f"{_PAIRS}: write mrpy.mapreduce(lambda pair: pair, lambda key, values: %s, this)"
_FOLDED = f"{_PAIRS}: write fold_by(0, lambda made, pair: step(made, pair[1]), initial, combine)"
_RUNS = "for all items of a key write group_by(key); for runs of one key write itertools.groupby(this, key)"
_SAMPLE = "so many items, each one once, in a list: write sample(n, seed=0)"
_KEPT = "a list keeps them, for several chains: write mrpy.stream(list(this))"
_PIECES = "for a generator function that carries nothing from one item to the next write mrpy.stage(f)(this)"
_OTHERWISE = {  # behind "write" is code, up to the end or a semicolon; "this" is the iterator
    **{theirs: f"write join(other, key, how={how!r})" for how, many in _JOINS.items() for theirs in many},
    **dict.fromkeys(("rebalance", "rechunk"), _CUT),
    **dict.fromkeys(("tap", "inspect"), _LOOKING),
    **dict.fromkeys(
        ("accumulate", "scan", "cumsum"),
        "each of its items needs all before it: write itertools.accumulate(this)",
    ),
    **dict.fromkeys(("to_pickle", "saveAsPickleFile", "saveAsObjectFile", "saveAsSequenceFile"), _PICKLES),
    **dict.fromkeys(("groupByKey", "group_by_key"), _VALUES % "list(values)"),
    **dict.fromkeys(
        ("reduceByKey", "reduce_by_key", "reduceByKeyLocally"), _VALUES % "functools.reduce(f, values)"
    ),
    **dict.fromkeys(("foldByKey", "combineByKey", "aggregateByKey"), _FOLDED),
    **dict.fromkeys(("partition_by", "partitionby"), _RUNS),
    **dict.fromkeys(("mapPartitions", "map_partitions"), _PIECES),
    **dict.fromkeys(("var", "variance"), "std() has their ddof=, too: write std(ddof=0) ** 2"),
    **dict.fromkeys(("takeOrdered", "nsmallest"), "write sorted().take(n)"),
    "tail": "write collections.deque(this, n)",
    "mapValues": "write starmap(lambda key, value: (key, f(value)))",
    "keys": "write map(operator.itemgetter(0))",
    "values": "write map(operator.itemgetter(1))",
    "pluck": "write map(operator.itemgetter(key))",
    "keyBy": "write map(lambda item: (key(item), item))",
    "sortByKey": "write sorted(0)",
    "collectAsMap": "write dict(this)",
    **dict.fromkeys(
        ("cartesian", "product"), "write flat_map(lambda item: [(item, each) for each in other])"
    ),
    **dict.fromkeys(("takeSample", "random_sample"), _SAMPLE),
    **dict.fromkeys(("cache", "persist"), _KEPT),
    "intersection": "write join(other, key, how='semi').distinct()",
    "any": "write any(this)",
    "all": "write all(this)",
    "isEmpty": "write not take(1).to_list()",
    **dict.fromkeys(("to_dict", "asdict"), "write dict(this)"),
    **dict.fromkeys(("to_set", "toSet"), "write set(this)"),
    **dict.fromkeys(("to_tuple", "to_seq"), "write tuple(this)"),
    **dict.fromkeys(("to_pandas", "toPandas", "to_dataframe", "toDF"), "write pandas.DataFrame(list(this))"),
    **dict.fromkeys(("to_numpy", "to_array"), "write numpy.array(list(this))"),
    "median": "it needs all items: write statistics.median(this)",
    "last": "write collections.deque(this, 1).pop()",
    **dict.fromkeys(("nth", "element_at"), "write skip(n).first()"),
    "lookup": "write filter(lambda pair: pair[0] == key).map(operator.itemgetter(1)).to_list()",
    "glom": f"{_CUT}; for tuples of n items write batch(n)",
    "randomSplit": "each item draws: write map(lambda item: (mrpy.rng().random() < share, item)).group_by(0)",
    "unzip": "for each of what tee(n) gives write map(operator.itemgetter(place))",
    "reduction": "a stretch is folded item by item: write fold(step, initial, combine)",
    "remove": "write filter(lambda item: not predicate(item))",
    **dict.fromkeys(("imap_unordered", "map_unordered", "uimap"), "use map() and the option ordered=False"),
}
_POOL = "none has to be opened: write mrpy.pmap(f, xs); for a block's own write mrpy.session(workers=n)"
_HELD = "what a function holds goes along with it, once for each worker: write mrpy.pmap(f, xs)"
_EACH_FREE = "without workers= all processors are taken, each as it is free: write mrpy.pmap(f, xs)"
_VERBS_OTHERWISE = {
    "wholeTextFiles": "write mrpy.pmap(lambda path: (path, pathlib.Path(path).read_text()), paths)",
    **dict.fromkeys(("Pool", "WorkerPool", "ProcessPool", "init"), _POOL),
    **dict.fromkeys(("put", "scatter"), _HELD),
    **dict.fromkeys(("parallel_backend", "parallel_config"), "write mrpy.session('threads', workers=n)"),
    "ThreadPool": "write mrpy.pmap(f, xs, backend='threads')",
    **dict.fromkeys(("t_map", "t_imap"), "write mrpy.pmap(f, xs, backend='serial', progress=True)"),
    **dict.fromkeys(("effective_n_jobs", "load_balanced_view"), _EACH_FREE),
    "get": "write mrpy.submit(f, x).result(); of many results it is mrpy.gather(pending)",
    "LocalCluster": "write mrpy.session('dask', workers=n)",
    "cpu_count": _EACH_FREE,
    "compute": "write mrpy.pmap(f, xs).to_list()",
    **dict.fromkeys(
        ("imap_unordered", "map_unordered", "uimap", "p_umap"), "write mrpy.pmap(f, xs, ordered=False)"
    ),
    "thread_map": "write mrpy.pmap(f, xs, backend='threads', progress=True)",
    "apply": "write mrpy.submit(f, x).result()",
    "ProcessPoolExecutor": "write mrpy.Executor(backend='processes')",
    "ThreadPoolExecutor": "write mrpy.Executor(backend='threads')",
    "Client": "write mrpy.session('dask', address=address)",
    "Parallel": "its delayed calls are a generator expression here: write mrpy.parallel(f(x) for x in xs)",
    "delayed": "no function has to be wrapped: write mrpy.parallel(f(x) for x in xs)",
}
_OF_A_RESULT = {
    "get": "write pending.result()",
    "ready": "write pending.done()",
    "successful": "write pending.exception() is None",
    "wait": "write mrpy.wait([pending], timeout=n)",
    "_condition": "write mrpy.wait([pending]) or mrpy.as_completed([pending]); those of concurrent.futures "
    "take its own futures only",
}
_PUT_OFF = (
    "delayed(f)(x) calls nothing, and makes {} that only {}: write f(x) in its place, as in "
    "mrpy.parallel(f(x) for x in xs). (mrpy.stream(...) leaves it as it is)"
)
_NAMES = {theirs: ours for ours, many in _HERE.items() for theirs in many}
_VERB_NAMES = {theirs: ours for ours, many in _VERBS.items() for theirs in many}


def none_of(name: str) -> Exception:
    """What to raise where a parallel iterator is asked for `name`. NumPy asks for an ``__array_struct__``
    where it is to make an array of one, and would take it for a single thing; nobody else does, so that to
    others, as pandas, it is no array."""
    if name == "__array_struct__":
        return TypeError(
            "an iterator is no array: write numpy.array(list(this)), or numpy.fromiter(this, float), say"
        )
    return AttributeError(called_here(name))


def called_here(name: str) -> str:
    """What to say to somebody who asked a parallel iterator for `name`."""
    text = f"a ParallelIterator has no attribute {name!r}"
    if name in _OTHERWISE:
        return f"{text}; {_OTHERWISE[name]}"
    return f"{text}; it is called {_NAMES[name]!r} here" if name in _NAMES else text


def result_called_here(name: str) -> str:
    """The same to somebody who asked a pending result."""
    text = f"a PendingResult has no attribute {name!r}"
    return f"{text}; {_OF_A_RESULT[name]}" if name in _OF_A_RESULT else text


def verb_called_here(name: str, ours: list[str]) -> str:
    """The same to somebody who asked `mrpy` itself, which has `ours`."""
    text = f"module 'mrpy' has no attribute {name!r}"
    if name in _VERBS_OTHERWISE:
        return f"{text}; {_VERBS_OTHERWISE[name]}"
    if name in _VERB_NAMES:
        return f"{text}; it is called {_VERB_NAMES[name]!r} here"
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        return f"{text}; it is mrpy.errors.{name}"
    if name.startswith("_"):  # of Python's own, which tools ask any module for
        return text
    near = difflib.get_close_matches(name, ours, 1, NEAR)
    return f"{text}; did you mean {near[0]!r}?" if near else text


def called(item: Any) -> Any:
    """The item, where it is none of the calls that `delayed`, that of joblib or Dask, has put off."""
    told = ""
    if type(item) is tuple and len(item) == 3:
        function, args, kwargs = item
        if callable(function) and type(args) is tuple and type(kwargs) is dict:
            told = _PUT_OFF.format("a tuple", "joblib calls")
    elif type(item).__module__ == "dask.delayed":
        told = _PUT_OFF.format("an object", "dask.compute() calls")
    if told:
        raise TypeError(told)
    return item
