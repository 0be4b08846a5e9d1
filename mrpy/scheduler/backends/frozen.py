"""Programs that are frozen (PyInstaller, cx_Freeze): there is no interpreter beside them to be a worker. So a
worker is the program once more, which turns off here as it imports mrpy: what stands before that import in
its main script runs again, and nothing else of it. How it knows is in the environment, since a program may
take its arguments apart before.
"""

from __future__ import annotations

import os
import sys

WORKER = "MRPY_WORKER"  # the variable: what a worker is told


def is_python(program: str) -> bool:
    """Whether a program is an interpreter, and not one that embeds it, by its name."""
    return os.path.basename(program).lower().startswith(("python", "pypy"))


def is_frozen() -> bool:
    """Whether this program is. Some that are bring an interpreter along (py2app)."""
    return bool(getattr(sys, "frozen", False)) and (hasattr(sys, "_MEIPASS") or not is_python(sys.executable))


def serve_if_worker() -> None:
    """Become a worker, and do not return, if this was started as one."""
    told = os.environ.pop(WORKER, "")  # what a task starts is none
    if told and is_frozen():
        from _thread import get_ident
        from ast import literal_eval
        from threading import main_thread

        from mrpy.scheduler.backends.worker_main import main

        if get_ident() != main_thread().ident:  # it is deep in the program, which is not to run again
            os._exit(1)
        main(*literal_eval(told))
