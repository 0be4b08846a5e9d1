"""The others: what people use instead of mrpy, each behind the same few methods. One that is not installed is
skipped by name.

``eager``  a list, by the fastest way that the library recommends for many items, with its defaults
``lazy``   an iterator, in order, with its defaults; None where the library has none
``each``   one item per task
``one``    one call, and wait for it
``BEGIN``  how a script starts that maps `f` over `xs`: what a newcomer of the library would write
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

WORKERS = 2
Function = Callable[[Any], Any]


class Peer:
    """One library, warm between `open` and `close`."""

    name = ""
    needs = ""  # a module
    heavy = False  # it has servers of its own, which would disturb the others while they are measured
    BEGIN = ""

    @classmethod
    def available(cls) -> bool:
        return not cls.needs or importlib.util.find_spec(cls.needs) is not None

    def open(self) -> None:
        self.pool: Any = None

    def close(self) -> None:
        """Nothing to stop."""

    def eager(self, f: Function, xs: Any) -> list[Any]:
        return list(self.lazy(f, xs))

    def lazy(self, f: Function, xs: Any) -> Iterable[Any]:
        raise NotImplementedError

    def each(self, f: Function, xs: Any) -> list[Any]:
        raise NotImplementedError

    def one(self, f: Function, x: Any) -> Any:
        raise NotImplementedError

    def has(self, way: str) -> bool:
        """Whether it can do this at all."""
        return getattr(type(self), way) is not getattr(Peer, way) or (way == "eager" and self.has("lazy"))


class Mrpy(Peer):
    name = "mrpy"
    BEGIN = "import mrpy; print(sum(mrpy.pmap(f, xs, workers=2)))"

    def open(self) -> None:
        import mrpy

        self.mrpy = mrpy
        self.session = mrpy.session("processes", workers=WORKERS)
        self.session.__enter__()
        list(mrpy.pmap(abs, range(8), chunksize=1))

    def close(self) -> None:
        self.session.__exit__(None, None, None)

    def eager(self, f: Function, xs: Any) -> list[Any]:
        return list(self.mrpy.pmap(f, xs))

    def lazy(self, f: Function, xs: Any) -> Iterable[Any]:
        return iter(self.mrpy.pmap(f, xs))

    def each(self, f: Function, xs: Any) -> list[Any]:
        return list(self.mrpy.pmap(f, xs, chunksize=1))

    def one(self, f: Function, x: Any) -> Any:
        return self.mrpy.submit(f, x).result()


class Pool(Peer):
    name = "Pool"
    BEGIN = (
        "import multiprocessing as m\n"
        "with m.get_context('fork').Pool(2) as pool: print(sum(pool.map(f, xs)))"
    )

    def open(self) -> None:
        import multiprocessing

        self.pool = multiprocessing.get_context("fork").Pool(WORKERS)
        self.pool.map(abs, range(8))

    def close(self) -> None:
        self.pool.terminate()
        self.pool.join()

    def eager(self, f: Function, xs: Any) -> list[Any]:
        return self.pool.map(f, xs)  # type: ignore[no-any-return]

    def lazy(self, f: Function, xs: Any) -> Iterable[Any]:
        return self.pool.imap(f, xs)  # type: ignore[no-any-return]

    def each(self, f: Function, xs: Any) -> list[Any]:
        return self.pool.map(f, xs, chunksize=1)  # type: ignore[no-any-return]

    def one(self, f: Function, x: Any) -> Any:
        return self.pool.apply(f, (x,))


class Executor(Peer):
    name = "Executor"
    BEGIN = (
        "import multiprocessing as m\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(2, m.get_context('fork')) as pool: print(sum(pool.map(f, xs)))"
    )

    def open(self) -> None:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        self.pool = ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork"))
        list(self.pool.map(abs, range(8)))

    def close(self) -> None:
        self.pool.shutdown()

    def lazy(self, f: Function, xs: Any) -> Iterable[Any]:
        return self.pool.map(f, xs)  # type: ignore[no-any-return]

    def each(self, f: Function, xs: Any) -> list[Any]:
        return list(self.pool.map(f, xs))

    def one(self, f: Function, x: Any) -> Any:
        return self.pool.submit(f, x).result()


class Loky(Executor):
    name = needs = "loky"
    BEGIN = (
        "from loky import get_reusable_executor\nprint(sum(get_reusable_executor(max_workers=2).map(f, xs)))"
    )

    def open(self) -> None:
        from loky import get_reusable_executor

        self.pool = get_reusable_executor(max_workers=WORKERS, timeout=600)
        list(self.pool.map(abs, range(8)))


class Joblib(Peer):
    name = needs = "joblib"
    BEGIN = "from joblib import Parallel, delayed\nprint(sum(Parallel(n_jobs=2)(delayed(f)(x) for x in xs)))"

    def open(self) -> None:
        import joblib

        self.joblib = joblib
        self.each(abs, range(8))

    def _run(self, f: Function, xs: Any, **options: Any) -> Any:
        delayed = self.joblib.delayed(f)
        return self.joblib.Parallel(n_jobs=WORKERS, **options)(delayed(x) for x in xs)

    def eager(self, f: Function, xs: Any) -> list[Any]:
        return self._run(f, xs)  # type: ignore[no-any-return]

    def lazy(self, f: Function, xs: Any) -> Iterable[Any]:
        return self._run(f, xs, return_as="generator")  # type: ignore[no-any-return]

    def each(self, f: Function, xs: Any) -> list[Any]:
        return self._run(f, xs, batch_size=1)  # type: ignore[no-any-return]


class Mpire(Peer):
    name = needs = "mpire"
    BEGIN = "from mpire import WorkerPool\nwith WorkerPool(n_jobs=2) as pool: print(sum(pool.map(f, xs)))"

    def open(self) -> None:
        import mpire

        self.pool = mpire.WorkerPool(n_jobs=WORKERS, keep_alive=True)
        self.pool.map(abs, range(8))

    def close(self) -> None:
        self.pool.terminate()

    def _items(self, xs: Any) -> Any:
        # It would unpack tuples, and cut an array into arrays: a list of one-tuples is an item each.
        return [(x,) for x in xs]

    def eager(self, f: Function, xs: Any) -> list[Any]:
        return list(self.pool.map(f, self._items(xs), concatenate_numpy_output=False))

    def lazy(self, f: Function, xs: Any) -> Iterable[Any]:
        return self.pool.imap(f, self._items(xs))  # type: ignore[no-any-return]

    def each(self, f: Function, xs: Any) -> list[Any]:
        return list(self.pool.map(f, self._items(xs), chunk_size=1, concatenate_numpy_output=False))

    def one(self, f: Function, x: Any) -> Any:
        return self.pool.apply(f, (x,))


class Pathos(Peer):
    name = needs = "pathos"
    BEGIN = "from pathos.pools import ProcessPool\nprint(sum(ProcessPool(2).map(f, xs)))"

    def open(self) -> None:
        from pathos.pools import ProcessPool

        self.pool = ProcessPool(WORKERS)
        self.pool.map(abs, range(8))

    def close(self) -> None:
        self.pool.close()
        self.pool.join()
        self.pool.clear()

    def eager(self, f: Function, xs: Any) -> list[Any]:
        return self.pool.map(f, xs)  # type: ignore[no-any-return]

    def lazy(self, f: Function, xs: Any) -> Iterable[Any]:
        return self.pool.imap(f, xs)  # type: ignore[no-any-return]

    def each(self, f: Function, xs: Any) -> list[Any]:
        return self.pool.map(f, xs, chunksize=1)  # type: ignore[no-any-return]

    def one(self, f: Function, x: Any) -> Any:
        return self.pool.pipe(f, x)


class Pebble(Peer):
    name = needs = "pebble"
    BEGIN = (
        "from pebble import ProcessPool\n"
        "with ProcessPool(2) as pool: print(sum(pool.map(f, xs).result()))"
    )

    def open(self) -> None:
        from pebble import ProcessPool

        self.pool = ProcessPool(WORKERS)
        list(self.pool.map(abs, range(8)).result())

    def close(self) -> None:
        self.pool.stop()
        self.pool.join()

    def lazy(self, f: Function, xs: Any) -> Iterable[Any]:
        return self.pool.map(f, xs).result()  # type: ignore[no-any-return]

    def each(self, f: Function, xs: Any) -> list[Any]:
        return list(self.pool.map(f, xs, chunksize=1).result())

    def one(self, f: Function, x: Any) -> Any:
        return self.pool.schedule(f, args=(x,)).result()


class Bag(Peer):
    name = "dask.bag"
    needs = "dask"
    heavy = True  # it makes a pool for each call
    BEGIN = (
        "import dask.bag\nif __name__ == '__main__':\n"
        "    print(sum(dask.bag.from_sequence(xs).map(f).compute(scheduler='processes', num_workers=2)))"
    )

    def open(self) -> None:
        from concurrent.futures import ProcessPoolExecutor

        import dask.bag

        self.bag = dask.bag
        self.pool = ProcessPoolExecutor(WORKERS)
        self.eager(abs, range(8))

    def close(self) -> None:
        self.pool.shutdown()

    def eager(self, f: Function, xs: Any) -> list[Any]:
        return self.bag.from_sequence(xs).map(f).compute(scheduler="processes", pool=self.pool)  # type: ignore[no-any-return]

    def each(self, f: Function, xs: Any) -> list[Any]:
        bag = self.bag.from_sequence(xs, partition_size=1)
        return bag.map(f).compute(scheduler="processes", pool=self.pool)  # type: ignore[no-any-return]


class Distributed(Peer):
    name = needs = "distributed"
    heavy = True
    BEGIN = (
        "from distributed import Client\nif __name__ == '__main__':\n"
        "    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:\n"
        "        print(sum(client.gather(client.map(f, xs))))"
    )

    def open(self) -> None:
        import distributed

        self.pool = distributed.Client(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50
        )
        self.each(abs, range(8))

    def close(self) -> None:
        self.pool.shutdown()

    def eager(self, f: Function, xs: Any) -> list[Any]:
        return self.pool.gather(self.pool.map(f, xs, pure=False, batch_size=max(1, len(xs) // 8)))  # type: ignore[no-any-return]

    def each(self, f: Function, xs: Any) -> list[Any]:
        return self.pool.gather(self.pool.map(f, xs, pure=False))  # type: ignore[no-any-return]

    def one(self, f: Function, x: Any) -> Any:
        return self.pool.submit(f, x, pure=False).result()


class Ray(Peer):
    name = needs = "ray"
    heavy = True
    BEGIN = (
        "import ray\nray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=50)\n"
        "from ray.util.multiprocessing import Pool\nprint(sum(Pool(2).map(f, xs)))"
    )

    def open(self) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
        from ray.util.multiprocessing import Pool as RayPool

        ray.init(num_cpus=2 * WORKERS, include_dashboard=False, log_to_driver=False, logging_level=50)
        self.ray = ray
        self.remotes: dict[Any, Any] = {}
        self.pool = RayPool(WORKERS)
        self.pool.map(abs, range(8))

    def close(self) -> None:
        self.pool.terminate()
        self.ray.shutdown()

    def eager(self, f: Function, xs: Any) -> list[Any]:
        return self.pool.map(f, xs)  # type: ignore[no-any-return]

    def lazy(self, f: Function, xs: Any) -> Iterable[Any]:
        return self.pool.imap(f, xs, chunksize=max(1, len(xs) // (4 * WORKERS)))  # type: ignore[no-any-return]

    def each(self, f: Function, xs: Any) -> list[Any]:
        return self.pool.map(f, xs, chunksize=1)  # type: ignore[no-any-return]

    def one(self, f: Function, x: Any) -> Any:
        remote = self.remotes.get(f)
        if remote is None:
            remote = self.remotes[f] = self.ray.remote(f if hasattr(f, "__code__") else lambda x: f(x))
        return self.ray.get(remote.remote(x))


class Ipyparallel(Peer):
    name = needs = "ipyparallel"
    heavy = True
    BEGIN = (
        "import ipyparallel as ipp\n"
        "with ipp.Cluster(n=2, log_level=50) as client: print(sum(client[:].map_sync(f, xs)))"
    )

    def open(self) -> None:
        import ipyparallel

        self.cluster = ipyparallel.Cluster(n=WORKERS, log_level=50)
        self.client = self.cluster.start_and_connect_sync()
        self.view = self.client.load_balanced_view()
        self.view.map_sync(abs, range(8))

    def close(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()

    def eager(self, f: Function, xs: Any) -> list[Any]:
        return list(self.view.map_sync(f, xs, chunksize=max(1, len(xs) // 8)))

    def lazy(self, f: Function, xs: Any) -> Iterator[Any]:
        return iter(self.view.imap(f, xs, max_outstanding="auto"))

    def each(self, f: Function, xs: Any) -> list[Any]:
        return list(self.view.map_sync(f, xs, chunksize=1))

    def one(self, f: Function, x: Any) -> Any:
        return self.view.apply_sync(f, x)


ALL: list[type[Peer]] = [
    Mrpy, Pool, Executor, Loky, Joblib, Mpire, Pathos, Pebble, Bag, Distributed, Ray, Ipyparallel,
]  # fmt: skip
