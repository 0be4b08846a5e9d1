"""Frames come out of the bytes as they went in, wherever the bytes were cut on the way."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrpy.scheduler.backends.transport import HEAD, MARK, SMALL, Frame, Parser, pack

SIZES = st.one_of(st.integers(0, 40), st.sampled_from([SMALL - 1, SMALL, SMALL + 1, 3 * SMALL]))
FRAMES = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**64 - 1), st.lists(SIZES, max_size=4)), max_size=5)
# One of them is large, or large parts would take long.
CUTS = st.lists(st.integers(1, 40)).flatmap(lambda few: st.permutations([*few, SMALL - 7]))


def contents(frames: list[tuple[int, int, list[int]]]) -> list[tuple[int, int, list[bytes]]]:
    """Frames with parts of these sizes, no two bytes next to each other the same."""
    return [
        (kind, number, [bytes((place + n) % 251 for n in range(size)) for place, size in enumerate(sizes)])
        for kind, number, sizes in frames
    ]


def received(parser: Parser, data: bytes, cuts: list[int]) -> Iterator[Frame]:
    """What comes out where `data` is read in these pieces, again and again."""
    place = turn = 0
    while place < len(data):
        room = parser.room()
        piece = data[place : place + cuts[turn % len(cuts)]]
        if room is None:
            yield from parser.feed(memoryview(piece))
        else:
            piece = piece[: len(room)]
            room[: len(piece)] = piece
            yield from parser.filled(len(piece))
        place += len(piece)
        turn += 1


@settings(deadline=None)
@given(FRAMES, CUTS)
def test_frames_are_the_same_whatever_the_cuts(frames: list[tuple[int, int, list[int]]], cuts: list[int]) -> None:
    sent = contents(frames)
    data = b"".join(bytes(buffer) for kind, number, parts in sent for buffer in pack(kind, number, parts))
    got = [
        (kind, number, [bytes(part) for part in parts]) for kind, number, parts in received(Parser(), data, cuts)
    ]
    assert got == sent


@pytest.mark.parametrize("cut", [13, 14, 1000])
def test_a_text_is_no_frame(cut: int) -> None:
    """Somebody else may have written into the socket: what he began would never be complete."""
    for text in (b"garbage of a child\n" * 60, b"\r\n\t\t" * 300, "\x0b\u00fc".encode() * 400, b"\xf9junk" * 400):
        parser = Parser()
        before = b"".join(map(bytes, pack(1, 2, [b"a"])))
        assert len(list(received(parser, before + text, [cut]))) == 1
        assert parser.broken


@pytest.mark.parametrize("text", [b"x", b"\n", b"\0", b"\xc3\xbc"])
def test_the_first_byte_says_that_it_is_no_frame(text: bytes) -> None:
    """A head that is never complete would be waited for."""
    parser = Parser()
    assert parser.feed(memoryview(text)) == []
    assert parser.broken


def test_lengths_beyond_all_memory_are_no_frame() -> None:
    parser = Parser()
    assert parser.feed(memoryview(HEAD.pack(MARK, 1, 1, 1) + b"\xff" * 8)) == []
    assert parser.broken


def test_small_parts_are_one_buffer_and_large_ones_are_sent_from_where_they_lie() -> None:
    large = bytes(SMALL)
    assert [len(buffer) for buffer in pack(1, 2, [b"a", b"bc"])] == [14 + 16 + 3]
    assert [len(buffer) for buffer in pack(1, 2, [b"a", large, b"bc"])] == [14 + 24 + 1, SMALL, 2]
    assert pack(1, 2, [b"a", large])[1] is large


QUIET = """
import os, signal, socket
from mrpy.scheduler.backends.transport import ParentEnd, WorkerEnd

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
for kind in (ParentEnd, WorkerEnd):
    for parts, fds in ([], ()), ([b"x" * 2**20], ()), ([b"x"], (0,)):
        ours, other = socket.socketpair()
        other.close()
        end = kind(ours)
        try:
            end.send(1, 1, parts, fds)
            end.flush()
        except BrokenPipeError:
            print(kind.__name__)
"""


@pytest.mark.skipif(not hasattr(socket, "MSG_NOSIGNAL"), reason="the system has no write without a signal")
def test_a_write_to_an_end_that_is_gone_ends_no_program() -> None:
    """Scripts whose output goes to ``head`` let SIGPIPE end them; a dead worker is nothing of that kind."""
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["ParentEnd"] * 3 + ["WorkerEnd"] * 3, "")
