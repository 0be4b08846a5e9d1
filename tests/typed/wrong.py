"""Programs that are wrong, and that type checkers find so: `make lint` complains of an ignored error that is none."""

from __future__ import annotations

import mrpy


def square(n: int) -> int:
    return n * n


numbers = mrpy.stream([1, 2])

mrpy.pmap(square, ["a"])  # type: ignore[arg-type]
mrpy.pmap(square)  # type: ignore[call-overload]
mrpy.preduce(square, [1])  # type: ignore[arg-type]
mrpy.stream(3)  # type: ignore[arg-type]
mrpy.submit(square, "a")  # type: ignore[arg-type]
mrpy.submit(square, 1, 2)  # type: ignore[call-arg]
mrpy.Executor().submit(square, "a")  # type: ignore[arg-type]
mrpy.Executor("2")  # type: ignore[arg-type]
mrpy.gather(mrpy.submit(square, 1))  # type: ignore[arg-type]
mrpy.wait([mrpy.submit(square, 1)], return_when="ANY")  # type: ignore[arg-type]
mrpy.read_text(3)  # type: ignore[arg-type]
mrpy.parallel([1], 2)  # type: ignore[call-arg]
mrpy.nothing  # type: ignore[attr-defined]

numbers.map(len)  # type: ignore[arg-type]
numbers.mpa(str).whatever  # type: ignore[attr-defined]
numbers.batch("x")  # type: ignore[arg-type]
numbers.unbatch()  # type: ignore[misc]
numbers.join([1], 0, 0, how="innner")  # type: ignore[call-overload]
len(numbers)  # type: ignore[arg-type]
texts: list[str] = numbers.to_list()  # type: ignore[assignment]
text: str = mrpy.pmap(square, [1])  # type: ignore[assignment]
