"""Tests of the suite, at greater length: interrupts at many more moments, five times the examples.

    python tests/soak/soak_thorough.py [PYTEST ARGUMENTS]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
GRIDS = [
    "faults/test_signals.py", "faults/test_writing.py", "test_oracle.py", "test_grouping.py", "test_sinks.py",
    "test_chain.py", "test_batches.py", "test_repartition.py", "test_window.py",
]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run them; the status of pytest."""
    tests = [str(TESTS / name) for name in GRIDS]
    command = [sys.executable, "-m", "pytest", "-q", "-o", "faulthandler_timeout=900", *tests, *arguments]
    return subprocess.run(command, env={**os.environ, "THOROUGH": "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
