"""Processors and memory, as far as the groups of Linux let this process have them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest
from faults.watching import run_script

import mrpy
from mrpy import machine
from mrpy.mapreduce import spill
from mrpy.options import resolve

FREE = 1 << 40


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the groups of a process are that is in none yet, on a machine of 64 processors and a TiB."""
    monkeypatch.setattr(machine, "MEMBERSHIP", str(tmp_path / "membership"))
    monkeypatch.setattr(machine, "GROUPS", str(tmp_path / "groups"))
    monkeypatch.setattr(machine, "granted_processors", machine.granted_processors.__wrapped__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(os, "process_cpu_count", lambda: 64, raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": FREE}))
    (tmp_path / "membership").touch()
    return tmp_path / "groups"


def put(folder: Path, membership: str, files: dict[str, Any]) -> None:
    (folder.parent / "membership").write_text(membership)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")


VERSION_1 = "9:name=systemd:/\n4:memory:/docker/ab\n1:cpu,cpuacct:/docker/ab\n0::/\n"


@pytest.mark.parametrize(
    ("membership", "files", "count"),
    [
        ("", {}, 64),
        ("0::/\n", {}, 64),
        ("0::/job\n", {"job/cpu.max": "max 100000"}, 64),
        ("0::/job\n", {"job/cpu.max": "250000 100000"}, 3),
        ("0::/job\n", {"job/cpu.max": "10000 100000"}, 1),
        ("0::/job\n", {"job/cpu.max": "9900000 100000"}, 64),
        ("0::/outer/job\n", {"outer/cpu.max": "200000 100000", "outer/job/cpu.max": "max 100000"}, 2),
        ("0::/outer/job\n", {"outer/cpu.max": "200000 100000", "outer/job/cpu.max": "100000 100000"}, 1),
        ("0::/../../job\n", {"cpu.max": "400000 100000"}, 4),
        ("0::/b\u00fccher\u2028\n", {"b\u00fccher\u2028/cpu.max": "400000 100000"}, 4),
        (VERSION_1, {"cpu/docker/ab/cpu.cfs_quota_us": -1, "cpu/docker/ab/cpu.cfs_period_us": 100000}, 64),
        (VERSION_1, {"cpu/docker/ab/cpu.cfs_quota_us": 150000, "cpu/docker/ab/cpu.cfs_period_us": 100000}, 2),
        (VERSION_1, {"cpu/cpu.cfs_quota_us": 500000, "cpu/cpu.cfs_period_us": 100000}, 5),
    ],
    ids=range(13),
)
def test_there_are_as_many_workers_as_the_groups_grant_processors(
    groups: Path, membership: str, files: dict[str, Any], count: int
) -> None:
    put(groups, membership, files)
    assert machine.cpu_count() == count
    assert resolve({}).worker_count == count


@pytest.mark.parametrize(
    ("membership", "files", "free"),
    [
        ("", {}, FREE),
        ("0::/job\n", {"job/memory.max": "max", "job/memory.high": "max"}, FREE),
        ("0::/job\n", {"job/memory.max": 1 << 50, "job/memory.current": 0}, FREE),
        ("0::/job\n", {"job/memory.max": 4000, "job/memory.current": 1000}, 3000),
        ("0::/job\n", {"job/memory.max": 4000, "job/memory.high": 3000, "job/memory.current": 1000}, 2000),
        (
            "0::/outer/job\n",
            {
                "outer/memory.max": 5000, "outer/memory.current": 3000, "outer/job/memory.max": "max",
                "outer/memory.stat": "anon 2300\ninactive_file 700",
            },
            2700,
        ),
        ("0::/job\n", {"job/memory.max": 4000, "job/memory.current": 4100}, 0),
        (
            VERSION_1,
            {
                "memory/docker/ab/memory.limit_in_bytes": 9000, "memory/memory.limit_in_bytes": (1 << 63) - 4096,
                "memory/docker/ab/memory.usage_in_bytes": 5000,
                "memory/docker/ab/memory.stat": "inactive_file 1\ntotal_inactive_file 2000",
            },
            6000,
        ),
    ],
    ids=range(8),
)  # fmt: skip
def test_memory_that_is_free_is_what_the_groups_leave(
    groups: Path, membership: str, files: dict[str, Any], free: int
) -> None:
    put(groups, membership, files)
    assert machine.free_memory() == free
    assert spill.allowed(resolve({})) == max(spill.LEAST, free // spill.FREE)
    assert spill.allowed(resolve({"memory": 77})) == 77


@pytest.mark.parametrize("text", ["", "what\nis this", "1:2", "0::/a:b\n\n"])
def test_what_cannot_be_read_is_no_limit(groups: Path, text: str) -> None:
    put(groups, text, {"cpu.max": "some words more", "memory.max": "", "a:b/memory.max": "what"})
    assert machine.cpu_count() == 64
    assert machine.free_memory() == FREE


def test_a_limit_of_the_process_counts() -> None:
    done = run_script("""
        import resource
        from mrpy.machine import free_memory
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        print(free_memory() <= 1 << 30)
    """)
    assert done.stdout.split() == ["True"], done.stderr


def test_here_there_are_some() -> None:
    assert 1 <= machine.cpu_count() <= (os.cpu_count() or 1)
    assert 0 < machine.free_memory() <= psutil.virtual_memory().total
    assert list(mrpy.pmap(abs, range(3))) == [0, 1, 2]
