"""What the command prints: the top words, and the times side by side."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

NAMED = 3  # files that were passed over
WIDE, MEDIUM = 60, 36  # columns of the terminal below which a column of the table is left out


class Printer(Console):
    """A console that leaves it to the command what to do when nobody reads on."""

    def on_broken_pipe(self) -> None:
        """Raise what was raised: `rich` would end the program."""
        raise


def show_top(console: Console, counts: Mapping[str, int], top: int, title: str) -> None:
    """The most frequent words as a table; words of the same count by the alphabet."""
    rows = heapq.nsmallest(top, counts.items(), key=lambda pair: (-pair[1], pair[0]))
    whole = sum(counts.values())
    console.print(title, style="bold")
    table = Table(header_style="bold")
    table.add_column("", justify="right", style="dim", no_wrap=True)
    table.add_column("word", style="bold cyan", overflow="ellipsis", no_wrap=True, min_width=4)
    table.add_column("count", justify="right", no_wrap=True)
    share, bars = console.width >= MEDIUM, console.width >= WIDE
    if share:
        table.add_column("share", justify="right", no_wrap=True)
    if bars:
        table.add_column("", no_wrap=True)
    for place, (word, count) in enumerate(rows, 1):
        row: list[str | ProgressBar] = [str(place), word, f"{count:,}"]
        if share:
            row.append(f"{count / whole:.2%}")
        if bars:
            row.append(ProgressBar(total=rows[0][1], completed=count, width=16))
        table.add_row(*row)
    console.print(table)


def show_times(console: Console, workers: int, parallel: float, plain: float, equal: bool) -> None:
    """The time of the parallel run beside that of the plain loop."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right", style="bold", no_wrap=True)
    table.add_row(f"mrpy, {workers_text(workers)}, their start included", seconds(parallel))
    table.add_row("plain loop in one process", seconds(plain))
    table.add_row("speed-up", f"{plain / parallel:.2f} x")
    console.print(table)
    console.print("results equal:", "[green]yes[/]" if equal else "[bold red]NO[/]")


def show_passed_over(console: Console, number: int, files: Sequence[str] = ()) -> None:
    """How many files in directories were not read, and the first of them."""
    named = ", ".join(map(repr, files[:NAMED])) + (", ..." if len(files) > NAMED else "")
    text = f"files found that are not text, and were passed over: {number:,}"
    console.print(text + (f" ({named})" if named else ""), style="dim", markup=False, soft_wrap=bool(named))


def show_counters(console: Console, counters: Mapping[str, int]) -> None:
    """What a job has counted, by name."""
    for name in sorted(counters, key=str):
        console.print(f"{name}: {counters[name]:,}", markup=False)


def seconds(value: float) -> str:
    """A time.

    >>> seconds(2.5)
    '2.50 s'
    """
    return f"{value:.2f} s"


def workers_text(count: int) -> str:
    """So many workers.

    >>> workers_text(1), workers_text(2)
    ('1 worker', '2 workers')
    """
    return f"{count:,} worker{'' if count == 1 else 's'}"
