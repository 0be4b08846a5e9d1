"""Row 39: functions are found and the main module is not run again, wherever it comes from."""

from __future__ import annotations

import importlib.util
import operator
import subprocess
import sys
import sysconfig
import types
import venv
import zipapp
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watching import run_script, script_environment

import mrpy
from mrpy.scheduler.importable import is_found

pytestmark = pytest.mark.fault(39)

# No guard, a side effect, and one of everything that a main module may define.
MAIN = """
import functools, mrpy, operator, os
with open(os.environ["RUNS"], "a") as file:
    file.write("run\\n")

FACTOR = 3
class Point:
    def __init__(self, x): self.x = x
    def __add__(self, other): return Point(self.x + other.x)
class Wrong(Exception): pass
def triple(x): return FACTOR * x
def point(x): return Point(triple(x))
def wrong(x): raise Wrong(x)
@functools.cache
def cached(x): return triple(x) + 1
@mrpy.stage
def doubled(items):
    for item in items:
        yield 2 * triple(item)

mrpy.configure(workers=2)
def show(*values): print(*values, sep=", ")
show(list(mrpy.pmap(triple, range(4), chunksize=1)), list(mrpy.parallel(triple(x) for x in range(3))))
show(mrpy.preduce(operator.add, map(point, range(4))).x, list(mrpy.pmap(cached, [1])), list(doubled([1, 2])))
show(isinstance(mrpy.submit(point, 1).result(), Point), sorted(mrpy.mapreduce(lambda x: (x % 2, x), lambda k, v: sum(v), range(4))))
show([type(error) is Wrong for error in mrpy.pmap(wrong, [1], on_error="return")])
"""  # noqa: E501
SAID = """[0, 3, 6, 9], [0, 3, 6]
18, [4], [6, 12]
True, [(0, 2), (1, 4)]
[True]
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the main module notes that it is run."""
    file = tmp_path / "runs"
    monkeypatch.setenv("RUNS", str(file))
    return file


def assert_said(done: subprocess.CompletedProcess[str], runs: Path) -> None:
    assert (done.stderr, done.stdout, done.returncode) == ("", SAID, 0)
    assert runs.read_text() == "run\n", "a worker ran the main module"


def a_file(folder: Path) -> list[str]:
    (folder / "script.py").write_text(MAIN)
    return ["script.py"]


def a_file_without_suffix(folder: Path) -> list[str]:
    (folder / "a script").write_text(MAIN)
    return ["a script"]


def a_module(folder: Path) -> list[str]:
    (folder / "job.py").write_text(MAIN)
    return ["-m", "job"]


def a_package(folder: Path) -> list[str]:
    (folder / "job").mkdir()
    (folder / "job" / "__init__.py").write_text("FACTOR_OF_THE_PACKAGE = 3\n")
    (folder / "job" / "helper.py").write_text("from . import FACTOR_OF_THE_PACKAGE as FACTOR\n")
    main = MAIN.replace("FACTOR = 3\n", "from .helper import FACTOR\n")
    late = "def triple(x):\n    from .helper import FACTOR as late\n    return late * x\n"
    (folder / "job" / "__main__.py").write_text(main.replace("def triple(x): return FACTOR * x\n", late))
    return ["-m", "job"]


def a_folder(folder: Path) -> list[str]:
    (folder / "app").mkdir()
    (folder / "app" / "helper.py").write_text("FACTOR = 3\n")
    (folder / "app" / "__main__.py").write_text(MAIN.replace("FACTOR = 3\n", "from helper import FACTOR\n"))
    return ["app"]


def a_zip(folder: Path) -> list[str]:
    a_folder(folder)
    zipapp.create_archive(folder / "app", folder / "app.pyz")
    return ["app.pyz"]


def an_exec(folder: Path) -> list[str]:
    """As a notebook does it: cell after cell in one namespace, from no file."""
    (folder / "cells").write_text(MAIN)
    code = """
from pathlib import Path
first, second = Path("cells").read_text().split("mrpy.configure")
space = {"__name__": "__main__"}
exec(compile(first, "<cell 1>", "exec"), space)
exec(compile("mrpy.configure" + second, "<cell 2>", "exec"), space)
"""
    return ["-c", code]


def an_exec_without_a_name(folder: Path) -> list[str]:
    (folder / "cells").write_text(MAIN)
    return ["-c", "from pathlib import Path; exec(Path('cells').read_text(), {})"]


def runpy(folder: Path) -> list[str]:
    (folder / "script.py").write_text(MAIN)
    return ["-c", "import runpy; runpy.run_path('script.py', run_name='__main__')"]


def runpy_by_its_own_name(folder: Path) -> list[str]:
    (folder / "script.py").write_text(MAIN)
    return ["-c", "import runpy; runpy.run_path('script.py')"]


def a_plugin(folder: Path) -> list[str]:
    """As the documentation of `importlib` says how to import a file."""
    (folder / "plugins").mkdir()
    (folder / "plugins" / "script.py").write_text(MAIN)
    code = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("plugin", "plugins/script.py")
sys.modules["plugin"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""
    return ["-c", code]


WAYS: list[Callable[[Path], list[str]]] = [
    a_file, a_file_without_suffix, a_module, a_package, a_folder, a_zip, an_exec, an_exec_without_a_name, runpy,
    runpy_by_its_own_name, a_plugin,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_main_module_is_run_once_from(way: Callable[[Path], list[str]], tmp_path: Path, runs: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    assert_said(run_script("", *way(folder), cwd=folder), runs)


@pytest.mark.parametrize("how", ["-c", "stdin"])
def test_a_main_module_without_a_file_is_run_once(how: str, tmp_path: Path, runs: Path) -> None:
    done = run_script("", "-c", MAIN) if how == "-c" else run_script("", "-", input=MAIN)
    assert_said(done, runs)


# The environment tells how deep it is imported, and ends that where workers would start workers without end.
RUNS_AS_IT_IS_IMPORTED = """
import os, mrpy
os.environ["DEEP"] = deep = os.environ.get("DEEP", "") + "|"
assert len(deep) < 3
class Point:
    def __init__(self, x): self.x = x
def x_of(point): return point.x
mrpy.configure(workers=1)
ANSWERS = list(mrpy.pmap(x_of, map(Point, range(3)))), mrpy.submit(x_of, Point(3)).result()
with mrpy.session("processes"):
    ANSWERS += sum(mrpy.pmap(x_of, [Point(4)])),
"""


def test_a_module_may_run_something_as_it_is_imported_also_in_a_worker(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(RUNS_AS_IT_IS_IMPORTED)
    done = run_script("import job; print(*job.ANSWERS)", cwd=tmp_path)
    assert (done.stderr, done.stdout) == ("", "[0, 1, 2] 3 4\n")


def test_what_a_module_in_a_zip_defines_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS", "/dev/null")
    definitions, run = MAIN.split("mrpy.configure")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "inside.py").write_text(definitions)
    (tmp_path / "app" / "__main__.py").write_text(f"from inside import *\nmrpy.configure{run}")
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    done = run_script("", "app.pyz", cwd=tmp_path)
    assert (done.stderr, done.stdout) == ("", SAID)


def test_a_module_that_is_made_by_hand_goes_by_value_and_what_can_be_imported_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = types.ModuleType("made_by_hand")
    exec("class Point: x = 3\ndef x_of(point): return point.x", made.__dict__)
    monkeypatch.setitem(sys.modules, "made_by_hand", made)
    with mrpy.session("processes", workers=1):
        assert list(mrpy.pmap(made.x_of, [made.Point()])) == [3]
        assert mrpy.submit(lambda: made.x_of(made.Point)).result() == 3
        [point] = mrpy.pmap(lambda _: made.Point(), [0])
    assert type(point) is made.Point
    assert not is_found("made_by_hand.inner")
    for name in ("sys", "zipimport", "os.path", "_frozen_importlib", "numpy.linalg", "mrpy", __name__):
        assert is_found(name), name


def test_objects_of_a_module_that_is_made_by_hand_go_by_value_whatever_is_done_to_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = "class Point:\n    def __init__(self, x): self.x = x\n    def __add__(self, other): return Point(self.x + other.x)"
    by_hand = types.ModuleType("made_by_hand_as_well")
    exec(source, by_hand.__dict__)
    (tmp_path / "any.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.spec_from_file_location("by_another_name", tmp_path / "any.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    with mrpy.session("processes", workers=1):
        mrpy.submit(abs, 1).result()
        for module in (by_hand, loaded):
            monkeypatch.setitem(sys.modules, module.__name__, module)
            total = mrpy.preduce(operator.add, map(module.Point, range(4)))
            assert type(total) is module.Point and total.x == 6


def test_a_script_that_goes_elsewhere_first_still_finds_what_lies_beside_it(tmp_path: Path, runs: Path) -> None:
    for way in (a_folder, a_zip):
        folder = tmp_path / way.__name__
        folder.mkdir()
        [name] = way(folder)
        moved = MAIN.replace("FACTOR = 3\n", "from helper import FACTOR, triple\nos.chdir('/')\n")
        (folder / "app" / "helper.py").write_text("FACTOR = 3\ndef triple(x): return 3 * x\n")
        moved = moved.replace("def triple(x): return FACTOR * x\n", "")
        (folder / "app" / "__main__.py").write_text(moved)
        if way is a_zip:
            zipapp.create_archive(folder / "app", folder / "app.pyz")
        runs.unlink(missing_ok=True)
        assert_said(run_script("", name, cwd=folder), runs)


# ---- an editable install ---------------------------------------------------------------------------------

FINDER = """
import sys
from importlib.util import spec_from_file_location
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return spec_from_file_location(name, {where!r}) if name == "edited" else None
def install():
    sys.meta_path.append(Finder)
"""


@pytest.mark.parametrize("kind", ["a path", "a finder"])
def test_what_is_installed_in_place_is_found(kind: str, tmp_path: Path, runs: Path) -> None:
    """The two ways in which installers do it: a line with a path, and a line that installs an import hook."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "edited.py").write_text("FACTOR = 3\ndef triple(x): return FACTOR * x\nclass Wrong(Exception): pass\n")
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    [site] = (tmp_path / "env").glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if kind == "a path":
        (site / "edited.pth").write_text(f"{sources}\n")
    else:
        (site / "edited_finder.py").write_text(FINDER.format(where=str(sources / "edited.py")))
        (site / "edited.pth").write_text("import edited_finder; edited_finder.install()\n")
    main = MAIN.replace("FACTOR = 3\n", "from edited import Wrong, triple\n")
    main = main.replace("class Wrong(Exception): pass\n", "").replace("def triple(x): return FACTOR * x\n", "")
    (tmp_path / "script.py").write_text(main)
    assert_said(in_venv(tmp_path, "script.py"), runs)


def in_venv(folder: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    python = folder / "env" / "bin" / "python"
    assert sys.executable != str(python)
    return subprocess.run(
        [str(python), *arguments], cwd=folder, env=script_environment(), capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip


GUARDED = """
import multiprocessing, mrpy, sys

class Point:
    def __init__(self, x): self.x = x

def double(x): return 2 * x

def within_a_child(_):
    made = list(mrpy.pmap(Point, range(3), workers=1))
    total = mrpy.preduce(lambda a, b: Point(a.x + b.x), made, workers=1)
    counts = dict(mrpy.stream(range(4), workers=1).count_by(lambda n: double(n) % 4))
    return [p.x for p in made], type(total) is Point, total.x, mrpy.submit(double, 2).result(), counts

if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.map(within_a_child, [0]))
"""


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_has_its_main_module_under_another_name(how: str, tmp_path: Path) -> None:
    script = tmp_path / "guarded.py"
    script.write_text(GUARDED)
    done = run_script("", str(script), how)
    assert (done.stdout, done.stderr) == ("[([0, 1, 2], True, 3, 4, {0: 2, 2: 2})]\n", "")


@pytest.mark.parametrize("how", ["spec", "path"])
def test_a_module_whose_name_another_file_on_the_path_has_goes_by_value(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other, name = tmp_path / "mine", tmp_path / "other", f"twice_there_{how}"
    for folder in (mine, other):
        folder.mkdir()
        (folder / f"{name}.py").write_text(f"class Of:\n    def where(self): return {folder.name!r}\ndef f(x): return {folder.name!r}\ndef of(x): return Of\n")
    monkeypatch.syspath_prepend(other)
    if how == "spec":
        spec = importlib.util.spec_from_file_location(name, mine / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    else:
        monkeypatch.syspath_prepend(mine)
        module = importlib.import_module(name)
        sys.path.remove(str(mine))
    if how == "path":
        sys.path.append(str(mine))  # but the other comes first
    with mrpy.session("processes", workers=1):
        assert list(mrpy.pmap(operator.methodcaller("where"), [module.Of()])) == ["mine"]
        assert list(mrpy.pmap(module.f, [1])) == ["mine"] == [mrpy.submit(lambda: module.f(1)).result()]
        assert list(mrpy.pmap(module.of, [1])) == [module.Of]
    sys.modules.pop(name)


@pytest.mark.parametrize("entry", ["", "lib"])
def test_a_module_is_found_after_the_folder_has_changed(entry: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / entry / "beside_it.py").write_text("def f(x): return x + 1\n")
    done = run_script(
        """
        import os, sys
        sys.path[0] = {entry!r}  # as in a notebook
        import beside_it, mrpy
        for _ in range(2):
            for workers in (1, 2):
                print(list(mrpy.pmap(beside_it.f, range(3), workers=workers, chunksize=1)))
            os.chdir("out") if _ == 0 else None
        """.format(entry=entry),
        cwd=tmp_path,
    )
    assert (done.stderr, done.stdout) == ("", "[1, 2, 3]\n" * 4)


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_a_module_that_workers_cannot_import_says_that_no_item_has_raised_its_error(
    backend: str, tmp_path: Path
) -> None:
    (tmp_path / "needs_more.py").write_text(
        "import sys\nif not hasattr(sys, 'is_set_up'):\n    raise RuntimeError('not set up')\ndef work(n): return n\n",
        encoding="utf-8",
    )
    done = run_script(
        f"""
        import sys
        sys.is_set_up = True
        import mrpy, needs_more
        try:
            list(mrpy.pmap(needs_more.work, range(3), backend={backend!r}, workers=1))
        except RuntimeError as error:
            print(error, error.__notes__)
        """,
        cwd=tmp_path,
    )
    note = "mrpy: raised as a worker opened the function, and imported what that needs"
    assert done.stdout == f"not set up {[note]}\n", done.stderr
