"""What runs on a worker where results are written: a chunk into a part of its own."""

from __future__ import annotations

import operator
import os
from contextlib import suppress

from mrpy.errors import pin, pins
from mrpy.light import Any, Frozen
from mrpy.mapreduce.chunks import Chunk, partly
from mrpy.mapreduce.folds import Fold, FoldChunk, in_leaves
from mrpy.mapreduce.kernels import Announce
from mrpy.mapreduce.rules import Rules
from mrpy.mapreduce.sinks.parts import Format, Part, PartFile, Writer
from mrpy.mapreduce.skipped import Skipped
from mrpy.mapreduce.steps import Step, itself


class WriteChunk(Frozen):
    """The kernel of a sink: a chunk through the steps and into a file of its own; its value is the receipt.

    It is a fold whose leaves write. So results are written as they are made, and an item that fails is dealt
    with, named or left out as in every fold.
    """

    steps: tuple[Step, ...]
    rules: Rules
    format: Format
    folder: str
    output: str
    in_leaves = True  # see `mrpy.mapreduce.cut_again`

    def __call__(self, chunk: Chunk, announce: Announce | None = None) -> Any:
        skipped = Skipped(self.rules.max_errors)
        before = pins()
        try:
            part, done = self._written(chunk, skipped, announce)
            return partly(skipped.beside(part), done)
        except Exception as error:  # of the part as a whole; or of its file, and then no item says so
            pin(error, chunk.some_item(), before)
            raise

    def _written(
        self, chunk: Chunk, skipped: Skipped, announce: Announce | None
    ) -> tuple[Part, int | None]:
        file = PartFile(self.folder, chunk.first, self.output)
        writer: Writer | None = None
        part: Part | None = None
        try:
            writer = self.format.writer(file)
            records, done = self._records(writer, chunk, skipped, announce)
            writer.finish()
            name = os.path.basename(file.path) if records else ""
            part = Part(name, records, file.synced() if records else 0, writer.columns)
        finally:
            if writer is not None:
                writer.abandon()
            file.close()
            if part is None or not part.records:
                with suppress(OSError):  # the run is over, and its folder is gone
                    os.unlink(file.path)
        return part, done

    def _records(
        self, writer: Writer, chunk: Chunk, skipped: Skipped, announce: Announce | None
    ) -> tuple[int, int | None]:
        """Write what comes out of the steps; how many records that was, and of how many items (None: all)."""
        fold = Fold(writer.write, operator.add, itself, self.format.label)
        rules = self.rules.replaced(ends=lambda error: error is writer.problem)
        on_error = rules.on_error
        if callable(on_error):  # what it gives has not been through the last step
            rules = rules.replaced(on_error=lambda error: writer.encode(on_error(error)))
        kernel = FoldChunk((*self.steps, writer), fold, rules)
        nodes, done = in_leaves(chunk, lambda parts: kernel.nodes(chunk, parts, skipped, announce))
        return sum(node.value for node in nodes), done
