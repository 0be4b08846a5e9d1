"""Programs that are frozen (PyInstaller, cx_Freeze): there is no interpreter beside them to be a worker. So a
worker is the program once more, which turns off here as it imports mrpy: what stands before that import in
its main script runs again, and nothing else of it.
"""

from __future__ import annotations

import sys

WORKER = "--mrpy-worker"  # its first argument; the second is what a worker is told


def is_frozen() -> bool:
    """Whether this program is."""
    return bool(getattr(sys, "frozen", False))


def serve_if_worker() -> None:
    """Become a worker, and do not return, if this was started as one."""
    if sys.argv[1:2] == [WORKER]:
        from ast import literal_eval

        from mrpy.scheduler.backends.worker_main import main

        main(*literal_eval(sys.argv[2]))
