"""What `import mrpy` costs above bare Python. The bar is 30 ms.

Both are timed as whole processes, in turns, so that other work on the machine hits both alike; medians, since
one slow start says nothing. Bytecode is kept, as it is after any installation. Exits with 1 where the bar is
missed.

    python benchmarks/import_time.py [RUNS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

BAR = 30.0  # milliseconds
RUNS = 15
PROGRAMS = {"bare Python": "pass", "import mrpy": "import mrpy"}
ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def milliseconds(program: str) -> float:
    """How long a process that runs this takes, from its start to its end."""
    began = perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=ENVIRONMENT)
    return 1000 * (perf_counter() - began)


def measured(runs: int) -> dict[str, list[float]]:
    """The times of both programs, run in turns. The first round pays for caches and is dropped."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for turn in range(runs + 1):
        for name, program in PROGRAMS.items():
            time = milliseconds(program)
            if turn:
                times[name].append(time)
    return times


def main(runs: int = RUNS) -> int:
    """Measure, print, judge."""
    times = measured(runs)
    print(f"{runs} runs each, in turns; milliseconds per process\n")
    print(f"{'':14}{'median':>10}{'least':>10}{'most':>10}")
    for name, each in times.items():
        print(f"{name:14}{statistics.median(each):10.1f}{min(each):10.1f}{max(each):10.1f}")
    bare, loaded = (statistics.median(each) for each in times.values())
    extra = loaded - bare
    print(f"\nratio {loaded / bare:.2f}; {extra:.1f} ms above bare Python; the bar is {BAR:.0f} ms: ", end="")
    print("kept" if extra <= BAR else "MISSED")
    return 0 if extra <= BAR else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
