"""How often, and when again: the numbers of the scheduler, apart from its mechanism."""

from __future__ import annotations

from mrpy.light import NamedTuple

LONGEST_WAIT = 86_400.0  # seconds asleep at a time, a day: selectors and timers cannot take many more


class Policy(NamedTuple):
    """Budgets and delays. A value: a test or a simulation may bring another.

    ``deaths_of_an_item``  workers that an announced item may take with it before it is blamed: two, since
                           a worker killed from outside hits the same item twice only by malice
    ``deaths_of_a_task``   the same for a task that died without announcing an item
    ``deaths_of_records``  the same for an item that holds records, where they are lost at different ones, as
                           workers are that somebody kills; all of the records are given up then
    ``shortest_rest``      seconds at least for what is no item's, whatever the timeout of each: it may be the
                           machine that is slow, or the way back, and no `on_error` is about that
    ``first_delay``        seconds before the first retry; doubled each time up to ``longest_delay``
    """

    deaths_of_an_item: int = 2
    deaths_of_a_task: int = 3
    deaths_of_records: int = 8
    shortest_rest: float = 5.0
    first_delay: float = 0.05
    longest_delay: float = 10.0

    def rest(self, timeout: float, size: int) -> float:
        """Seconds for what is nobody's in particular: it may take as long as all items together."""
        return max(self.shortest_rest, timeout * max(1, size))

    def back_off(self, failures: int, number: int) -> float:
        """Seconds to wait after this many failures, spread by up to a quarter so that tasks that failed
        together do not come back together. The spread comes from the task's number: replay needs it."""
        delay = min(self.longest_delay, self.first_delay * 2.0 ** min(failures - 1, 20))
        return delay * (1.0 + 0.25 * ((number * 0.6180339887) % 1.0))


DEFAULT = Policy()
