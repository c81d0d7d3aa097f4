"""Compares the output that a page shows with the actual one.

`…` stands for any text within a line, a line of only `…` for any number of lines. Runs of spaces
count as one, because the columns of kubectl are as wide as their widest cell.
"""

from __future__ import annotations

import difflib
import functools
import re

ANY = "…"


def _normal(lines: list[str]) -> list[str]:
    normal = [re.sub(r"\s+", " ", line).rstrip() for line in lines]
    while normal and not normal[-1]:
        normal.pop()
    return normal


@functools.cache
def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in line.split(ANY)))


def matches(expected: list[str], actual: list[str]) -> bool:
    expected, actual = _normal(expected), _normal(actual)
    # reached: the numbers of actual lines that the expected lines so far can cover.
    reached = {0}
    for line in expected:
        if line.strip() == ANY:
            reached = set(range(min(reached), len(actual) + 1)) if reached else set()
        else:
            reached = {
                n + 1 for n in reached if n < len(actual) and _pattern(line).fullmatch(actual[n])
            }
    return len(actual) in reached


def difference(expected: list[str], actual: list[str]) -> list[str]:
    """A diff in which expected lines that match are shown as the actual line that they match."""
    expected, actual = _normal(expected), _normal(actual)
    shown, at = [], 0
    for line in expected:
        hit = next(
            (
                n
                for n in range(at, len(actual))
                if line.strip() != ANY and _pattern(line).fullmatch(actual[n])
            ),
            None,
        )
        shown.append(line if hit is None else actual[hit])
        at = at if hit is None else hit + 1
    return list(difflib.unified_diff(shown, actual, "expected", "actual", lineterm="", n=2))
