"""The commands and their options, and what becomes of errors: one line, and a status that is not zero."""

from __future__ import annotations

import contextlib
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

import click

import mrpy
from mrpy.cli import INTERRUPTED
from mrpy.cli.corpus import NoInput, batches_of, files_of, lines_of
from mrpy.cli.jobs import BrokenModule, NoJob, job_of, output, write
from mrpy.cli.report import Printer, show_counters, show_passed_over, show_times, show_top
from mrpy.cli.words import SKIPPED, CountWords, total
from mrpy.errors import DataError, MrpyError, OptionError, item_of
from mrpy.mapreduce.files.blocks import Block
from mrpy.mapreduce.files.found import File
from mrpy.mapreduce.files.lines import OnlyText, lines_for
from mrpy.mapreduce.groups import key_said

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

CACHEABLE = 2**30  # bytes of input that the operating system is sure to keep in memory
READ = 2**20  # bytes

_TRACEBACK = "mrpy.cli.traceback"

_MAX_ERRORS = re.compile(r"max_errors=(\d+) is for on_error='skip' only.*")
_OF_FLAGS = r"--max-errors \1 is for --on-error skip only"


def run(arguments: Sequence[str]) -> int:
    """Run a command line; return the exit status."""
    for stream in (sys.stdout, sys.stderr):  # a word or a file name that the terminal cannot show is no error
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return int(group.main(list(arguments), prog_name="mrpy", standalone_mode=False) or 0)
    except click.Abort:  # what click makes of a Ctrl-C that comes in its own code
        return INTERRUPTED
    except click.ClickException as error:
        click.echo(f"mrpy: {_one_line(error.format_message())}", err=True)
        return error.exit_code


def _one_line(text: str) -> str:
    return " ".join(text.split())


class _Formatter(click.HelpFormatter):
    """Help in two colours; click takes them out where the output is no terminal."""

    def write_heading(self, heading: str) -> None:
        super().write_heading(click.style(heading, bold=True))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(click.style(term, fg="cyan"), text) for term, text in rows], col_max, col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


class _Command(click.Command):
    context_class = _Context


class _Group(click.Group):
    """Turns what went wrong into something to say in one line."""

    context_class = _Context
    command_class = _Command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            return ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except BaseException as error:  # also a `sys.exit()` of the job: it has failed
            if not ctx.meta.get(_TRACEBACK):
                _explain(error)
            if not isinstance(error, SystemExit):
                raise
            traceback.print_exception(error)
            return ctx.exit(1)


def _explain(error: BaseException) -> NoReturn:
    if isinstance(error, OptionError | NoJob):
        raise click.UsageError(_MAX_ERRORS.sub(_OF_FLAGS, str(error))) from None
    if isinstance(error, DataError):
        where = "" if error.offset is None else f" is not text at byte {error.offset:,}"
        why = error.why.replace("errors='replace'", "--errors replace")
        raise click.ClickException(f"{error.path}{where}: {why}") from None
    item, key = item_of(error), key_said(error)
    at = (f", at {item}" if item else "") + (f", for the key {key}" if key else "")
    if isinstance(error, MrpyError | NoInput | BrokenModule):
        raise click.ClickException(f"{error}{at}") from None
    if isinstance(error, OSError) and error.strerror:
        what = error.strerror.lower()
        raise click.ClickException(f"{error.filename}: {what}" if error.filename else what) from None
    kind = type(error).__name__ if at else f"unexpected {type(error).__name__}"
    text = ": ".join(filter(None, (kind, str(error))))
    raise click.ClickException(f"{text}{at} (MRPY_TRACEBACK=1 shows where)") from None


def _with_traceback(command: Decorated) -> Decorated:
    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[_TRACEBACK] = True

    text = "Show errors with their whole traceback. [also: MRPY_TRACEBACK=1]"
    option = click.option(
        "--traceback", is_flag=True, envvar="MRPY_TRACEBACK", expose_value=False, callback=remember, help=text
    )
    return option(command)


def _of_texts(command: Decorated) -> Decorated:
    """The options of all commands that read texts."""
    where = "serial, threads, processes (the default) or dask."
    many = "Workers; by default one per processor."
    other = "Bytes that are not in this encoding: strict, replace or ignore."
    silent = "No progress bar, and no remarks on standard error."
    how = click.Choice(["strict", "replace", "ignore"])
    shown: dict[str, Any] = {"show_default": True}
    options = (
        click.option("-b", "--backend", metavar="NAME", help=where),
        click.option("-w", "--workers", type=click.IntRange(min=1), metavar="N", help=many),
        click.option(
            "--encoding",
            metavar="NAME",
            default="utf-8",
            callback=_known,
            help="Encoding of the texts.",
            **shown,
        ),
        click.option("--errors", type=how, metavar="HOW", default="strict", help=other, **shown),
        click.option("-q", "--quiet", is_flag=True, help=silent),
        _with_traceback,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _known(_: click.Context, __: click.Parameter, encoding: str) -> str:
    try:
        "\n".encode(encoding)
    except (LookupError, UnicodeError, ValueError):
        raise click.UsageError(f"--encoding {encoding}: Python has no text encoding of this name") from None
    return encoding


def _with_name(_: click.Context, __: click.Parameter, path: str | None) -> str | None:
    if path == "":
        raise click.BadParameter("it has no name")
    return path


@click.group(
    cls=_Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)
@click.version_option(mrpy.__version__, "-V", "--version", message="mrpy %(version)s")
@_with_traceback
@click.pass_context
def group(ctx: click.Context) -> None:
    """Parallel map, reduce and lazy iterators, compiled from ordinary Python generators.

    The command shows the library at work. In a program it is `import mrpy`.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), color=ctx.color)


@group.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option(
    "-n", "--top", type=click.IntRange(min=1), metavar="N", default=20, help="Words to show; by default 20."
)
@click.option("--plain/--no-plain", default=True, show_default=True, help="Time a plain loop beside it.")
@_of_texts
def wordcount(
    paths: tuple[str, ...],
    top: int,
    backend: str | None,
    workers: int | None,
    plain: bool,
    quiet: bool,
    encoding: str,
    errors: str,
) -> None:
    """Count the words of texts, in parallel.

    A PATH is a file, a directory (all texts below it), or a pattern such as '*.txt'. Files may be compressed
    (.gz, .bz2, .xz, .zst). Without a PATH, the sources and texts of this Python itself are counted: tens of
    megabytes.

    A word is a run of letters; case does not matter. Files that were named have to be text. In directories,
    what is not text is passed over; what cannot be read is an error.

    Afterwards the same files are counted by a plain loop in one process. The two times are shown side by
    side, and the two results are compared.

    Exit status: 0 all is well, 1 the input cannot be counted or the results differ, 2 the command line is
    wrong, 130 interrupted.
    """
    count = CountWords(OnlyText(lines_for(encoding, errors, nul=False)))
    files = files_of(paths)
    batches = batches_of(files, count)
    notes = Printer(stderr=True, quiet=quiet, highlight=False)
    if plain:
        _read_once(files)
    began = time.perf_counter()
    with mrpy.session(backend, workers) as session:
        progress = notes.is_terminal and not quiet
        pairs = mrpy.mapreduce(count, total, batches, combiner=total, progress=progress, name="counting")
        counts = dict(pairs)
        elapsed = time.perf_counter() - began
        workers = session.workers
    skipped = counts.pop(SKIPPED, 0)
    if not counts:
        raise NoInput(f"there is no word in {_these(files, skipped)}")
    out = Printer(highlight=False)
    show_top(out, counts, top, _title(files, skipped, counts))
    if skipped:
        show_passed_over(notes, skipped)
    if plain:
        notes.print("the same once more, in a plain loop ...", style="dim")  # no spinner: it would take time
        slow, expected = _timed(count, batches)
        expected.pop(SKIPPED, None)
        show_times(out, workers, elapsed, slow, counts == expected)
        if counts != expected:
            raise click.ClickException("the parallel count and the plain one differ: please report this")


@group.command("run")
@click.argument("job", metavar="MODULE:JOB")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "out",
    metavar="FILE",
    callback=_with_name,
    help="Where the pairs go; by default, and for -, to standard output.",
)
@click.option("--overwrite", is_flag=True, help="Replace the FILE that is there.")
@click.option(
    "--on-error",
    type=click.Choice(["raise", "skip"]),
    metavar="HOW",
    help="Lines of which the job raises something: raise or skip; by default as the job says, or raise.",
)
@click.option(
    "--max-errors",
    type=click.IntRange(min=0),
    metavar="N",
    help="So many may be skipped; one more ends the run.",
)
@_of_texts
def run_job(
    job: str,
    inputs: tuple[str, ...],
    out: str | None,
    overwrite: bool,
    quiet: bool,
    encoding: str,
    errors: str,
    **options: Any,
) -> None:
    """Run a mrpy.Job over the lines of texts, in parallel.

    MODULE:JOB is a subclass of mrpy.Job, or an instance, in a module or in a file: wordcount.py:CountWords.
    An INPUT is a file, a directory (all texts below it), or a pattern such as '*.txt'; or - alone, for
    standard input. Files may be compressed (.gz, .bz2, .xz, .zst).

    Each pair is a line: key, tab, value; tabs, ends of lines and backslashes within them are written \\t, \\n
    and \\\\. A FILE is there when all of it was written. Counters, what was skipped, and which files of
    directories were passed over, since they do not begin as text, are shown on standard error.

    Exit status: 0 all is well, 1 the input cannot be read or the job failed, 2 the command line is wrong, 130
    interrupted.
    """
    found = job_of(job)
    notes = Printer(stderr=True, quiet=quiet, highlight=False)
    given = {name: value for name, value in options.items() if value is not None}
    lines, others = lines_of(inputs, encoding, errors)
    pairs = found.run(lines, progress=notes.is_terminal and not quiet, **given)
    with output(out, overwrite=overwrite) as file:
        number = write(pairs, file)
    if out is not None:
        notes.print(f"{number:,} lines in {out}", style="dim", markup=False)
    if others:
        show_passed_over(notes, len(others), others)
    show_counters(notes, pairs.counters)
    if pairs.skipped:
        notes.print(str(pairs.skipped), style="dim", markup=False, soft_wrap=True)


def _read_once(files: Sequence[File]) -> None:
    """Have the operating system read the files before anybody is timed: else the first one waits for the
    disk, and the second one does not."""
    if _bytes(files) > CACHEABLE:
        return
    for file in files:
        with contextlib.suppress(OSError), open(file.path, "rb") as opened:
            while opened.read(READ):
                pass


def _timed(count: CountWords, batches: list[list[Block]]) -> tuple[float, Counter[str]]:
    """The plain loop: the same files, read and cut into words by the same functions, into one Counter."""
    began = time.perf_counter()
    expected = count(block for batch in batches for block in batch)
    return time.perf_counter() - began, expected


def _bytes(files: Sequence[File]) -> int:
    return sum(file.size or 0 for file in files)


def _these(files: Sequence[File], skipped: int) -> str:
    these = files[0].path if len(files) == 1 else f"these {len(files):,} files"
    return f"{these} ({skipped:,} not text)" if skipped else these


def _title(files: Sequence[File], skipped: int, counts: dict[str, int]) -> str:
    size = _bytes(files) / 1e6
    number = len(files) - skipped
    return (
        f"{sum(counts.values()):,} words, {len(counts):,} different, "
        f"in {number:,} file{'' if number == 1 else 's'} ({size:,.1f} MB)"
    )
