"""Row 16 on Dask: threads that outlive the main one, and the pools of threads that end with that."""

from __future__ import annotations

import pytest
from laws import HAS_DASK
from watching import run_script, running_script

pytestmark = pytest.mark.skipif(not HAS_DASK, reason="no dask backend")

OUTLIVES = """
    import mrpy, threading, time
    from concurrent.futures import ThreadPoolExecutor

    def nap(n):
        time.sleep(0.1)
        return n

    def loop():
        threading.main_thread().join(0.3)
        for n in mrpy.pmap(nap, range(6), chunksize=1, buffersize=1):
            print(n, flush=True)
            time.sleep(0.2)  # the main thread may end here, too
        print([len(large) for large in mrpy.pmap(lambda n: bytes(12 << 20), range(2), chunksize=1)])
        print(*mrpy.pmap(len, [bytes(12 << 20)] * 2, chunksize=1), mrpy.submit(abs, -1).result(), flush=True)

    def begin():
        list(mrpy.pmap(nap, range(2)))
        {begins}
        time.sleep(0.5)
"""
ITS_OUTPUT = "0\n1\n2\n3\n4\n5\n[12582912, 12582912]\n12582912 12582912 1\n"
BEGINS = {"thread": "threading.Thread(target=loop).start()", "pool": "ThreadPoolExecutor(1).submit(loop)"}


@pytest.mark.fault(16)
@pytest.mark.parametrize("begins", BEGINS)
def test_a_loop_that_outlives_the_main_thread_works_to_its_end(begins: str) -> None:
    code = OUTLIVES.format(begins=BEGINS[begins]) + "    mrpy.configure(backend='dask', workers=2)\n    begin()\n"
    done = run_script(code)
    assert (done.stdout, done.stderr) == (ITS_OUTPUT, "")


@pytest.mark.fault(16)
def test_it_does_so_where_the_cluster_is_in_this_process() -> None:
    code = OUTLIVES.format(begins=BEGINS["thread"])
    done = run_script(f"""{code}
    from distributed import LocalCluster
    cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    session = mrpy.session("dask", address=cluster.scheduler_address)
    session.__enter__()
    begin()
    """)
    assert (done.stdout, done.stderr) == (ITS_OUTPUT, "")


@pytest.mark.fault(16)
def test_a_ctrl_c_ends_the_wait_for_such_a_loop() -> None:
    code = """
        import mrpy, threading, time
        def loop():
            try:
                for n in mrpy.pmap(time.sleep, [0.1] * 1000, chunksize=1, backend="dask", workers=1):
                    if n_heard.append(n) or len(n_heard) == 3:
                        print("goes on", flush=True)
            except mrpy.errors.SessionClosed as error:
                print(error)
        n_heard = []
        list(mrpy.pmap(abs, [-1], backend="dask", workers=1))
        threading.Thread(target=loop).start()
    """
    with running_script(code) as (process, [line]):
        assert line == "goes on"
        process.send_signal(2)
        said = process.communicate(timeout=30)[0]
    assert said in "the session was closed before this was done\n", "it may have ended amid that"
