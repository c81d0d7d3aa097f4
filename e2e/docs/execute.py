"""Runs the blocks of pages."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

import compare
import harness
import page as pages
from session import Session, SessionEnded, TimedOut


def _show(path: pathlib.Path) -> pathlib.Path:
    return path.relative_to(harness.ROOT) if path.is_relative_to(harness.ROOT) else path


def _indented(text: str, most: int = 60) -> str:
    lines = text.splitlines()
    if len(lines) > most:
        lines = [f"({len(lines) - most} lines before)", *lines[-most:]]
    return "".join(f"    {line}\n" for line in lines)


class Failed(Exception):
    """A block failed. The text is the report."""


class Run:
    """Runs pages, and reports each to standard output."""

    def __init__(
        self,
        env_file: pathlib.Path | None,
        in_place: bool,
        shared: bool,
        path: str,
        stack: contextlib.ExitStack,
    ) -> None:
        self.env_file, self._in_place, self._shared = env_file, in_place, shared
        self._path, self._stack = path, stack
        self._urls: dict[str, str] | None = None
        self.failures: list[str] = []
        # Failures of the current page, without those of pages that run within it.
        self._own: list[str] = []
        self.executed = 0
        self.skipped: list[str] = []

    def run(self, path: pathlib.Path, within: Callable[[], None] = lambda: None) -> None:
        """Runs one page. `within` is called between its other blocks and its `Clean up`."""
        page, begun = pages.read(path), time.monotonic()
        outer, self._own = self._own, []
        self._own += [f"{_show(path)}:{line}: {text}\n" for line, text in page.faults]
        try:
            self._run(page, within)
        except (subprocess.SubprocessError, RuntimeError, OSError) as error:
            self._own.append(f"{_show(path)}: {error}\n")
        verdict = "FAILED" if self._own else "ok"
        took = time.monotonic() - begun
        print(f"{_show(path)}: {verdict}, {len(page.blocks)} blocks in {took:.0f} s", flush=True)
        print("".join(self._own), end="", flush=True)
        self.failures += self._own
        self._own = outer

    def _run(self, page: pages.Page, within: Callable[[], None]) -> None:
        runs = [block for block in page.blocks if block.runs]
        own_demo = any("make demo\n" in block.text for block in runs)
        demo = None
        if self.env_file and not own_demo and not self._shared:
            demo = harness.Demo(self.env_file, page.text)
        state = demo.state() if demo else set()
        main = [block for block in page.blocks if not block.clean_up]
        with self._session(page, own_demo) as (folder, session):
            try:
                if self._blocks(main, folder, session):
                    if own_demo:
                        self.env_file = folder / ".demo/env"
                    within()
            finally:
                # Runs to its end even if one of its blocks fails, and after a signal.
                for block in page.blocks:
                    if block.clean_up:
                        self._blocks([block], folder, session)
        if demo:
            self._own += [f"{_show(page.path)}: {each}\n" for each in demo.changes(state)]

    @contextlib.contextmanager
    def _session(self, page: pages.Page, own_demo: bool) -> Iterator[tuple[pathlib.Path, Session]]:
        with contextlib.ExitStack() as stack:
            folder = (
                pathlib.Path.cwd()
                if self._in_place
                else stack.enter_context(harness.scratch_clone())
            )
            # A page sets what it needs itself; only make's own variables would change it silently.
            environment = {
                name: value
                for name, value in os.environ.items()
                if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "KUBECONFIG")
            }
            environment |= {"PATH": self._path, "PAGER": "cat", "TERM": "dumb", "LC_ALL": "C.UTF-8"}
            if self.env_file and not own_demo:
                if not self._in_place:
                    (folder / ".demo").mkdir(exist_ok=True)
                    shutil.copy(self.env_file, folder / ".demo/env")
                environment |= harness.demo_environment(self.env_file)
                if "$PROMETHEUS" in page.text or "$ALERTMANAGER" in page.text:
                    environment |= self._prometheus(self.env_file)
            session = Session(folder, environment)
            try:
                yield folder, session
            finally:
                session.close()

    def _prometheus(self, env_file: pathlib.Path) -> dict[str, str]:
        """Starts Prometheus for the first page that names it; it runs until the last page."""
        if self._urls is None:
            self._urls = self._stack.enter_context(harness.prometheus(env_file))
        return self._urls

    def _blocks(self, blocks: list[pages.Block], folder: pathlib.Path, session: Session) -> bool:
        """Runs blocks up to the first failure. Returns whether all succeeded."""
        for block in blocks:
            place = f"{_show(block.path)}:{block.line}"
            if block.language == "yaml" and "title" in block.options:
                (folder / block.options["title"]).write_text(block.text)
            if block.language in ("console", "sh") and block.skip is not None:
                self.skipped.append(f"{place}: {block.skip}")
            if not block.runs:
                continue
            try:
                _sh(block, session) if block.language == "sh" else _console(block, session)
                self.executed += 1
            except Failed as failure:
                self._own.append(str(failure))
                return False
        return True


def _execute(
    block: pages.Block, line: int, script: str, limit_s: float, session: Session, strict: bool
) -> tuple[int, str]:
    place = f"{_show(block.path)}:{line}"
    try:
        return session.run(script, limit_s, strict)
    except TimedOut as late:
        raise Failed(
            f"{place}: still running after {limit_s:.0f} s\n{_indented(script)}  output so far:\n{_indented(late.output)}"
        ) from None
    except SessionEnded:
        raise Failed(f"{place}: ended the shell\n{_indented(script)}") from None


def _sh(block: pages.Block, session: Session) -> None:
    code, output = _execute(block, block.line, block.text, block.limit_s, session, strict=True)
    if code != 0:
        raise Failed(
            f"{_show(block.path)}:{block.line}: exit code {code}\n{_indented(block.text)}  output:\n{_indented(output)}"
        )


def _console(block: pages.Block, session: Session) -> None:
    end = time.monotonic() + block.limit_s
    commands = block.commands()
    for command in commands:
        place = f"{_show(block.path)}:{command.line}"
        code, output = _execute(
            block,
            command.line,
            command.script,
            max(1.0, end - time.monotonic()),
            session,
            strict=False,
        )
        wanted = block.exit_code if command is commands[-1] else 0
        if code != wanted:
            raise Failed(
                f"{place}: exit code {code} instead of {wanted}\n{_indented(command.script)}  output:\n{_indented(output)}"
            )
        actual = output.splitlines()
        if not compare.matches(command.output, actual):
            difference = "\n".join(compare.difference(command.output, actual))
            raise Failed(
                f"{place}: other output\n{_indented(command.script)}  difference:\n{_indented(difference, 200)}"
            )
