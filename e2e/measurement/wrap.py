"""Wraps the paragraphs and list items of a Markdown page at 100 columns.

Reads standard input and writes standard output. Tables, headings, comments and code stay as they
are. Each paragraph and each list item is one line of the input.
"""

import re
import sys
import textwrap

WIDTH = 100


def wrapped(line: str) -> str:
    """The lines that replace `line`."""
    if len(line) <= WIDTH or line.startswith(("|", "#", "<!--")):
        return line
    indent = re.match(r"\s*(?:(?:[-*]|\d+\.) )?", line).end()
    return textwrap.fill(
        line,
        WIDTH,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def main() -> None:
    code = False
    for line in sys.stdin.read().splitlines():
        code ^= line.startswith("```")
        print(line if code else wrapped(line))


if __name__ == "__main__":
    main()
