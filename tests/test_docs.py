"""The pages say what is so: the README runs, doctests hold, links lead somewhere, tables agree with the code."""

from __future__ import annotations

import ast
import builtins
import doctest
import importlib
import inspect
import keyword
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

import mrpy
from mrpy.options import BACKENDS, Options
from mrpy.scheduler.states import TABLE

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mrpy"
ROOMS = [PACKAGE / name for name in ("scheduler", "mapreduce", "iterators")]
IGNORED = {".venv", ".git", "node_modules", "build", "dist", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
PAGES = sorted(
    page for page in ROOT.rglob("*.md") if not IGNORED.intersection(page.relative_to(ROOT).parts)
)
MODULES = [found.name for found in pkgutil.walk_packages([str(PACKAGE)], "mrpy.") if not found.name.endswith("__main__")]
DEADLINE = 180  # seconds; the tour takes about ten, of which Dask takes most


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# ---- what runs -----------------------------------------------------------------------------------


def test_the_readme_runs_as_one_script_and_prints_what_its_comments_say(tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"^```python\n(.*?)^```", text_of("README.md"), re.DOTALL | re.MULTILINE))
    file = tmp_path / "tour.py"
    file.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", script, re.MULTILINE)
    assert len(expected) == len(re.findall(r"^ *print\(", script, re.MULTILINE)), "a print without its comment"
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("name", ["mrpy", *MODULES])
def test_the_examples_in_docstrings_hold(name: str) -> None:
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    report: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


# ---- what exists ---------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if heading:
            assert heading in headings(file), f"{page.name} links to {target}"


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def headings(file: Path) -> set[str]:
    lines = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_the_page_of_a_room_names_every_file_in_it_and_no_other(room: Path) -> None:
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", (room / "README.md").read_text(encoding="utf-8")))
    there = {
        file.relative_to(room).as_posix() for file in room.rglob("*.py") if file.name != "__init__.py"
    }
    assert named - there == set(), "named, and not there"
    assert there - named == set(), "there, and not named"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_the_package_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"`(mrpy/[\w/]+(?:\.py|/))`", page.read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


MAPS = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *(room / "README.md" for room in ROOMS)]
ELSEWHERE = set("click memfd posix_spawn rich sitecustomize PYTHONHASHSEED SimpleQueue xs".split())  # in these pages, and not ours
each_map = pytest.mark.parametrize("page", MAPS, ids=lambda page: str(page.relative_to(ROOT)))
Named = dict[str, set[str]]


@cache
def definitions() -> tuple[Named, Named, set[str]]:
    """What each file defines, what each class has, and all names of the package, those of arguments too."""
    files: Named = {}
    classes: Named = {}
    everything = {*sys.stdlib_module_names, *dir(builtins), *keyword.kwlist, *ELSEWHERE}
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        nodes = list(ast.walk(tree))
        everything |= {file.stem, *stored(nodes), *(node.arg for node in nodes if isinstance(node, ast.arg))}
        files[str(file.relative_to(PACKAGE.parent))] = defined(nodes) | stored(
            inner for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) for inner in ast.walk(node)
        )
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                inside = list(ast.walk(node))
                classes.setdefault(node.name, set()).update(defined(inside) | stored(inside))
    return files, classes, everything.union(*files.values())


def defined(nodes: Iterable[ast.AST]) -> set[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in nodes if isinstance(node, kinds)}


def stored(nodes: Iterable[ast.AST]) -> set[str]:
    """Names and attributes that something is assigned to."""
    targets = [node for node in nodes if isinstance(getattr(node, "ctx", None), ast.Store)]
    return {name for node in targets for name in (getattr(node, "id", ""), getattr(node, "attr", "")) if name}


@each_map
def test_what_a_page_says_is_in_a_file_is_defined_there(page: Path) -> None:
    files, _, _ = definitions()
    said = re.findall(r"`([\w.]+)`,?\s+in\s+`([\w/]+\.py)`", page.read_text(encoding="utf-8"))
    assert said or page.name != "ARCHITECTURE.md"
    for name, path in said:
        [there] = [names for file, names in files.items() if file in (path, f"mrpy/{page.parent.name}/{path}")]
        assert name.split(".")[-1] in there, f"{name} is not in {path}"


@each_map
def test_what_a_page_says_a_class_has_is_there(page: Path) -> None:
    _, classes, _ = definitions()
    for owner, name in re.findall(r"`([A-Z]\w+)\.(\w+)`", page.read_text(encoding="utf-8")):
        assert name in classes.get(owner, ()), f"{owner}.{name}"


@each_map
def test_a_name_on_a_page_is_one_of_the_package(page: Path) -> None:
    named = set(re.findall(r"`([A-Za-z_]\w*)`", page.read_text(encoding="utf-8")))
    assert named - definitions()[2] == set()


@pytest.mark.parametrize("name", sorted(set(mrpy.__all__) - {"__version__"}))
def test_a_public_name_has_a_docstring(name: str) -> None:
    assert inspect.getdoc(getattr(mrpy, name))


@pytest.mark.parametrize("name", ["mrpy", *MODULES])
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert importlib.import_module(name).__doc__


def test_nobody_is_told_to_install_mrpy_from_a_package_index() -> None:
    """There the name is another project's."""
    texts = [*PAGES, *(file for folder in ("mrpy", "examples", "tutorials", "benchmarks") for file in (ROOT / folder).rglob("*.py"))]
    told = re.compile(r"\bmrpy\[[a-z]+\]['`]|pip install [^`]*\bmrpy\b")
    found = [(text.name, line) for text in texts for line in text.read_text(encoding="utf-8").splitlines() if told.search(line)]
    assert found == []


# ---- what agrees ---------------------------------------------------------------------------------


def test_the_readme_lists_all_options_with_their_defaults_and_all_backends() -> None:
    page = text_of("README.md")
    defaults = {name: getattr(Options(), name) for name in Options.__match_args__}
    for name, default in defaults.items():
        row = re.search(rf"^\| `{name}` \| ([^|]*) \|", page, re.MULTILINE)
        assert row, f"no row for {name}"
        if name != "workers":
            shown = f'"{default}"' if isinstance(default, str) else str(default)
            assert row[1] == f"`{shown}`"
    assert set(re.findall(r"^\| `\"(\w+)\"` \|", page, re.MULTILINE)) == set(BACKENDS)


def test_the_table_of_moves_in_the_architecture_page_is_the_law() -> None:
    rows = re.findall(r"^\| ([A-Z]+) \| ([A-Z]+) \| ([A-Z]+) \|", text_of("ARCHITECTURE.md"), re.MULTILINE)
    assert {(old, move): new for old, move, new in rows} == {
        (old.name, move.name): new.name for (old, move), new in TABLE.items()
    }


def the_walk() -> list[str]:
    page = text_of("ARCHITECTURE.md")
    walk = page[page.index("## A walk through the pipe") :]
    steps = re.findall(r"^\d+\. ((?:`mrpy/[\w/]+\.py`(?:, )?)+)", walk, re.MULTILINE)
    return [name for step in steps for name in re.findall(r"`(.*?)`", step)]


def test_the_walk_names_each_file_once() -> None:
    assert len(the_walk()) == len(set(the_walk())) > 20


# Which files of mrpy a run enters, as the interpreter sees it: in the parent's threads, and in the worker.
TRACED = '''
import sys, threading

HERE = {package!r}
entered = set()

def seen(frame, event, arg):
    name = frame.f_code.co_filename
    if event == "call" and name.startswith(HERE) and frame.f_code.co_name != "<module>":
        entered.add(name[len(HERE):])

import mrpy
import mrpy.api, mrpy.iterators.order, mrpy.scheduler.backends.processes  # not the importing is watched

def f(x):
    def files(frame):
        while frame is not None:
            yield frame.f_code.co_filename
            frame = frame.f_back
    return x, [name[len(HERE):] for name in files(sys._getframe()) if name.startswith(HERE)]

def ok(x):
    return x % 2

xs = list(range(4))
threading.setprofile(seen)
sys.setprofile(seen)
rows = list(mrpy.parallel(f(x) for x in xs if ok(x)))
sys.setprofile(None)
threading.setprofile(None)
entered.update(*[files for _, files in rows])
print("\\n".join(sorted("mrpy/" + name for name in entered)))
'''


def test_the_walk_names_every_file_that_a_run_enters(tmp_path: Path) -> None:
    file = tmp_path / "walk.py"
    file.write_text(TRACED.format(package=f"{Path(mrpy.__file__).parent}/"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    entered = set(done.stdout.split())
    assert entered - set(the_walk()) == set(), "entered, and not in the walk"
    plain_data = {"mrpy/mapreduce/chunks.py", "mrpy/scheduler/messages.py", "mrpy/mapreduce/checkpoint.py"}
    around_f = {"mrpy/scheduler/backends/relay.py", "mrpy/scheduler/rests.py"}  # in the worker, before and after `f`, which looks for us
    assert set(the_walk()) - entered <= plain_data | around_f, "in the walk, and not entered"
