"""Whether this thread runs a task just now. The lowest room of all: everyone may look."""

from __future__ import annotations

import threading


class _Inside(threading.local):
    """``task``: a task runs in this thread. ``own_thread``: and it is the user's own (a serial backend)."""

    task = False
    own_thread = False


inside = _Inside()
