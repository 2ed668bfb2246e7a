"""Commands with a time limit, and processes that answer line by line.

Every command is the head of its own group of processes, so that Ctrl-C reaches this program only,
and a command that is ended takes its children along.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

POSIX = os.name == "posix"

# How long a command may take to end after it was asked to.
GRACE = 10


class TimeIsOver(Exception):
    """A command did not answer in time."""


class Ended(Exception):
    """A process ended before it answered, with this exit code."""

    def __init__(self, reason, code):
        super().__init__(reason)
        self.code = code


class Deadline:
    """A moment after which nothing new begins."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        return max(0.0, self.end - time.monotonic())

    def within(self, seconds):
        """A deadline after some seconds, or this one if it is earlier."""
        return Deadline(min(seconds, self.left()))


@dataclass
class Result:
    """How a command ended; `code` is None where it was ended by its time limit."""

    words: list
    code: int | None
    out: str
    err: str
    seconds: float

    def ok(self):
        return self.code == 0

    def failure(self):
        """Why it failed, in a line."""
        if self.code is None:
            return f"took longer than {self.seconds:.0f} s and was ended"
        return f"exit code {self.code}: {last_line(self.err) or last_line(self.out)}"


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["no message"])[-1]


def start(words, **options):
    if POSIX and sys.version_info >= (3, 11):
        # The system ends the group's stopped processes if this program is killed.
        options["process_group"] = 0
    elif POSIX:
        options["start_new_session"] = True
    return subprocess.Popen(
        [str(word) for word in words],
        text=True,
        encoding="utf-8",
        errors="replace",
        **options,
    )


def send(process, name):
    """Sends a signal to a process and its children."""
    try:
        os.killpg(process.pid, getattr(signal, name))
    except (ProcessLookupError, PermissionError):
        pass


def end(process):
    """Ends a process and its children: politely, then by force."""
    if POSIX:
        send(process, "SIGCONT")
        send(process, "SIGTERM")
    else:
        process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
    finally:
        if POSIX:
            send(process, "SIGKILL")
    process.wait()


def run(words, seconds, environment=None, folder=None):
    """Runs a command to its end, or for so many seconds."""
    began = time.monotonic()
    # Files, because a child that outlives its parent would keep a pipe open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **(environment or {})},
            cwd=folder,
        )
        try:
            code = process.wait(max(0.1, seconds))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(process)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return Result(list(words), code, *texts, time.monotonic() - began)


class Conversation:
    """A process that prints lines and may be asked for more; a context manager that ends it.

    Its standard error is kept for its last message, or `merged` with the lines.
    """

    def __init__(self, words, merged=False):
        self.words = words
        self.merged = merged

    def __enter__(self):
        self.err = tempfile.TemporaryFile()
        err = subprocess.STDOUT if self.merged else self.err
        try:
            self.process = start(
                self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err
            )
        except OSError as error:
            self.err.close()
            raise Ended(f"cannot be started: {error.strerror}", None) from None
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_):
        end(self.process)
        try:
            self.process.stdin.close()
        except OSError:
            # What was asked last is still in the buffer.
            pass
        self.err.close()

    def _read(self):
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self, seconds):
        """The next line; `TimeIsOver` or `Ended` where there is none."""
        try:
            line = self.lines.get(timeout=max(0.1, seconds))
        except queue.Empty:
            raise TimeIsOver(f"no answer within {seconds:.0f} s") from None
        if line is None:
            code = self.process.wait()
            raise Ended(self.complaint(), code)
        return line

    def complaint(self):
        self.err.seek(0)
        return last_line(self.err.read().decode("utf-8", "replace"))

    def ask(self, text):
        try:
            self.process.stdin.write(f"{text}\n")
            self.process.stdin.flush()
        except OSError:
            # It has ended; reading its answer reports the cause.
            pass

    def pause(self):
        """Stops its threads, which may spin in expectation of work, where signals can."""
        if POSIX:
            send(self.process, "SIGSTOP")

    def resume(self):
        if POSIX:
            send(self.process, "SIGCONT")
