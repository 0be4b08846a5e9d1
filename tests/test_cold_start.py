"""What the first run of a script starts and imports, and when; and that no worker is started too many."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DEADLINE = 60  # seconds, against hangs; each takes a tenth of one
HEAVY = {
    "cloudpickle", "concurrent.futures", "dataclasses", "enum", "inspect", "logging", "mrpy.mapreduce.plan",
    "mrpy.mapreduce.sources", "mrpy.options", "multiprocessing", "re", "socket", "subprocess", "threading", "traceback", "typing",
}  # fmt: skip

CHILDREN = """
import os
def children():
    threads = os.listdir("/proc/self/task")
    return [child for thread in threads for child in open(f"/proc/self/task/{thread}/children").read().split()]
"""


def printed(script: str, tmp_path: Path, *flags: str, **environment: str) -> list[str]:
    """The lines that a script prints in a process of its own."""
    file = tmp_path / "script.py"
    file.write_text(CHILDREN + script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *flags, file], capture_output=True, text=True, timeout=DEADLINE, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_a_worker_imports_nothing_heavy_before_the_users_function(tmp_path: Path) -> None:
    script = "import sys, mrpy\nprint(*next(mrpy.pmap(lambda x: sorted(sys.modules), [1])))"
    [line] = printed(script, tmp_path)
    assert "mrpy.mapreduce.kernels" in line.split()
    assert not set(line.split()) & HEAVY


def test_nor_does_the_script(tmp_path: Path) -> None:
    """Without ``site``: in an editable install that has imported half of these already."""
    script = f"""
import sys
sys.path[:0], sys.orig_argv[1:] = [{str(REPOSITORY)!r}], []
import mrpy
print(*mrpy.pmap(abs, range(9), workers=2))
print(*{HEAVY | {"pathlib", "queue", "signal", "urllib"}} & {{*sys.modules}})
"""
    needed = {"enum", "mrpy.mapreduce.plan", "mrpy.mapreduce.sources", "mrpy.options", "threading"}
    line, heavy = printed(script, tmp_path, "-S")
    assert line == "0 1 2 3 4 5 6 7 8"
    assert set(heavy.split()) == needed


@pytest.mark.parametrize("run", ["sum()", "sorted().to_list()", "map(str).to_text('out')", "count_by(abs).to_list()"])
def test_a_worker_imports_nothing_of_what_the_consumer_does(run: str, tmp_path: Path) -> None:
    script = f"""
import os, sys, mrpy
os.chdir({str(tmp_path)!r})
with mrpy.session(workers=1):
    mrpy.stream(range(9)).{run}
    there = next(mrpy.pmap(lambda _: [*sys.modules], [0]))
print("mrpy.mapreduce.folds" in there, {{"mrpy.scheduler.driver", "mrpy.options", "threading", "typing"}} & {{*there}})
"""
    assert printed(script, tmp_path) == ["True set()"]


def test_making_a_plan_imports_nothing_that_runs_one_and_starts_nothing(tmp_path: Path) -> None:
    script = """
import sys, mrpy
numbers = mrpy.parallel(x + 1 for x in range(9)).map(str)
print(numbers, len(children()), "mrpy.scheduler.driver" in sys.modules, "mrpy.iterators.order" in sys.modules)
print(sorted(numbers)[0], len(children()) > 0)
"""
    assert printed(script, tmp_path) == ["range(0, 9) -> (x + 1 for x in range(9)) -> map str 0 False False", "1 True"]


@pytest.mark.parametrize(
    ("run", "workers"),
    [
        ("list(mrpy.pmap(abs, []))", 0),
        ("list(mrpy.pmap(abs, range(9), backend='serial'))", 0),
        ("list(mrpy.pmap(abs, range(9), backend='threads'))", 0),
        ("list(mrpy.stream(range(9)))", 0),
        ("list(mrpy.pmap(abs, [-1], workers=4))", 1),
        ("mrpy.submit(abs, -1).result()", 1),
        ("mrpy.stream([5]).sum()", 1),
        ("list(mrpy.pmap(abs, range(9), workers=1))", 1),
    ],
)
def test_no_more_workers_are_started_than_there_is_work_for(run: str, workers: int, tmp_path: Path) -> None:
    assert printed(f"import mrpy\n{run}\nprint(len(children()))", tmp_path) == [str(workers)]


@pytest.mark.parametrize(("processors", "at_a_time"), [(1, 1), (2, 1), (3, 2)])
def test_no_more_workers_boot_at_a_time_than_there_are_processors_for(
    processors: int, at_a_time: int, tmp_path: Path
) -> None:
    script = f"""
import time, mrpy
from mrpy.scheduler.backends import team
team.cpu_count, team.BOOT = lambda: {processors}, 60
booting, hire = [], team.Team.hire
def watched(workers, waiting):
    hire(workers, waiting)
    booting.append(sum(not worker.ready for worker in workers))
team.Team.hire = watched
list(mrpy.pmap(time.sleep, [0.2] * 16, workers=4, chunksize=1))
print(max(booting), len(children()))
"""
    assert printed(script, tmp_path) == [f"{at_a_time} 4"]


@pytest.mark.parametrize("run", ["print(*mrpy.pmap(abs, range(9), workers=2))", """
with mrpy.session(workers=2):
    calls = [mrpy.submit(abs, x) for x in range(9)]
    while not calls[-1].done():  # nobody waits who would look from time to time
        time.sleep(0.01)
    print(*mrpy.gather(calls))
"""])  # fmt: skip
def test_nobody_waits_for_a_worker_that_does_not_come_up(run: str, tmp_path: Path) -> None:
    script = f"""
import os, signal, time, mrpy
from mrpy.scheduler.backends import spawn, team
team.cpu_count = lambda: 2
start, pids = spawn._start, []
def stopped(*arguments):
    pids.append(start(*arguments))
    if len(pids) == 1:
        os.kill(pids[0], signal.SIGSTOP)
    return pids[-1]
spawn._start = stopped
{run}
print(len(pids))
"""
    assert printed(script, tmp_path) == ["0 1 2 3 4 5 6 7 8", "2"]


def test_a_worker_that_dies_as_soon_as_it_is_up_is_buried_once(tmp_path: Path) -> None:
    script = """
import os, signal, time, mrpy
from mrpy.scheduler.backends import processes, worker_main
take, up = processes.ProcessesBackend._take, []
def taken(self, worker, frame):
    if frame.kind == worker_main.READY:
        up.append(worker.pid)
        if len(up) == 1:
            os.kill(worker.pid, signal.SIGKILL)
            os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
            time.sleep(0.05)
    return take(self, worker, frame)
processes.ProcessesBackend._take = taken
with mrpy.session("processes", workers=4):
    print(*mrpy.pmap(abs, range(9), chunksize=1))
"""
    assert printed(script, tmp_path) == ["0 1 2 3 4 5 6 7 8"]


def test_the_first_task_is_sent_before_another_worker_is_started(tmp_path: Path) -> None:
    script = """
import os, time, mrpy
from mrpy.scheduler.backends import spawn, team
team.cpu_count = lambda: 2
read, write = os.pipe()
start, started = spawn._start, []
def slowly(*arguments):  # holds up all, as `posix_spawn` may
    if started:
        print(os.read(read, 1))
    started.append(start(*arguments))
    return started[-1]
spawn._start = slowly
path = f"/proc/{os.getpid()}/fd/{write}"
def told(x):
    with open(path, "wb") as pipe:
        pipe.write(b"!")
    return x
print(list(mrpy.pmap(told, range(2), workers=2, chunksize=1)))
"""
    assert printed(script, tmp_path)[0] == "b'!'"


def test_workers_do_not_look_for_garbage_while_they_boot(tmp_path: Path) -> None:
    script = """
import gc, mrpy
print(next(mrpy.pmap(lambda _: (gc.isenabled(), gc.get_freeze_count() > 1000), [0])))
"""
    assert printed(script, tmp_path) == ["(True, True)"]


def test_a_worker_that_nobody_asked_for_ends_with_the_script(tmp_path: Path) -> None:
    script = "from mrpy.scheduler.backends import spawn\nspawn.ahead(1)\nprint(*children())"
    [worker] = printed(script, tmp_path)
    assert not Path(f"/proc/{worker}").exists()


def test_a_worker_started_ahead_is_the_one_that_works(tmp_path: Path) -> None:
    script = """
import mrpy
from mrpy.options import Options
from mrpy.scheduler.early import start_first_worker
start_first_worker(Options(workers=1))
[begun] = children()
print(begun == str(next(mrpy.pmap(lambda x: os.getpid(), [0], workers=1))), children() == [begun])
"""
    assert printed(script, tmp_path) == ["True True"]


def test_a_worker_started_ahead_is_not_taken_where_the_environment_has_changed_since(tmp_path: Path) -> None:
    script = """
import mrpy
from mrpy.options import Options
from mrpy.scheduler.early import start_first_worker
start_first_worker(Options(workers=1))
os.environ["SAID_SINCE"] = "yes"
print(next(mrpy.pmap(lambda x: os.environ.get("SAID_SINCE"), [0], workers=1)), len(children()))
"""
    assert printed(script, tmp_path) == ["yes 1"]


@pytest.mark.parametrize("changed", [True, False])
def test_a_worker_started_ahead_may_have_died_where_nobody_has_to_wait_for_children(changed: bool, tmp_path: Path) -> None:
    """It is not taken, as the environment has changed; or nobody asks for it until the exit."""
    script = f"""
import mrpy, select, signal
from mrpy.scheduler.backends import spawn
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
numbers = mrpy.pmap(abs, [1, -2], workers=1)
iter(numbers)
[(_, worker)] = spawn._ahead
watch = os.pidfd_open(worker.process.pid)
os.kill(worker.process.pid, signal.SIGKILL)
select.select([watch], [], [])
os.environ["SAID_SINCE"] = "yes"
print(*(numbers if {changed} else []))
"""
    assert printed(script, tmp_path) == (["1 2"] if changed else [""])


FROZEN = """
import os, sys
print(len(os.environ.get("MRPY_WORKER", "")) > 0, flush=True)
sys.argv[:] = []
sys.frozen, sys.executable = True, os.path.abspath("frozen")  # as PyInstaller has them
import mrpy

if __name__ == "__main__":
    print(*mrpy.pmap(lambda n: n + 1, range(3), workers=1), sys.argv[1:], flush=True)
    print(*mrpy.pmap(lambda n: os.environ.get("MRPY_WORKER"), [1], workers=1), flush=True)
"""


def test_a_worker_of_a_frozen_program_is_that_program_and_runs_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "frozen"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} script.py "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    assert printed(FROZEN, tmp_path) == ["False", "True", "1 2 3 []", "None"]


def test_a_frozen_program_that_brings_an_interpreter_along_has_it_run_its_workers(tmp_path: Path) -> None:
    script = "import sys\nsys.frozen = True\nimport mrpy\nprint(*mrpy.pmap(abs, [-1], workers=1))"
    assert printed(script, tmp_path) == ["1"]


def test_where_python_is_embedded_workers_are_run_by_that_of_its_installation(tmp_path: Path) -> None:
    around = tmp_path / "uwsgi"
    around.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    around.chmod(0o755)
    script = f"import sys\nsys.executable = {str(around)!r}\nimport mrpy\nprint(*mrpy.pmap(abs, [-1], workers=1))"
    assert printed(script, tmp_path) == ["1"]


def test_a_program_that_takes_the_place_of_another_inherits_nothing_of_ours(tmp_path: Path) -> None:
    script = """
import mrpy, sys
print(*mrpy.pmap(abs, [-1], workers=1), flush=True)
count = "import os; print(len(os.listdir('/dev/fd')))"
os.execv(sys.executable, [sys.executable, "-c", count])
"""
    assert printed(script, tmp_path) == ["1", "4"]  # the standard ones, and the list itself


def test_short_tasks_do_not_wait_for_a_second_worker_that_boots(tmp_path: Path) -> None:
    """Here it boots for ever."""
    script = """
import mrpy
from mrpy.scheduler.backends import spawn
begin, numbers = spawn._start, []
def start(fds, threads):
    if numbers:
        spawn._BOOT = "import time; time.sleep(3600)"
    numbers.append(1)
    return begin(fds, threads)
spawn._start = start
print(sum(mrpy.pmap(abs, range(1000), workers=2)), len(numbers))
"""
    assert printed(script, tmp_path) == [f"{sum(range(1000))} 2"]


def test_a_worker_inherits_nothing_but_its_own(tmp_path: Path) -> None:
    script = """
import mrpy
ours, theirs = os.pipe()
os.set_inheritable(theirs, True)
print(len(next(mrpy.pmap(lambda x: os.listdir("/dev/fd"), [0], workers=1))))
"""
    assert printed(script, tmp_path) == ["8"]  # three standard ones, two sockets, claims, the stack, and the list itself


@pytest.mark.parametrize(
    ("flags", "environment"),
    [((), {}), (("-O",), {}), (("-OO", "-W", "error"), {}), (("-X", "dev"), {}), (("-P",), {}), ((), {"PYTHONOPTIMIZE": "1"})],
)
def test_a_worker_has_the_flags_of_its_parent(
    flags: tuple[str, ...], environment: dict[str, str], tmp_path: Path
) -> None:
    script = """
import subprocess, sys, mrpy
def told(_):
    passed_on = subprocess._args_from_interpreter_flags()
    return sys.flags.optimize, sys.flags.dev_mode, sys.warnoptions, passed_on
print(told(0) == next(mrpy.pmap(told, [0], workers=1)))
"""
    assert printed(script, tmp_path, *flags, **environment) == ["True"]


def test_a_worker_is_at_home_where_its_parent_is_before_and_after_site_is_loaded(tmp_path: Path) -> None:
    script = """
import importlib.util, sys, sysconfig, mrpy
def told(again):
    before = sys.prefix, sys.exec_prefix, sysconfig.get_path("purelib")
    importlib.util.find_spec("not_there")
    return *before, sys.prefix, sys.exec_prefix
print(told(0) == next(mrpy.pmap(told, [0], workers=1)))
"""
    assert printed(script, tmp_path) == ["True"]


def test_what_is_set_up_for_every_interpreter_is_there_first(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import json\njson.dumps = repr", encoding="utf-8")
    script = """
import json, mrpy
print(*mrpy.pmap(lambda x: json.dumps(x), "a", workers=1), json.dumps("a"))
"""
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    assert printed(script, tmp_path, PYTHONPATH=path) == ["'a' 'a'"]


def test_what_it_has_opened_stays_open(tmp_path: Path) -> None:
    """Workers close what they inherit: before it, or its log would be the first file that a task opens."""
    (tmp_path / "sitecustomize.py").write_text(f"log = open({str(tmp_path / 'log')!r}, 'a', buffering=1)", encoding="utf-8")
    script = f"""
import mrpy
def f(x):
    import sitecustomize
    with open({str(tmp_path / "own")!r}, "w") as file:
        file.write("mine")
        sitecustomize.log.write("told\\n")
    return open({str(tmp_path / "own")!r}).read(), open({str(tmp_path / "log")!r}).read()
print(*mrpy.pmap(f, [0], workers=1))
"""
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    assert printed(script, tmp_path, PYTHONPATH=path) == ["('mine', 'told\\n')"]


def test_a_seed_of_hashes_that_is_set_later_is_for_no_worker_of_this_process(tmp_path: Path) -> None:
    script = """
import time, mrpy
def told(_):
    time.sleep(0.05)
    return os.getpid(), hash("word"), os.environ.get("PYTHONHASHSEED")
def both():
    workers, hashes, seeds = map(set, zip(*mrpy.pmap(told, range(12), workers=2, chunksize=1)))
    return len(workers), hashes, seeds
print(len(list(mrpy.pmap(abs, [1], workers=2))))
os.environ["PYTHONHASHSEED"] = "42"
count, hashes, _ = both()
print(count, len(hashes))
"""
    assert printed(script, tmp_path) == ["1", "2 1"]


def test_two_who_ask_for_the_worker_started_ahead_get_one_each(tmp_path: Path) -> None:
    script = """
import sys, threading
from mrpy.scheduler.backends import spawn
sys.setswitchinterval(1e-6)
def ask(threads):
    worker = spawn.spawned(threads)
    worker.close()
    worker.process.wait()
    done.append(threads)
done = []
for _ in range(15):
    spawn.ahead(1)
    askers = [threading.Thread(target=ask, args=(1 + n,)) for n in range(2)]
    [each.start() for each in askers]
    [each.join() for each in askers]
print(len(done))
"""
    assert printed(script, tmp_path) == ["30"]


@pytest.mark.parametrize("seed", ["", "random", "7"])
def test_strings_hash_alike_in_all_workers_and_nobody_sees_how_that_is_done(seed: str, tmp_path: Path) -> None:
    script = """
import subprocess, sys, time, mrpy
def told(_):
    time.sleep(0.02)
    seed = os.environ.get("PYTHONHASHSEED")
    return os.getpid(), hash("word"), seed, subprocess.check_output(["printenv", "PYTHONHASHSEED"])
workers, hashes, *seeds = map(set, zip(*mrpy.pmap(told, range(12), workers=2, chunksize=1)))
print(len(workers), len(hashes), hash("word") in hashes, *map(len, seeds), seeds[0], seeds[1])
"""
    same = str(seed == "7")
    assert printed(script, tmp_path, PYTHONHASHSEED=seed) == [f"2 1 {same} 1 1 {{{seed!r}}} {{b'{seed}\\n'}}"]


def test_an_environment_without_a_hash_seed_has_none_in_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    script = """
import subprocess, mrpy
def told(_): return "PYTHONHASHSEED" in os.environ, subprocess.call(["printenv", "PYTHONHASHSEED"])
print(*next(mrpy.pmap(told, [0], workers=1)))
"""
    assert printed(script, tmp_path) == ["False 1"]


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_threads_may_begin_together_in_a_process_that_has_run_nothing_yet(backend: str, tmp_path: Path) -> None:
    script = f"""
import operator, threading, mrpy
how, begin, answers = {{"backend": "{backend}"}}, threading.Barrier(8), []
runs = [
    lambda: mrpy.preduce(operator.add, range(9), **how),
    lambda: list(mrpy.pmap(abs, range(9), **how)),
    lambda: mrpy.stream(range(9), **how).frequencies().to_list(),
    lambda: list(mrpy.mapreduce(lambda x: [(x, 1)], lambda key, values: sum(values), range(9), **how)),
]
def run(number):
    begin.wait()
    answers.append((number, runs[number % 4]()))
threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(answers), all(answer == runs[number % 4]() for number, answer in answers))
"""
    assert printed(script, tmp_path) == ["8 True"]
