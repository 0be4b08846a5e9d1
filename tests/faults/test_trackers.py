"""Row 41: shared memory of `multiprocessing` is the program's, whatever becomes of workers that have attached to it.

Trackers say what they clear away on standard error, which is that of the script: there is nothing where all is well.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from laws import eventually
from watching import run_script

HEAD = """
import multiprocessing, os, signal, sys, time, warnings
from multiprocessing import resource_tracker, shared_memory
import mrpy

def made():
    segment = shared_memory.SharedMemory(create=True, size=8)
    segment.buf[0] = 7
    return segment

def read(name):
    segment = shared_memory.SharedMemory(name=name)
    try:
        return segment.buf[0]
    finally:
        segment.close()

def workers(session):
    return [worker.pid for worker in session.driver.backend._team]

"""


def said(code: str) -> str:
    """What a script prints that ends well and in silence."""
    done = run_script(HEAD + code)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


ENDS = {
    "session": "list(mrpy.pmap(read, [name] * 4, workers=1))",
    "crash": "list(mrpy.pmap(lambda n: [read(name), os._exit(n)], range(2), on_error='return'))",
    "timeout": "list(mrpy.pmap(lambda n: [read(name), time.sleep(60)], [0], timeout=0.1, on_error='return'))",
    "kill": "list(mrpy.pmap(lambda n: [read(name), os.kill(os.getpid(), 9)], [0], on_error='return'))",
    "lifespan": "list(mrpy.pmap(read, [name] * 4, chunksize=1))",
}


@pytest.mark.fault(41)
@pytest.mark.parametrize("when", ["before", "while they are warm"])
@pytest.mark.parametrize("end", ENDS)
def test_what_a_worker_has_attached_to_outlives_it(end: str, when: str) -> None:
    warm = "list(mrpy.pmap(abs, range(4), chunksize=1))" if when != "before" else ""
    most = "max_tasks_per_worker=1" if end == "lifespan" else ""
    assert said(f"""
with mrpy.session("processes", workers=2, {most}):
    {warm}
    segment = made()
    name = segment.name
    {ENDS[end]}
    print(list(mrpy.pmap(read, [name] * 2, chunksize=1)), end=" ")
print(read(name))
segment.close()
segment.unlink()
""") == "[7, 7] 7"


@pytest.mark.fault(41)
def test_what_workers_make_outlives_them_where_the_program_has_a_tracker() -> None:
    """As it does the workers of a pool (of the start method spawn); and it ends with the program, at the latest."""
    name = said("""
def make(n):
    segment = made()
    segment.close()
    return segment.name

resource_tracker.ensure_running()
with mrpy.session("processes", workers=2, max_tasks_per_worker=1):
    names = list(mrpy.pmap(make, range(4), chunksize=1))
segments = [shared_memory.SharedMemory(name=name) for name in names]
assert [segment.buf[0] for segment in segments] == [7] * 4
for segment in segments:
    segment.close()
    segment.unlink()
print(names[0])
""")
    assert not Path("/dev/shm", name).exists()


@pytest.mark.fault(41)
def test_a_worker_with_a_tracker_of_its_own_keeps_what_is_registered_there() -> None:
    done = run_script(HEAD + """
kept = []
def keep(n):
    kept.append(made())
    return kept[-1].name

with mrpy.session("processes", workers=1):
    [theirs] = mrpy.pmap(keep, [0])
    segment = made()
    assert list(mrpy.pmap(read, [segment.name, theirs])) == [7, 7]
    assert os.path.exists("/dev/shm/" + theirs)
print(read(segment.name), theirs)
segment.close()
segment.unlink()
""")
    value, theirs = done.stdout.split()
    assert value == "7"
    assert eventually(lambda: not Path("/dev/shm", theirs).exists())


@pytest.mark.fault(41)
def test_a_tracker_that_was_started_again_is_shared_in_place_of_the_old_one() -> None:
    done = run_script(HEAD + """
first = made()
with mrpy.session("processes", workers=1) as session:
    assert list(mrpy.pmap(read, [first.name])) == [7]
    before = workers(session)
    os.kill(resource_tracker._resource_tracker._pid, signal.SIGKILL)
    os.waitpid(resource_tracker._resource_tracker._pid, 0)
    warnings.simplefilter("ignore")
    second = made()
    assert list(mrpy.pmap(read, [second.name])) == [7]
    assert workers(session) == before
print(read(second.name))
second.close()
second.unlink()
first.close()
os.unlink("/dev/shm/" + first.name)
""")
    assert done.stdout == "7\n", done.stderr


@pytest.mark.fault(41)
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_pools_within_tasks_go_on_working(method: str) -> None:
    assert said(f"""
def nested(n):
    with multiprocessing.get_context("{method}").Pool(1) as pool:
        sizes = pool.map(len, ["ab", "c"])
    lock = multiprocessing.Lock()
    return sizes, read(name)

segment = made()
name = segment.name
with mrpy.session("processes", workers=1):
    print(list(mrpy.pmap(nested, [0])), end=" ")
print(read(name))
segment.close()
segment.unlink()
""") == "[([2, 1], 7)] 7"


@pytest.mark.fault(41)
def test_workers_of_workers_and_of_forks_share_it() -> None:
    assert said("""
def inner(n):
    with mrpy.session("processes", workers=1):
        return list(mrpy.pmap(read, [name] * 2))

segment = made()
name = segment.name
with mrpy.session("processes", workers=1):
    print(list(mrpy.pmap(inner, [0])), read(name))
sys.stdout.flush()
if (pid := os.fork()) == 0:
    with mrpy.session("processes", workers=1):
        print(list(mrpy.pmap(read, [name])), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(read(name))
segment.close()
segment.unlink()
""") == "[[7, 7]] 7\n[7]\n7"


@pytest.mark.fault(41)
def test_no_tracker_is_started_nor_imported_where_there_is_none() -> None:
    assert said("""
asked = lambda n: "multiprocessing.resource_tracker" in sys.modules
print(list(mrpy.pmap(lambda n: "multiprocessing" in sys.modules, [0], workers=1)), resource_tracker._resource_tracker._fd)
""") == "[False] None"


@pytest.mark.fault(41)
def test_the_end_of_a_program_waits_for_its_tracker_and_not_for_workers() -> None:
    """Newer versions of Python close its descriptor at the very end, and wait until it has ended."""
    first = """
import atexit
from multiprocessing import resource_tracker
atexit.register(lambda: resource_tracker._resource_tracker._stop())
"""
    then = """
segment = made()
print(list(mrpy.pmap(read, [segment.name])))
segment.close()
segment.unlink()
"""
    done = run_script(first + HEAD + then)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[7]\n", "")


@pytest.mark.fault(41)
@pytest.mark.parametrize("taken", ["nothing", "a file"])
def test_what_has_the_number_of_a_tracker_that_was_closed_is_not_given_away(taken: str, tmp_path: Path) -> None:
    """As in a daemon, which closes all descriptors."""
    path = tmp_path / "file"
    assert said(f"""
segment = made()
name = segment.name
fd = resource_tracker._resource_tracker._fd
os.close(fd)
if {taken == "a file"}:
    os.dup2(os.open("{path}", os.O_CREAT | os.O_RDWR), fd)
with mrpy.session("processes", workers=1):
    print(list(mrpy.pmap(abs, [-1])), os.stat("{path}").st_size if {taken == "a file"} else 0, flush=True)
os._exit(0)
""") == "[1] 0"
