"""Markdown pages: their fenced code blocks, and the commands and outputs in these."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex

FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*([^`]*)$")
QUOTED_FENCE = re.compile(r"^\s*>\s*(`{3,}|~{3,})")
HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
OPTIONS = {
    "console": {"exit", "skip", "timeout"},
    "sh": {"skip", "timeout"},
    "yaml": {"title", "skip"},
    "json": set(),
    "mermaid": set(),
    "promql": set(),
    "rust": {"ignore", "no_run"},
    "text": set(),
}
LIMIT_S = 300.0


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of a `console` block, and the output that the page shows."""

    line: int
    script: str
    output: list[str]


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced code block. `line` is that of the opening fence."""

    path: pathlib.Path
    line: int
    language: str
    options: dict[str, str]
    lines: list[str]
    section: str
    clean_up: bool

    @property
    def text(self) -> str:
        return "".join(line + "\n" for line in self.lines)

    @property
    def skip(self) -> str | None:
        return self.options.get("skip")

    @property
    def runs(self) -> bool:
        return self.language in ("console", "sh") and self.skip is None

    @property
    def limit_s(self) -> float:
        return float(self.options.get("timeout", LIMIT_S))

    @property
    def exit_code(self) -> int:
        return int(self.options.get("exit", 0))

    def commands(self) -> list[Command]:
        """Commands begin with `$ `, continue with `> `; the other lines are output."""
        found: list[Command] = []
        in_command = False
        for offset, line in enumerate(self.lines):
            if line.startswith("$ "):
                found.append(Command(self.line + 1 + offset, line[2:] + "\n", []))
                in_command = True
            elif in_command and (line == ">" or line.startswith("> ")):
                last = found[-1]
                found[-1] = dataclasses.replace(last, script=last.script + line[2:] + "\n")
            elif found:
                found[-1].output.append(line)
                in_command = False
        return found


@dataclasses.dataclass(frozen=True)
class Page:
    path: pathlib.Path
    blocks: list[Block]
    # Faults of the page itself, as (line, text).
    faults: list[tuple[int, str]]

    @property
    def text(self) -> str:
        return self.path.read_text()


def _options(info: str) -> tuple[str, dict[str, str]]:
    """`console exit=1 skip="no GPU"` as language and options; an option without a value is ''."""
    words = shlex.split(info.replace(",", " ") if info.startswith("rust") else info)
    options = {name: value for name, _, value in (word.partition("=") for word in words[1:])}
    return (words[0] if words else ""), options


def _fault(language: str, options: dict[str, str], lines: list[str]) -> str | None:
    if not language:
        return "a block without a language; use `text` for what is neither command nor file"
    if language not in OPTIONS:
        return f"unknown language '{language}'; known are {', '.join(sorted(OPTIONS))}"
    if unknown := options.keys() - OPTIONS[language]:
        return f"unknown option '{sorted(unknown)[0]}' of a {language} block"
    if options.get("skip") == "":
        return "skip needs a reason"
    if not re.fullmatch(r"\d+", options.get("exit", "0")) or not re.fullmatch(
        r"\d+", options.get("timeout", "1")
    ):
        return "exit and timeout take a number"
    if "title" in options and not re.fullmatch(r"[\w.-]+\.ya?ml", options["title"]):
        return "title takes the name of a YAML file"
    if language == "console" and not (lines and lines[0].startswith("$ ")):
        return "a console block begins with a command: `$ …`"
    if language in ("sh", "text") and any(line.startswith("$ ") for line in lines):
        return f"a {language} block with a `$ ` prompt; use console"
    return None


def read(path: pathlib.Path) -> Page:
    """Reads a page. Blocks below a heading `Clean up` are marked, down to the next section."""
    blocks: list[Block] = []
    faults: list[tuple[int, str]] = []
    section, clean_up_level = "", 0
    lines = iter(enumerate(path.read_text().splitlines(), 1))
    for number, line in lines:
        if heading := HEADING.match(line):
            level, section = len(heading[1]), heading[2]
            if section.lower() == "clean up":
                clean_up_level = level
            elif level <= clean_up_level:
                clean_up_level = 0
        if QUOTED_FENCE.match(line):
            faults.append((number, "a code block in a quote; move it out"))
        if not (fence := FENCE.match(line)):
            continue
        indent, mark, info = len(fence[1]), fence[2], fence[3].strip()
        content: list[str] = []
        for _, inner in lines:
            if re.fullmatch(rf" *{mark[0]}{{{len(mark)},}} *", inner):
                break
            content.append(inner[indent:] if not inner[:indent].strip() else inner)
        else:
            faults.append((number, "a code block that does not end"))
        try:
            language, options = _options(info)
        except ValueError as error:
            faults.append((number, f"cannot read '{info}': {error}"))
            continue
        if fault := _fault(language, options, content):
            faults.append((number, fault))
        else:
            blocks.append(
                Block(path, number, language, options, content, section, clean_up_level > 0)
            )
    return Page(path, blocks, faults)
