"""The examples are run as a user would: from another folder, without a guard for the main module."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
DEADLINE = 120  # seconds: against a hang


def run(name: str, folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_words_of_two_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat and the hat\n")
    (tmp_path / "b.txt").write_text("The bat.\n")
    lines = run("wordcount.py", tmp_path, "a.txt", "b.txt").splitlines()
    assert lines[0].split() == ["3", "the"]
    assert sorted(line.split()[1] for line in lines) == ["and", "bat", "cat", "hat", "the"]


def test_the_word_count_takes_under_25_lines_of_code() -> None:
    text = (EXAMPLES / "wordcount.py").read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) < 25


def test_primes(tmp_path: Path) -> None:
    assert run("primes.py", tmp_path) == "2160 pairs of twin primes below 200000, the last prime is 199999\n"


def test_pi(tmp_path: Path) -> None:
    first = run("pi_montecarlo.py", tmp_path, "1000000")
    assert first.startswith("pi is about 3.14") and run("pi_montecarlo.py", tmp_path, "1000000") == first
    assert run("pi_montecarlo.py", tmp_path, "1").endswith(", after 100,000 throws\n")


def test_spectra(tmp_path: Path) -> None:
    assert run("spectra.py", tmp_path) == "300 of 300 tones found\n"


def test_a_factor_is_found(tmp_path: Path) -> None:
    assert run("submit.py", tmp_path, str(10007 * 10009)) == "100,160,063 = 10,007 x 10,009\n"


@pytest.mark.parametrize(("number", "says"), [(4, "4 = 2 x 2"), (15, "15 = 3 x 5"), (7, "7: no factor was found, it may be prime")])
def test_a_search_that_comes_to_the_number_itself_has_found_none(tmp_path: Path, number: int, says: str) -> None:
    assert run("submit.py", tmp_path, str(number)) == f"{says}\n"


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("word_count.py", "30", "words in 30 files: "),
        ("histogram.py", "1", "1 million pixels, mostly {"),
        ("linear_regression.py", "20000", "20,000 points: y = "),
        ("kmeans.py", "20000", "20,000 points, 8 rounds: "),
        ("kmeans.py", "10", "10 points, 8 rounds: "),
        ("matrix_multiply.py", "30", "30 x 30: the trace is "),
        ("pca.py", "40", "40 sensors: one direction has "),
        ("string_match.py", "500", "500 words tried, found: "),
        ("reverse_index.py", "20", "links in 20 pages; /pages/"),
    ],
)
def test_a_program_of_phoenix_comes_to_what_its_plain_loop_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: str, says: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    measured, result = run(f"phoenix/{name}", tmp_path, size).splitlines()
    assert "speed-up" in measured and says in result  # where the answers differ it ends with an error
    assert not [path for path in tmp_path.iterdir() if "mrpy" not in path.name], "the input was left behind"


def test_each_program_of_phoenix_is_short_and_has_a_test() -> None:
    for file in (EXAMPLES / "phoenix").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert text.count("\n") <= 80 and ast.get_docstring(ast.parse(text))
        assert file.name == "beside.py" or f'"{file.name}"' in Path(__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_an_example_is_short_and_has_a_test(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 40
    assert ast.get_docstring(ast.parse(text))
    assert f'"{file.name}"' in Path(__file__).read_text(encoding="utf-8")
