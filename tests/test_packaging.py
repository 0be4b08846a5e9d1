"""A wheel, installed elsewhere, works."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import mrpy

ROOT = Path(__file__).parent.parent
PROGRAM = """
import mrpy
print(mrpy.__file__)
print(sum(mrpy.parallel(n * n for n in range(100))))
print(mrpy.preduce(lambda a, b: a + b, range(10)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tracked files, so that nothing left in the checkout gets in."""
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    source.mkdir()
    for name in ("mrpy", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_types_marker_and_the_pages_of_the_rooms(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("py.typed", "scheduler/README.md", "mapreduce/README.md", "iterators/README.md", "cli/__init__.py"):
        assert f"mrpy/{name}" in names
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks"))]
    assert any(name.endswith("LICENSE") for name in names)


def test_the_wheel_says_the_version_that_the_code_says(wheel: Path) -> None:
    assert wheel.name.startswith(f"mrpy-{mrpy.__version__}-py3-none-any")


def test_an_installed_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=120)
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # what mrpy depends on is borrowed from the environment that runs the tests, behind the installed wheel
    site = next((environment / "lib").glob("python*")) / "site-packages"
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ran = subprocess.run(
        [str(python), str(program)], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    where, squares, total = ran.stdout.split()
    assert Path(where).is_relative_to(environment)
    assert (squares, total) == ("328350", "45")
    version = subprocess.run(
        [str(environment / "bin" / "mrpy"), "--version"], env=clean, capture_output=True, text=True, timeout=60, check=False
    )
    assert mrpy.__version__ in version.stdout
