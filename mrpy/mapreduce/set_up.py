"""What a set-up sets besides what it makes: decimal's context, NumPy's error state, context variables.

It is run once per worker, amid a task, in the context of that. Other tasks of its run have others.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context

from mrpy.inside import Place, inside
from mrpy.light import Any
from mrpy.mapreduce.random import of_no_item

_CHANGED_IN_PLACE = "decimal_context"  # the name of the variable of `decimal`


class SetUp:
    """A set-up that was run. ``made``: what it returned."""

    def __init__(self, run: Callable[[], Any]) -> None:
        before = copy_context()
        with of_no_item():
            self.made = run()
        self._set: list[tuple[ContextVar[Any], Any]] = []
        if inside.place is not Place.HERE:  # else all is in the user's own context
            self._set += (
                (variable, value)
                for variable, value in copy_context().items()
                if before.get(variable, self) is not value or variable.name == _CHANGED_IN_PLACE
            )

    def carry(self) -> None:
        """Have what it has set in this context, too."""
        for variable, value in self._set:
            variable.set(value)
