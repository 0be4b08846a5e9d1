"""The command ``mrpy``: a user of the library like any other. It calls the public verbs; what else it
takes is said in ARCHITECTURE.md.

This file is light, because workers pass through it on their way to ``words.py``.
"""

from __future__ import annotations

import sys

from mrpy.scheduler import unraisable

INTERRUPTED = 130  # what shells expect of a program that was ended by Ctrl-C


def main() -> None:
    """Run the command line of this process, and end the process."""
    try:
        unraisable.hear_of()
        from mrpy.cli import endings

        endings.take_as_ctrl_c()
        from mrpy.cli.commands import run  # click and rich: not for workers

        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = INTERRUPTED
    exec("")  # after a Ctrl-C amid a string that was run, `-m` would end by the signal until another is run
    sys.exit(status)
