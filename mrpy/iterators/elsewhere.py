"""Names that other libraries use for what is called otherwise here: one name each, and a hint."""

from __future__ import annotations

_HERE = {
    "map": ("imap", "apply", "select", "transform", "map_elements", "amap", "uimap"),
    "starmap": ("istarmap", "map_star"),
    "filter": ("where", "select_if", "keep_if", "ifilter"),
    "flat_map": ("flatmap", "flatMap", "concat_map", "mapcat", "bind", "explode", "map_concat"),
    "batch": ("chunk", "chunked", "chunks", "batched", "partition_all", "grouper", "buffer", "group"),
    "unbatch": ("flatten", "concat", "from_iterable"),
    "window": ("sliding", "sliding_window", "windowed", "rolling", "pairwise"),
    "enumerate": ("zip_with_index", "zipWithIndex", "with_index"),
    "chain": ("union", "extend", "append", "concatenate"),
    "take": ("limit", "head", "islice", "first_n"),
    "skip": ("drop", "offset", "tail"),
    "take_while": ("takewhile", "takeWhile"),
    "distinct": ("unique", "drop_duplicates", "dedupe", "uniq"),
    "sorted": ("sort", "sort_by", "sortBy", "order_by", "sort_values"),
    "topk": ("top", "nlargest", "top_k", "takeOrdered", "largest"),
    "count": ("size", "length", "len", "num_rows"),
    "frequencies": ("value_counts", "countByValue", "counts", "counter", "tally"),
    "mean": ("average", "avg", "fmean"),
    "std": ("stdev", "stddev", "pstdev", "var", "variance"),
    "reduce": ("combine", "treeReduce"),
    "fold": ("aggregate", "foldl", "fold_left", "treeAggregate"),
    "histogram": ("hist",),
    "sample": ("random_sample", "takeSample"),
    "first": ("find_first", "head_one", "next", "get_first"),
    "to_list": ("collect", "compute", "list", "tolist", "toList", "get", "gather", "result", "results"),
    "foreach": ("for_each", "forEach", "each", "do"),
    "tee": ("split", "copy", "fork"),
}
_BY_KEY = "grouping by key is mrpy.mapreduce(mapper, reducer, items) here"
_LOOKING = "write map() with a function that looks at its item and returns it"
_RUNNING = "each of its items needs all before it: write itertools.accumulate(this)"
_OTHERWISE = {
    **dict.fromkeys(("groupby", "group_by", "groupBy", "groupByKey", "reduceByKey", "foldby"), _BY_KEY),
    **dict.fromkeys(("tap", "inspect"), _LOOKING),
    **dict.fromkeys(("accumulate", "scan", "cumsum"), _RUNNING),
    "imap_unordered": "write map() and the option ordered=False",
}
_NAMES = {theirs: ours for ours, many in _HERE.items() for theirs in many}


def called_here(name: str) -> str:
    """What to say to somebody who asked a parallel iterator for `name`."""
    text = f"a ParallelIterator has no attribute {name!r}"
    if name in _OTHERWISE:
        return f"{text}; {_OTHERWISE[name]}"
    return f"{text}; it is called {_NAMES[name]!r} here" if name in _NAMES else text
