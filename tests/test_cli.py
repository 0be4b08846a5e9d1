"""What the command promises: one table, one comparison, and one line where something is wrong."""

from __future__ import annotations

import fcntl
import gzip
import os
import random
import signal
import stat
import subprocess
import sys
import termios
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from laws import BACKENDS, eventually

from mrpy import __version__
from mrpy.cli.corpus import CAP, CUT, batches_of, files_of, standard_input
from mrpy.cli.jobs import output
from mrpy.cli.words import SKIPPED, CountWords
from mrpy.errors import DataError
from mrpy.mapreduce.files.blocks import Block
from mrpy.mapreduce.files.found import File
from mrpy.mapreduce.files.lines import OnlyText, lines_for

COMMAND = [sys.executable, "-W", "error", "-m", "mrpy"]
DEADLINE = 90  # seconds: against a hang
TEXT = "The cat and the hat.\nThe bat!\n"


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MRPY_", "COLUMNS"))}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**clean, "COLUMNS": "100", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the command: its status, its output, and what it says on standard error."""
    with start(folder, *arguments, **environment) as process:
        out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err


def refused(folder: Path, *arguments: str, status: int = 1, **environment: str) -> str:
    """The one line that a run says which fails as it should."""
    found, out, err = run(folder, *arguments, **environment)
    assert (found, out) == (status, "")
    assert err.startswith("mrpy: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def table(out: str) -> dict[str, int]:
    """The words of the printed table, with their counts."""
    rows = [[cell.strip() for cell in line.split("│")] for line in out.splitlines() if line.startswith("│")]
    return {row[2]: int(row[3].replace(",", "")) for row in rows}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A text, twice and packed; a file that is binary, one in another encoding, one that is empty."""
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "latin.txt").write_bytes("très café".encode("latin-1"))
    (tmp_path / "binary.dat").write_bytes(b"abc\0def")
    (tmp_path / "empty.txt").touch()
    with gzip.open(tmp_path / "a.gz", "wt") as file:
        file.write(TEXT)
    (tmp_path / "cut.gz").write_bytes((tmp_path / "a.gz").read_bytes()[:20])
    (tmp_path / "plain.gz").write_text(TEXT)
    inner = tmp_path / "inner"
    (inner / ".hidden").mkdir(parents=True)
    (inner / "b.txt").write_text(TEXT)
    (inner / ".hidden" / "b.txt").write_text(TEXT)
    (inner / "latin.txt").write_bytes(b"\xe9")
    (inner / "binary").write_bytes(b"\0")
    (tmp_path / "nothing").mkdir()
    return tmp_path


# ---- what it does ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_words_are_counted_on_every_backend_and_compared_with_the_plain_loop(
    folder: Path, backend: str
) -> None:
    status, out, err = run(
        folder, "wordcount", "--backend", backend, "--workers", "2", "a.txt", "inner", "a.gz"
    )
    assert status == 0, err
    assert table(out) == {"the": 9, "and": 3, "bat": 3, "cat": 3, "hat": 3}
    assert "21 words, 5 different, in 3 files" in out
    assert "speed-up" in out and "results equal: yes" in out
    assert "passed over: 2" in err  # binary and latin.txt of inner; what is hidden is not even found


def test_patterns_and_several_paths_are_taken_together(folder: Path) -> None:
    status, out, _ = run(folder, "wordcount", "--no-plain", "a.*", "i*/b.txt")
    assert status == 0
    assert table(out)["the"] == 9
    assert "plain" not in out


def test_top_says_how_many_words_are_shown_and_ties_go_by_the_alphabet(folder: Path) -> None:
    _, out, _ = run(folder, "wordcount", "--no-plain", "--top", "3", "a.txt")
    assert list(table(out)) == ["the", "and", "bat"]


def test_quiet_leaves_standard_error_empty(folder: Path) -> None:
    status, out, err = run(folder, "wordcount", "--quiet", "inner")
    assert (status, err) == (0, "")
    assert "results equal: yes" in out


@pytest.mark.parametrize(("option", "value"), [("--encoding", "latin-1"), ("--errors", "replace")])
def test_other_encodings_can_be_asked_for(folder: Path, option: str, value: str) -> None:
    status, out, _ = run(folder, "wordcount", option, value, "latin.txt")
    assert status == 0
    assert "results equal: yes" in out
    assert ("café" in table(out)) == (value == "latin-1")


def test_without_a_terminal_there_is_no_colour_and_no_progress_bar(folder: Path) -> None:
    _, out, err = run(folder, "wordcount", "a.txt")
    assert "\x1b" not in out + err and "\r" not in out + err


def test_a_narrow_terminal_gets_a_narrow_table(folder: Path) -> None:
    status, out, err = run(folder, "wordcount", "inner", COLUMNS="32")
    assert status == 0
    assert max(map(len, (out + err).splitlines())) <= 32
    assert "results equal: yes" in out


def test_a_word_that_the_terminal_cannot_show_is_no_error(folder: Path) -> None:
    status, out, err = run(
        folder, "wordcount", "--encoding", "latin-1", "latin.txt", PYTHONIOENCODING="ascii"
    )
    assert status == 0, err
    assert "caf\\xe9" in out


def test_the_texts_of_this_python_are_the_default_and_have_an_upper_bound() -> None:
    files = files_of([])
    assert 1e6 < sum(file.size or 0 for file in files) <= CAP
    assert files == files_of([])
    assert all(file.found for file in files)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help_lists_the_commands(tmp_path: Path, arguments: list[str]) -> None:
    status, out, err = run(tmp_path, *arguments)
    assert (status, err) == (0, "")
    assert "Usage: mrpy" in out and "wordcount" in out and "--version" in out


def test_help_on_a_command_lists_its_options(tmp_path: Path) -> None:
    status, out, _ = run(tmp_path, "wordcount", "--help")
    assert status == 0
    assert "compressed (.gz, .bz2, .xz, .zst)" in " ".join(out.split())
    for option in ("--top", "--backend", "--workers", "--encoding", "--errors", "--no-plain", "--quiet"):
        assert option in out


def test_help_says_what_stands_for_standard_input_and_output(tmp_path: Path) -> None:
    out = " ".join(run(tmp_path, "run", "--help")[1].split())
    assert "compressed (.gz, .bz2, .xz, .zst)" in out and "- alone, for standard input" in out
    assert "by default, and for -, to standard output" in out


def test_version(tmp_path: Path) -> None:
    assert run(tmp_path, "--version") == (0, f"mrpy {__version__}\n", "")


# ---- what it refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing.txt", "there is no file missing.txt"),
        ("-", "there is no file -; standard input is for mrpy run, where - stands alone"),
        ("binary.dat", "binary.dat is not text at byte 3"),
        ("latin.txt", "latin.txt is not text at byte 2"),
        ("n*.md", "no file matches n*.md"),
        ("cut.gz", "cut.gz is not text at byte 7: it cannot be unpacked"),
        ("plain.gz", "plain.gz is not text at byte 0: it cannot be unpacked"),
        ("/dev/null", "/dev/null is neither a file nor a directory"),
        ("odd\nname", "there is no file odd name"),
        ("memory://x", "there is no file memory://x"),
        ("zip://x::a.txt", "zip://x::a.txt: it cannot be unpacked: File is not a zip file"),
    ],
)
def test_a_path_that_cannot_be_counted_is_one_line(folder: Path, path: str, says: str) -> None:
    if "://" in path:
        pytest.importorskip("fsspec")
    assert says in refused(folder, "wordcount", "a.txt", path)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("empty.txt", "there is no word in empty.txt"),
        ("nothing", "there is no file in the directory nothing"),
        ("inner/.hidden/../../nothing", "there is no file in the directory"),
    ],
)
def test_nothing_to_count_is_one_line(folder: Path, path: str, says: str) -> None:
    assert says in refused(folder, "wordcount", path)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that opens and cannot be read")
def test_a_file_that_cannot_be_read_is_one_line_although_a_worker_meets_it(folder: Path) -> None:
    assert "/proc/self/mem: input/output error" in refused(folder, "wordcount", "/proc/self/mem")


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that opens and cannot be read")
@pytest.mark.parametrize("command", [["wordcount"], ["run", "jobs:Words"]], ids=["wordcount", "run"])
def test_a_file_of_a_folder_that_cannot_be_read_is_one_line(jobs: Path, command: list[str]) -> None:
    """It was counted among those that are no text, or the error did not say which file it is."""
    (jobs / "inner" / "mem").symlink_to("/proc/self/mem")
    said = refused(jobs, *command, "inner")
    assert said.startswith("mrpy: inner/mem") and said.endswith(": input/output error\n")


@pytest.mark.parametrize("command", [["wordcount"], ["run", "jobs:Words"]], ids=["wordcount", "run"])
def test_a_file_of_a_folder_that_was_cut_off_is_one_line(jobs: Path, command: list[str]) -> None:
    (jobs / "cut.gz").rename(jobs / "inner" / "cut.gz")
    assert "inner/cut.gz is not text at byte 7: it cannot be unpacked" in refused(jobs, *command, "inner")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_one_line(folder: Path) -> None:
    (folder / "a.txt").chmod(0)
    assert "a.txt cannot be read: permission denied" in refused(folder, "wordcount", "a.txt")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["wordcount", "--bakend", "serial", "a.txt"], "No such option"),
        (["wordcount", "--backend", "rocket", "a.txt"], "must be one of serial, threads, processes, dask"),
        (["wordcount", "--workers", "0", "a.txt"], "--workers"),
        (["wordcount", "--top", "many", "a.txt"], "--top"),
        (["wordcount", "--encoding", "martian", "a.txt"], "no text encoding"),
        (["wordcount", "--errors", "explode", "a.txt"], "--errors"),
        (["wordcont"], "No such command"),
    ],
)
def test_a_wrong_command_line_is_one_line(folder: Path, arguments: list[str], says: str) -> None:
    assert says in refused(folder, *arguments, status=2)


def test_a_wrong_environment_is_one_line(folder: Path) -> None:
    assert "MRPY_WORKERS='some'" in refused(folder, "wordcount", "a.txt", status=2, MRPY_WORKERS="some")


@pytest.mark.parametrize(("arguments", "environment"), [(["--traceback"], {}), ([], {"MRPY_TRACEBACK": "1"})])
def test_the_traceback_is_there_for_those_who_ask(
    folder: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    status, _, err = run(folder, "wordcount", *arguments, "binary.dat", **environment)
    assert status == 1
    assert "Traceback" in err and "words.py" in err


def test_interrupted_it_ends_at_once_in_silence_and_its_workers_with_it(folder: Path) -> None:
    with start(folder, "wordcount", "--workers", "2") as process:
        workers: list[psutil.Process] = []

        def started() -> bool:
            workers[:] = psutil.Process(process.pid).children()
            return len(workers) == 2

        assert eventually(started, DEADLINE)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err.strip()) == (130, "", "")
    assert psutil.wait_procs(workers, timeout=DEADLINE)[1] == []


# ---- jobs ------------------------------------------------------------------------------------------

JOBS = """
import sys
import time
import mrpy

class Words(mrpy.Job):
    def map(self, line):
        self.count("lines")
        for word in line.split():
            yield word.lower(), 1
    def reduce(self, word, ones):
        return sum(ones)
    combine = reduce

class Top(mrpy.Job):
    def map(self, pair):
        return "top", (pair[1], pair[0])
    def reduce(self, _, counts):
        yield max(counts)

class Picky(Words):
    def map(self, line):
        if "bat" in line:
            raise ValueError("no bats")
        return super().map(line)

class Careless(Picky):
    options = {"on_error": "skip"}

class Exits(Words):
    def map(self, line):
        return sys.exit() if "bat" in line else super().map(line)

class ExitsLate(Words):
    combine = None
    def reduce(self, word, ones):
        sys.exit(3)

class Unsure(Words):
    combine = None
    def reduce(self, word, ones):
        if word == "bat!":
            raise ValueError("too few")

class Hasty(Unsure):
    def combine(self, word, ones):
        raise ValueError("too many")

class Slow(Words):
    def map(self, line):
        time.sleep(60)

class Needs(mrpy.Job):
    def __init__(self, more):
        pass

class Tabs(mrpy.Job):
    sort = True
    def map(self, line):
        return line, line + "\\n"

top = Words() | Top()
number = 3
"""


@pytest.fixture
def jobs(folder: Path) -> Path:
    (folder / "jobs.py").write_text(JOBS)
    (folder / "broken.py").write_text("raise ValueError('two\\nlines')")
    (folder / "leaves.py").write_text("import sys; sys.exit(0)")
    (folder / "away").mkdir()
    (folder / "away" / "other.py").write_text(JOBS)
    (folder / "away" / "glob.py").write_text(JOBS)
    (folder / "away" / "my.jobs.py").write_text(JOBS)
    return folder


def rows(text: str) -> dict[str, str]:
    return dict(line.split("\t") for line in text.splitlines())


EXPECTED = {"the": "9", "and": "3", "cat": "3", "hat.": "3", "bat!": "3"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_job_runs_on_every_backend_and_its_counters_are_shown(jobs: Path, backend: str) -> None:
    status, out, err = run(
        jobs, "run", "jobs:Words", "a.txt", "inner", "a.gz", "-b", backend, "--workers", "2"
    )
    assert (status, rows(out)) == (0, EXPECTED), err
    passed_over = "files found that are not text, and were passed over: 2 ('inner/binary', 'inner/latin.txt')"
    assert err.splitlines() == [passed_over, "lines: 6"]


def test_what_is_wrong_further_on_in_a_file_of_a_folder_is_an_error_or_skipped(jobs: Path) -> None:
    """It was passed over as a whole, in silence."""
    (jobs / "texts").mkdir()
    (jobs / "texts" / "late.txt").write_bytes(b"the cat\n" * 2000 + b"na\xefve\n")
    (jobs / "texts" / "cut.gz").write_bytes(gzip.compress(random.Random(1).randbytes(9000).hex().encode())[:9000])
    assert "cut.gz is not text at byte" in refused(jobs, "run", "jobs:Words", "texts")
    status, out, err = run(jobs, "run", "jobs:Words", "texts", "--on-error", "skip")
    assert (status, rows(out)["cat"]) == (0, "2000")
    assert "2 items were skipped" in err and "late.txt', byte 16,000" in err and "cut.gz" in err


def test_a_folder_without_text_is_no_input(jobs: Path) -> None:
    (jobs / "pictures").mkdir()
    (jobs / "pictures" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    assert "there is no text in pictures" in refused(jobs, "run", "jobs:Words", "pictures")
    # one that was named as well is meant
    assert "pictures/a.png is not text" in refused(jobs, "run", "jobs:Words", "pictures", "pictures/a.png")


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_names_of_files_in_a_folder_are_no_patterns(jobs: Path, scheme: str) -> None:
    (jobs / "odd").mkdir()
    for name, text in {"a[1].txt": "one", "a1.txt": "two", "b*.txt": "three", "bc.txt": "four"}.items():
        (jobs / "odd" / name).write_text(text)
    (jobs / "odd" / "picture").write_bytes(b"\x89PNG\0")
    status, out, err = run(jobs, "run", "jobs:Words", f"{scheme}{jobs / 'odd'}")
    assert (status, rows(out)) == (0, {"one": "1", "two": "1", "three": "1", "four": "1"}), err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_standard_input_that_is_asked_not_to_wait_is_waited_for(jobs: Path, encoding: str) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    command = [*COMMAND, "run", "-q", "jobs:Words", "-", "--encoding", encoding]
    with subprocess.Popen(command, stdin=ours, stdout=subprocess.PIPE, cwd=jobs) as process:
        try:
            os.write(theirs, "the\n".encode(encoding))
            assert eventually(lambda: fcntl.ioctl(ours, termios.FIONREAD, bytes(4)) == bytes(4), 50)  # it has read that
            os.write(theirs, "the\n".encode(encoding))
        finally:
            os.close(theirs)
        out, _ = process.communicate(timeout=50)
    os.close(ours)
    assert out == b"the\t2\n"


def test_standard_input_may_be_named_where_it_is_a_file(jobs: Path) -> None:
    expected = run(jobs, "run", "-q", "jobs:Words", "a.txt")[1].encode()
    command = [*COMMAND, "run", "-q", "jobs:Words", "/dev/stdin"]
    with (jobs / "a.txt").open() as file:
        assert subprocess.run(command, stdin=file, capture_output=True, cwd=jobs, timeout=50).stdout == expected
        (jobs / "a.txt").unlink()  # as that of a here-document is
        assert subprocess.run(command, stdin=file, capture_output=True, cwd=jobs, timeout=50).stdout == expected


def test_what_is_no_character_is_written_to_a_file_as_on_the_terminal(jobs: Path) -> None:
    (jobs / "odd.py").write_text(
        "import mrpy\nclass J(mrpy.Job):\n    def map(self, line):\n        self.count(1); self.count('b')\n"
        "        yield '\\ud800\\udcef', 1; yield '\\udcef', 2; yield 'a\\\\t', 3"
    )
    assert run(jobs, "run", "odd.py:J", "a.txt", "-o", "out")[0] == 0
    lines = sorted((jobs / "out").read_bytes().split(b"\n"))
    assert lines == [b"", b"\\ud800\xef\t1", b"\\ud800\xef\t1", b"a\\\\t\t3", b"a\\\\t\t3", b"\xef\t2", b"\xef\t2"]


def test_who_could_not_read_the_old_output_cannot_read_the_new_one(jobs: Path) -> None:
    (jobs / "out").touch(0o600)
    assert run(jobs, "run", "jobs:Words", "a.txt", "-o", "out", "--overwrite")[0] == 0
    assert (jobs / "out").stat().st_mode & 0o777 == 0o600
    assert "there is no such folder" in refused(jobs, "run", "jobs:Words", "a.txt", "-o", "new/")


@pytest.mark.parametrize("target", ["jobs:Words", "jobs.py:Words", "away/other.py:Words", "./jobs.py:Words"])
def test_a_job_is_found_in_a_module_or_a_file_and_its_pairs_go_to_a_file(jobs: Path, target: str) -> None:
    status, out, err = run(jobs, "run", target, "a.txt", "-o", "out.tsv")
    assert (status, out) == (0, ""), err
    assert rows((jobs / "out.tsv").read_text()) == {
        word: str(int(count) // 3) for word, count in EXPECTED.items()
    }
    assert err.splitlines() == ["5 lines in out.tsv", "lines: 2"]
    assert run(jobs, "run", target, "a.txt", "-q", "-o", "out.tsv", "--overwrite") == (0, "", "")


def test_a_file_is_replaced_where_that_is_asked_for(jobs: Path) -> None:
    before = (jobs / "a.txt").read_text()
    err = refused(jobs, "run", "jobs:Words", "a.txt", "-o", "a.txt")
    assert "a.txt: there already; --overwrite replaces it" in err
    assert (jobs / "a.txt").read_text() == before
    status, out, err = run(jobs, "run", "jobs:Words", "a.txt", "-o", "a.txt", "--overwrite")
    assert (status, out) == (0, ""), err
    assert rows((jobs / "a.txt").read_text())["the"] == "3", "it was read before it was replaced"
    assert run(jobs, "run", "jobs:Words", "a.gz", "-q", "-o", os.devnull) == (0, "", ""), "a device is none"


def test_a_file_that_somebody_has_written_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.tsv"
    with pytest.raises(FileExistsError, match="meanwhile"), output(str(path), overwrite=False) as file:
        file.write("ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    with output(str(path), overwrite=True) as file:
        path.write_text("theirs again")
        file.write("ours")
    assert path.read_text() == "ours" and os.listdir(tmp_path) == ["out.tsv"]


def _writing(jobs: Path, end: signal.Signals) -> tuple[int, str]:
    """Have a run end by a signal while it writes ``out.tsv``; its exit status, and the end of what it said."""
    with start(jobs, "run", "jobs:Slow", "a.txt", "-o", "out.tsv", "-w", "1") as process:
        assert eventually(lambda: any(jobs.glob("out.tsv.*.tmp/attempts/part")), DEADLINE)
        process.send_signal(end)
        _, said = process.communicate(timeout=DEADLINE)
    return process.returncode, said[-300:]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_told_to_end_leaves_nothing_beside_its_file(jobs: Path, end: signal.Signals) -> None:
    status, said = _writing(jobs, end)
    assert status == (130 if end == signal.SIGINT else -end), said
    assert [name for name in os.listdir(jobs) if "out.tsv" in name] == []


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_leaves_no_workers_and_no_spill_files(
    jobs: Path, tmp_path_factory: pytest.TempPathFactory, end: signal.Signals
) -> None:
    spilled = tmp_path_factory.mktemp("spilled")
    with start(jobs, "run", "jobs:Slow", "a.txt", TMPDIR=str(spilled)) as process:
        workers = _workers_of(process)
        assert eventually(lambda: os.listdir(spilled), DEADLINE)
        process.send_signal(end)
        out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err) == (-end, "", "")
    assert psutil.wait_procs(workers, timeout=DEADLINE)[1] == []
    assert os.listdir(spilled) == []


def _workers_of(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    assert eventually(lambda: len(psutil.Process(process.pid).children()) > 0, DEADLINE)
    return psutil.Process(process.pid).children()


POOLED = """
import mrpy, multiprocessing as mp

def square(x):
    return x * x

class Pooled(mrpy.Job):
    def map(self, line):
        with mp.get_context("fork").Pool(2) as pool:  # which ends its processes by SIGTERM
            yield "all", sum(pool.map(square, range(4)))
    def reduce(self, key, values):
        return sum(values)
"""


def test_what_a_job_forks_is_ended_by_signals_as_ever(jobs: Path) -> None:
    (jobs / "pooled.py").write_text(POOLED)
    (jobs / "many.txt").write_text("line\n" * 20)
    assert run(jobs, "run", "pooled:Pooled", "many.txt", "-b", "serial", "-q") == (0, "all\t280\n", "")


def test_a_signal_that_meets_a_child_which_has_just_been_forked_ends_it() -> None:
    script = """
import os, signal
from mrpy.cli import endings
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))  # before ours
endings.take_as_ctrl_c()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
child = os.fork()
if not child:
    os._exit(7)
print(os.waitpid(child, 0)[1], *map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.stdout == f"{int(signal.SIGTERM)} {int(signal.SIGUSR1)}\n", done.stderr


def test_who_ignores_a_hangup_goes_on(jobs: Path) -> None:
    """As what `nohup` has started."""
    code = "import signal, mrpy.cli; signal.signal(signal.SIGHUP, signal.SIG_IGN); mrpy.cli.main()"
    with subprocess.Popen([sys.executable, "-c", code, "run", "jobs:Slow", "a.txt"], cwd=jobs) as process:
        _workers_of(process)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 130


def test_a_ctrl_c_amid_a_string_that_is_run_is_one_like_any_other(jobs: Path) -> None:
    """As named tuples and data classes run them, when they are made in an import. Python notes that, and ends by
    the signal whatever becomes of the exception."""
    (jobs / "pressed.py").write_text("exec('raise KeyboardInterrupt')")
    assert run(jobs, "run", "pressed:Words", "a.txt") == (130, "", "")


def test_what_a_killed_run_has_left_beside_its_file_goes_with_the_next_one(jobs: Path) -> None:
    assert _writing(jobs, signal.SIGKILL)[0] == -signal.SIGKILL
    assert [name for name in os.listdir(jobs) if "out.tsv" in name] != ["out.tsv"]
    (jobs / "out.tsv.notes.tmp").write_text("somebody else's")
    with output(str(jobs / "out.tsv"), overwrite=False) as alive:
        alive.write("first")
        assert run(jobs, "run", "jobs:Words", "a.txt", "-o", "out.tsv", "-q") == (0, "", "")
        (jobs / "out.tsv").unlink()
    assert (jobs / "out.tsv").read_text() == "first"
    assert sorted(name for name in os.listdir(jobs) if "out.tsv" in name) == ["out.tsv", "out.tsv.notes.tmp"]


def test_a_file_gets_the_mode_of_any_other(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with output(str(tmp_path / "out.tsv"), overwrite=False) as file:
            file.write("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.tsv").stat().st_mode) == 0o640


def test_standard_input_is_an_input(jobs: Path) -> None:
    def piped(data: bytes, *arguments: str) -> tuple[int, bytes, bytes]:
        command = [*COMMAND, "run", "jobs:Words", *arguments]
        done = subprocess.run(command, cwd=jobs, input=data, capture_output=True, timeout=DEADLINE)
        return done.returncode, done.stdout, done.stderr

    status, out, err = piped("the é\r\nthe".encode(), "-")
    assert (status, rows(out.decode())) == (0, {"the": "2", "é": "1"}), err
    assert err == b"lines: 2\n"
    status, out, err = piped(b"the \xff\n", "-")
    assert (status, out) == (1, b"")
    assert b"standard input is not text at byte 4: invalid start byte for utf-8 (--errors replace" in err
    assert piped(b"the \xff\n", "-", "--errors", "ignore", "-q")[:2] == (0, b"the\t1\n")
    assert piped("the\rend\n".encode("utf-16"), "-", "--encoding", "utf-16", "-q")[0] == 0
    assert piped(b"the \x81\n", "-", "--encoding", "cp1252")[0] == 1


def test_a_line_of_standard_input_that_is_no_text_is_skipped_alone(jobs: Path) -> None:
    command = [*COMMAND, "run", "jobs:Words", "-", "--on-error", "skip"]
    data = b"the\r\nno \xff\nthe\n" * 30_000 + b"end"
    done = subprocess.run(command, cwd=jobs, input=data, capture_output=True, timeout=DEADLINE)
    assert (done.returncode, rows(done.stdout.decode())) == (0, {"the": "60000", "end": "1"})
    assert b"30,000 items were skipped" in done.stderr
    assert b"item 1: 'standard input', byte 5 (DataError: standard input, byte 8: invalid" in done.stderr


def test_lines_of_standard_input_are_taken_as_they_come() -> None:
    inner, outer = os.pipe()
    with open(inner, "rb") as pipe, open(outer, "wb", buffering=0) as into:
        lines = standard_input(pipe, lines_for("utf-8", "strict"))
        into.write(b"one\ntw")
        assert next(lines) == "one"
        into.write(b"o\n\n")
        assert [next(lines), next(lines)] == ["two", ""]
        into.write("é".encode()[:1])
        into.close()
        assert repr(next(lines)) == "'standard input', byte 9"
        assert list(lines) == []


def test_the_error_of_a_reducer_says_for_which_key(jobs: Path) -> None:
    err = refused(jobs, "run", "jobs:Unsure", "a.txt", "-o", "out.tsv")
    assert "ValueError: too few, for the key 'bat!' (MRPY" in err and "unexpected" not in err
    assert "ValueError: too many" in (err := refused(jobs, "run", "jobs:Hasty", "a.txt"))
    assert "for the key 'the'" in err and "unexpected" not in err


def test_an_instance_is_a_job_too(jobs: Path) -> None:
    assert run(jobs, "run", "-q", "jobs:top", "a.*") == (0, "top\t(6, 'the')\n", "")


def test_a_line_that_fails_is_skipped_alone(jobs: Path) -> None:
    (jobs / "more.txt").write_text(TEXT + "the end\n")
    for arguments in (["jobs:Picky", "--on-error", "skip"], ["jobs:Careless"]):
        status, out, said = run(jobs, "run", *arguments, "more.txt")
        assert (status, rows(out)) == (0, {"the": "3", "cat": "1", "and": "1", "hat.": "1", "end": "1"})
        assert said.endswith("1 item was skipped:\n  item 0: 'more.txt', byte 21 (ValueError: no bats)\n")
        assert run(jobs, "run", "-q", *arguments, "more.txt")[2] == ""
    err = refused(jobs, "run", "jobs:Picky", "more.txt")
    assert "ValueError: no bats, at item 0: 'more.txt', byte 21" in err and "unexpected" not in err


def test_more_lines_that_fail_than_may_be_skipped_end_the_run(jobs: Path) -> None:
    (jobs / "more.txt").write_text(TEXT * 2)
    status, out, _ = run(jobs, "run", "jobs:Careless", "more.txt", "--max-errors", "2")
    assert (status, rows(out)["the"]) == (0, "4")
    err = refused(jobs, "run", "jobs:Picky", "more.txt", "--on-error", "skip", "--max-errors", "1")
    assert "max_errors" in err and "'more.txt', byte 21" in err
    assert "--max-errors 1 is for --on-error skip only" in refused(
        jobs, "run", "jobs:Picky", "more.txt", "--max-errors", "1", status=2
    )


def test_how_many_may_be_skipped_is_for_those_jobs_of_a_chain_that_skip(jobs: Path) -> None:
    (jobs / "more.txt").write_text(TEXT * 2)
    (jobs / "chains.py").write_text("import jobs, mrpy\nboth = jobs.Careless() | mrpy.Job()\nnone = jobs.Picky() | mrpy.Job()\n")
    status, out, _ = run(jobs, "run", "chains:both", "more.txt", "--max-errors", "2")
    assert (status, rows(out)["the"]) == (0, "4")
    assert "max_errors=1" in refused(jobs, "run", "chains:both", "more.txt", "--max-errors", "1")
    assert "--max-errors 1 is for --on-error skip only" in refused(jobs, "run", "chains:none", "more.txt", "--max-errors", "1", status=2)


def test_lines_are_those_of_a_text_file_and_tabs_in_fields_are_written_out(jobs: Path) -> None:
    (jobs / "ends.txt").write_bytes("a\tb\r\n\u2028c\rd\n\nlast".encode())
    status, out, _ = run(jobs, "run", "-q", "jobs:Tabs", "ends.txt")
    assert status == 0
    assert out.split("\n") == [
        "\t\\n",
        "a\\tb\ta\\tb\\n",
        "d\td\\n",
        "last\tlast\\n",
        "\u2028c\t\u2028c\\n",
        "",
    ]


@pytest.mark.parametrize(
    ("target", "status", "says"),
    [
        ("nowhere:Words", 2, "there is no module nowhere"),
        ("jobs.deeper:Words", 2, "there is no module jobs.deeper"),
        ("nowhere.py:Words", 2, "there is no file nowhere.py"),
        ("jobs", 2, "jobs names no job; write module:Job, or file.py:Job"),
        ("jobs:", 2, "names no job"),
        ("jobs:Wrods", 2, "jobs has no Wrods; there is Words, Top, Picky, Careless, Exits, ExitsLate, Unsure, Hasty, Slow, Needs"),
        ("jobs:number", 2, "jobs has number, which is no mrpy.Job"),
        ("jobs:Needs", 2, "cannot be made without arguments"),
        ("away/glob.py:Words", 2, "hidden by another module of that name"),
        ("away/my.jobs.py:Words", 2, "away/my.jobs.py: the name of a module has no dot in it; rename the file"),
        ("broken:Words", 1, "broken cannot be imported: ValueError: two lines"),
        ("leaves:Words", 1, "leaves cannot be imported: SystemExit: 0"),
    ],
)
def test_what_is_no_job_is_one_line(jobs: Path, target: str, status: int, says: str) -> None:
    assert says in refused(jobs, "run", target, "a.txt", status=status)


@pytest.mark.parametrize("target", ["random:Words", "./random.py:Words", "time:Words", "./time.py:Words", "collections.jobs:Words"])
def test_a_job_that_a_module_of_python_hides_is_said_to_be_hidden(jobs: Path, target: str) -> None:
    """What is imported already is not looked for in the working directory."""
    (jobs / "collections").mkdir()
    for name in ("random.py", "time.py", "collections/__init__.py", "collections/jobs.py"):
        (jobs / name).write_text(JOBS)
    where, _ = target.split(":")
    says = f"{where} is hidden by another module of that name"
    assert says in refused(jobs, "run", target, "a.txt", status=2, PYTHONSAFEPATH="1")


def test_a_folder_of_the_name_of_a_module_of_python_hides_nothing(jobs: Path) -> None:
    (jobs / "collections").mkdir()
    assert "collections has no Words" in refused(jobs, "run", "collections:Words", "a.txt", status=2, PYTHONSAFEPATH="1")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["missing.txt"], 1, "there is no file missing.txt"),
        (["binary.dat"], 1, "binary.dat is not text at byte 3"),
        ([], 2, "Missing argument"),
        (["a.txt", "-b", "rocket"], 2, "must be one of"),
        (["a.txt", "-o", "nowhere/out"], 1, "nowhere/out: no such file or directory"),
        (["a.txt", "-o", "nothing"], 1, "nothing: is a directory"),
        (["a.txt", "-o", ""], 2, "'-o' / '--output': it has no name"),
        (["a.txt", "-"], 1, "there is no file -; standard input is for mrpy run, where - stands alone"),
        (["a.txt", "--encoding", "martian"], 2, "no text encoding"),
    ],
)
def test_an_input_or_output_that_cannot_be_is_one_line(
    jobs: Path, arguments: list[str], status: int, says: str
) -> None:
    assert says in refused(jobs, "run", "jobs:Words", *arguments, status=status)


def test_a_file_that_was_not_written_to_its_end_is_not_there(jobs: Path) -> None:
    before = sorted(os.listdir(jobs))
    refused(jobs, "run", "jobs:Picky", "a.txt", "-o", "out.tsv")
    assert sorted({*os.listdir(jobs)} - {"__pycache__"}) == before


def test_a_line_that_kills_its_worker_is_named(jobs: Path) -> None:
    text = "import mrpy, os\nclass Die(mrpy.Job):\n    def map(self, line):\n        return os._exit(4) if '!' in line else []"
    (jobs / "deadly.py").write_text(text)
    err = refused(jobs, "run", "deadly.py:Die", "a.txt", "-w", "1")
    assert "exited with code 4, at item 0: 'a.txt', byte 21" in err


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_job_that_calls_exit_has_failed(jobs: Path, backend: str) -> None:
    how = ("-b", backend, "-w", "2", "-o", "out.tsv")
    err = refused(jobs, "run", "jobs:Exits", "a.txt", *how)
    assert "SystemExit, at item 0: 'a.txt', byte 21" in err
    err = refused(jobs, "run", "jobs:ExitsLate", "a.txt", *how)
    assert "SystemExit: 3, for the key '" in err and "unexpected" not in err
    assert not (jobs / "out.tsv").exists()
    status, _, err = run(jobs, "run", "jobs:Exits", "a.txt", "--traceback", *how)
    assert status == 1 and "Traceback" in err and "SystemExit" in err


def test_the_traceback_of_a_job_is_there_for_those_who_ask(jobs: Path) -> None:
    status, _, err = run(jobs, "run", "jobs:Picky", "a.txt", MRPY_TRACEBACK="1")
    assert status == 1
    assert "Traceback" in err and "jobs.py" in err and "no bats" in err


# ---- how files are cut -----------------------------------------------------------------------------


def test_pieces_of_a_file_hold_each_line_once_wherever_it_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    text = "\n\nαβγ one\n" + "".join(f"two{'x' * n} é\n" for n in range(9)) + "last"
    file.write_text(text)
    size, count = file.stat().st_size, CountWords()
    whole = count([Block(str(file))])
    for step in range(1, size + 2):
        pieces = [Block(str(file), begin, min(begin + step, size)) for begin in range(0, size, step)]
        assert count(pieces) == whole


def test_an_error_behind_a_cut_names_the_offset_in_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "late.txt"
    file.write_bytes(b"fine\nfine\nba\xffd\n")
    with pytest.raises(DataError, match="byte 12"):
        CountWords()([Block(str(file), 7, 16)])
    with pytest.raises(DataError, match="byte 12"):
        CountWords()([Block(str(file))])


def test_files_that_were_found_are_passed_over_as_a_whole_and_counted(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("a b a")
    (tmp_path / "late").write_bytes(b"text " * 50_000 + b"\0")
    count = CountWords()(
        block for batch in batches_of(files_of([str(tmp_path)]), CountWords()) for block in batch
    )
    assert count == Counter({"a": 2, "b": 1, SKIPPED: 1})


def test_batches_hold_every_piece_once_and_shrink_towards_the_end() -> None:
    files = [File(f"f{n}", 50_000, found=True) for n in range(400)] + [File("large", 5 * CUT + 1)]
    batches = batches_of(files, CountWords())
    blocks = [block for batch in batches for block in batch]
    assert [block.path for block in blocks[:400]] == [f"f{n}" for n in range(400)]
    assert [(block.start, block.end) for block in blocks[-2:]] == [(4 * CUT, 5 * CUT), (5 * CUT, 5 * CUT + 1)]
    assert len(batches[0]) > len(batches[len(batches) // 2])
    assert batches_of([], CountWords()) == []
    in_utf16 = CountWords(OnlyText(lines_for("utf-16", "strict")))
    assert [block.end for batch in batches_of(files, in_utf16) for block in batch] == [None] * 401


@pytest.mark.parametrize("arguments", [["wordcount", "-q", "--no-plain", "a.txt"], ["wordcount", "a.txt"]])
def test_a_reader_who_goes_away_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"word{chr(97 + n % 26) * (n % 7)}" for n in range(5000)), encoding="utf-8")
    with start(tmp_path, *arguments) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        process.wait(DEADLINE)
    assert "unexpected" not in said and "Traceback" not in said and "SystemExit" not in said


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_full_disk_is_told_with_the_file_that_has_no_room(tmp_path: Path) -> None:
    import resource

    (tmp_path / "a.txt").write_text("\n".join(f"word{n}" for n in range(5000)), encoding="utf-8")
    (tmp_path / "job.py").write_text("import mrpy\nclass Words(mrpy.Job):\n    def map(self, line):\n        yield line, 1\n", encoding="utf-8")
    done = subprocess.run(
        [*COMMAND, "run", "job.py:Words", "a.txt", "-o", "out.tsv", "-q", "--backend", "serial"], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )  # fmt: skip
    assert done.returncode == 1 and str(tmp_path / "out.tsv") in done.stderr and "no room to write" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["a.txt", "job.py"]


FAILS = """
import mrpy
class Fails(mrpy.Job):
    def map(self, line):
        if line == "word7":
            raise OSError("no number")
        yield line, 1
class FailsLater(mrpy.Job):
    def map(self, line):
        yield line, 1
    def reduce(self, key, values):
        raise OSError(28, "no number")
"""


@pytest.mark.parametrize(("job", "said"), [("Fails", "no number, at item "), ("FailsLater", "no number")])
def test_an_error_of_the_job_is_none_of_the_file_it_writes(tmp_path: Path, job: str, said: str) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"word{n}" for n in range(9)), encoding="utf-8")
    (tmp_path / "job.py").write_text(FAILS, encoding="utf-8")
    told = refused(tmp_path, "run", f"job.py:{job}", "a.txt", "-o", "out.tsv", "-q", "--backend", "serial")
    assert said in told and "no room" not in told and "out.tsv" not in told
