"""One bash process that runs the commands of a page, each with a time limit."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import select
import signal
import subprocess
import tempfile
import time

GRACE_S = 5.0

# Reads names of scripts from descriptor 9, sources each, and reports its exit code to 8. Commands
# have neither descriptor. USR1 ends the current script.
LOOP = """
trap 'return 124' USR1
while IFS= read -r -u 9 script; do
  . "$script" </dev/null >"$script.out" 2>&1 8>&- 9<&-
  printf '%s\\n' "$?" >&8
done
"""
# As `set -e`, but ends the script, not the session.
STRICT = "set -E -o pipefail; trap 'return $? 2>/dev/null' ERR\n"
LENIENT = "set +E -o pipefail; trap - ERR\n"


class SessionEnded(Exception):
    """The bash process ended, for example by `exit`. A new one without its variables has begun."""


class TimedOut(Exception):
    """A command reached its time limit."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output


class Session:
    def __init__(self, folder: pathlib.Path, environment: dict[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._scripts = tempfile.TemporaryDirectory(prefix="switchyard-docs-session.")
        self._count = 0
        self._start()

    def _start(self) -> None:
        # High numbers, because bash moves the descriptors to 8 and 9.
        commands, self._commands = _high(os.pipe())
        self._status, status = _high(os.pipe())
        loop = f"exec 9<&{commands} 8>&{status} {commands}<&- {status}>&-\n{LOOP}"
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-c", loop],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(commands, status),
            start_new_session=True,
        )
        os.close(commands)
        os.close(status)

    def run(self, script: str, limit_s: float, strict: bool = False) -> tuple[int, str]:
        """Runs a script. Returns its exit code and its output on both streams."""
        self._count += 1
        path = pathlib.Path(self._scripts.name) / f"{self._count}.sh"
        path.write_text((STRICT if strict else LENIENT) + script)
        output = pathlib.Path(f"{path}.out")
        output.touch()
        try:
            os.write(self._commands, f"{path}\n".encode())
            code = self._wait(limit_s)
        except (BrokenPipeError, SessionEnded):
            self._end()
            self._start()
            raise SessionEnded from None
        except (KeyboardInterrupt, SystemExit):
            self._interrupt()
            raise
        text = output.read_text(errors="replace")
        if code is None:
            self._interrupt()
            raise TimedOut(text)
        return code, text

    def _wait(self, limit_s: float) -> int | None:
        """The next exit code; None if the limit is reached first."""
        line, end = b"", time.monotonic() + limit_s
        while not line.endswith(b"\n"):
            if not select.select([self._status], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            read = os.read(self._status, 1)
            if not read:
                raise SessionEnded
            line += read
        return int(line)

    def _members(self) -> list[int]:
        """The processes of the session, without bash itself."""
        found = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, fields = int(stat.parent.name), stat.read_text().rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            if int(fields[3]) == self._bash.pid and pid != self._bash.pid and fields[0] != "Z":
                found.append(pid)
        return found

    def _interrupt(self) -> None:
        """Ends the current command. The session survives unless bash itself does not react."""
        end = time.monotonic() + GRACE_S
        while time.monotonic() < end:
            for pid in [self._bash.pid, *self._members()]:
                _kill(pid, signal.SIGUSR1 if pid == self._bash.pid else signal.SIGTERM)
            try:
                if self._wait(0.5) is not None:
                    return
            except SessionEnded:
                break
        self._end()
        self._start()

    def _end(self) -> None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if sign == signal.SIGKILL:
                _kill(self._bash.pid, sign)
            for pid in self._members():
                _kill(pid, sign)
            end = time.monotonic() + GRACE_S
            while self._members() and time.monotonic() < end:
                time.sleep(0.05)
        self._bash.wait()
        os.close(self._commands)
        os.close(self._status)

    def close(self) -> None:
        """Ends the session and everything that it left in the background."""
        self._end()
        self._scripts.cleanup()


def _high(pipe: tuple[int, int]) -> tuple[int, int]:
    high = (
        fcntl.fcntl(pipe[0], fcntl.F_DUPFD_CLOEXEC, 100),
        fcntl.fcntl(pipe[1], fcntl.F_DUPFD_CLOEXEC, 100),
    )
    os.close(pipe[0])
    os.close(pipe[1])
    return high


def _kill(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)
