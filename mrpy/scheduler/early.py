"""The first worker of a script, started before most of mrpy is imported.

To run something takes twenty modules more than to plan it, and a worker takes as long to boot as these take
to be imported. So the first run of a process starts its first worker here, and both happen at the same time.
Only one: how many there is work for is seen later. A process that has run something, or opened a session,
has all of this behind it.
"""

from __future__ import annotations

import sys

from mrpy.inside import inside
from mrpy.light import TYPE_CHECKING

if TYPE_CHECKING:
    from mrpy.options import Options


def start_first_worker(options: Options) -> None:
    """To be called where something is about to run with these options."""
    if "mrpy.scheduler.session" in sys.modules or inside.task or options.backend != "processes":
        return
    from mrpy.scheduler.backends import spawn

    spawn.ahead(options.threads_per_worker)
