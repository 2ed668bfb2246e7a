"""The report: one Markdown file, rewritten as a whole whenever a step ends.

What was measured so far is therefore in the file whatever happens next. The summary is its first
section, and grows with the others.
"""

import os
from dataclasses import dataclass, field

PASSED, FAILED, LEFT_OUT = "passed", "FAILED", "left out"
WAITING, RUNNING = "not begun", "not finished"


@dataclass
class Step:
    """A step of the report."""

    name: str
    title: str
    outcome: str = WAITING
    # What the summary says of it: the reason, what was shortened, or the main result.
    notes: list = field(default_factory=list)
    seconds: float = 0.0
    # Its section, as blocks of Markdown.
    blocks: list = field(default_factory=list)

    def fail(self, reason):
        self.outcome = FAILED
        self.notes.append(reason)

    def leave_out(self, reason):
        self.outcome = LEFT_OUT
        self.notes.append(reason)

    def add(self, text):
        self.blocks.append(text)

    def table(self, header, rows):
        self.add(table(header, rows))

    def code(self, text):
        self.add(code(text))

    def fold(self, title, text):
        """Text that a reader opens on demand."""
        self.add(f"<details><summary>{title}</summary>\n\n{text}\n\n</details>")


def cell(value):
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)


def code(text):
    """A block of output as it was printed, without the codes of terminals."""
    printable = "".join(c for c in text if c == "\n" or c == "\t" or c.isprintable())
    return f"```text\n{printable.strip() or '(no output)'}\n```"


def duration(seconds):
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


class Report:
    """Steps and summary in a file."""

    def __init__(self, path, head):
        self.path = path
        self.head = head
        self.steps = []
        self.highlights = []
        self.write()

    def write(self):
        lines = [[s.title, s.outcome, duration(s.seconds), "; ".join(s.notes)] for s in self.steps]
        blocks = [self.head, "## Summary", table(["step", "result", "time", "notes"], lines)]
        blocks += self.highlights
        for step in self.steps:
            if step.blocks:
                blocks += [f"## {step.title}", *step.blocks]
        unfinished = self.path.with_name(self.path.name + ".part")
        with open(unfinished, "w", encoding="utf-8") as file:
            file.write("\n\n".join(blocks) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, self.path)
