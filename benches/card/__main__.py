"""Everything that is worth knowing about pyr-wgpu on a graphics card, as one Markdown file.

    python3 benches/card --out DIR [--program PATH] [--device NAME] [--data DIR] [--minutes N]

Steps: machine (devices, drivers, versions), selftest (every kernel against a plain reference),
shaders (the tests of the repository that run shaders), speed (bench beside PyTorch on the same
card), training (a hundred steps). The file is written again after each step, so that what was
measured is kept if a later step fails or Ctrl-C ends the program. It needs Python 3.9 and the built
program; PyTorch and Rust are optional, and the report says what is left out without them.

Exit codes: 0 nothing failed, 1 a step failed, 2 wrong arguments, 130 Ctrl-C.
"""

import argparse
import datetime
import os
import shlex
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import checks
import figures
import machine
import speed
import training
from device import Torch, WrongArguments, find, find_torch
from process import Deadline
from report import FAILED, PASSED, RUNNING, Report, Step

# Name, title, minutes at most, share of the whole time.
STEPS = [
    ("machine", "Machine", 5, 1),
    ("selftest", "Kernels against a plain reference", 20, 4),
    ("shaders", "Tests of the repository", 40, 6),
    ("speed", "Speed", 120, 24),
    ("training", "Training", 20, 5),
]
NAMES = [name for name, *_ in STEPS]

# With less, a step is not begun.
LEAST_SECONDS = 2


def step_list(text):
    names = text.split(",")
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"{name} is no step; there are {', '.join(NAMES)}")
    return names


def positive(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number above zero")
    return value


def limit(text):
    name, _, minutes = text.partition("=")
    return step_list(name)[0], positive(minutes)


def parse():
    summary, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python3 benches/card",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="directory for report.md, or a file .md")
    add("--program", help="the built pyr-wgpu [default: target/release, else from PATH]")
    add("--device", default="auto", help="as pyr-wgpu --device: auto, cpu, a number, a name")
    add("--backend", help="as pyr-wgpu --backend")
    add("--data", type=Path, help="CIFAR's binary files, or class folders; without, drawn images")
    add("--quick", action="store_true", help="small networks, for software adapters")
    add("--steps", type=step_list, default=NAMES, help=f"of {','.join(NAMES)} [default: all]")
    add("--skip", type=step_list, default=[], help="steps to leave out")
    add("--minutes", type=positive, help="for everything: later parts are shortened or left out")
    help_limit = "time of a step, as in speed=30; may be repeated [default: " + ", ".join(
        f"{name}={minutes}" for name, _, minutes, _ in STEPS
    )
    add("--limit", type=limit, action="append", default=[], metavar="STEP=MINUTES",
        help=help_limit + "]")
    tests = parser.add_mutually_exclusive_group()
    tests.add_argument("--cargo", nargs="?", const="cargo", help="build the tests, by this cargo")
    tests.add_argument("--tests", type=Path, help="directory of built tests, of this checkout")
    add("--python", default=sys.executable, help="a Python with PyTorch [default: this one]")
    add("--torch-device", help="PyTorch's name of the card, if it is not found: cuda:0, mps")
    add("--no-torch", action="store_true", help="compare with nothing")
    add("--rounds", type=int, choices=range(1, 100), default=3, metavar="N",
        help="measurements of each program in a row [default: 3]")
    add("--seconds", type=positive, default=3, help="length of a measurement [default: 3]")
    return parser.parse_args()


def check(options):
    """Completes the options; an error is one line that says what to change."""
    if options.program is None:
        name = "pyr-wgpu.exe" if os.name == "nt" else "pyr-wgpu"
        built = machine.ROOT / "target" / "release" / name
        options.program = str(built) if built.is_file() else shutil.which(name)
        if options.program is None:
            raise WrongArguments("there is no target/release/pyr-wgpu; name one with --program")
    elif not Path(options.program).is_file():
        raise WrongArguments(f"there is no program {options.program}")
    options.program = str(Path(options.program).resolve())
    for folder in (options.data, options.tests):
        if folder is not None and not folder.is_dir():
            raise WrongArguments(f"there is no directory {folder}")
    options.data = options.data and options.data.resolve()
    options.tests = options.tests and options.tests.resolve()
    options.wanted = [name for name in options.steps if name not in options.skip]
    if not options.wanted:
        raise WrongArguments("--skip leaves no step")
    path = options.out
    try:
        if path.suffix != ".md":
            path.mkdir(parents=True, exist_ok=True)
            path = path / "report.md"
        path.touch()
    except OSError as error:
        raise WrongArguments(f"{path} cannot be written: {error.strerror}") from None
    options.path = path
    options.target = find(options.program, options.device, options.backend)
    options.torch = None
    options.progress = lambda text: print(f"  {text}", file=sys.stderr, flush=True)


def look_for_torch(options):
    if options.no_torch:
        return Torch(options.python, reason="--no-torch: nothing is compared")
    return find_torch(options.python, options.target, options.torch_device)


def head(options):
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")
    lines = [f"# pyr-wgpu on {options.target.name()}", now]
    lines.append(f"`python3 benches/card {shlex.join(sys.argv[1:])}`")
    if options.quick:
        lines.append("This is the quick version: its networks are too small to judge a card by.")
    adapter = options.target.adapter
    if adapter is not None and adapter["type"] == "cpu":
        lines.append(
            "This adapter is software that runs shaders on the processor; no card was measured."
        )
    return "\n\n".join(lines)


def work(step, options, deadline, report):
    """Runs one step."""
    if step.name == "speed":
        # The longest step: what it has measured is written after each row.
        for rows in speed.measure(step, options, deadline):
            figures.details(step, rows)
            report.highlights = figures.summary(rows, options)
            report.write()
    else:
        functions = {
            "machine": machine.describe,
            "selftest": checks.selftest,
            "shaders": checks.shaders,
            "training": training.train,
        }
        functions[step.name](step, options, deadline)


def run_steps(options, report):
    """Runs the wanted steps in order, each in its share of the time that is left."""
    whole = Deadline(60 * options.minutes if options.minutes else float("inf"))
    limits = {name: minutes for name, _, minutes, _ in STEPS} | dict(options.limit)
    weights = {name: weight for name, _, _, weight in STEPS}
    report.steps = [Step(name, title) for name, title, _, _ in STEPS]
    for step in report.steps:
        if step.name not in options.wanted:
            step.leave_out("not asked for")
    waiting = [step for step in report.steps if step.name in options.wanted]
    while waiting:
        weight = sum(weights[step.name] for step in waiting)
        step = waiting.pop(0)
        share = whole.left() * weights[step.name] / weight
        deadline = whole.within(min(60 * limits[step.name], share))
        if deadline.left() < LEAST_SECONDS:
            step.leave_out("the time was over")
            continue
        print(f"{step.title} ({step.name})", file=sys.stderr, flush=True)
        step.outcome = RUNNING
        report.write()
        began = time.monotonic()
        try:
            work(step, options, deadline, report)
            if step.outcome == RUNNING:
                step.outcome = PASSED
        except Exception as error:
            # A mistake of this program must not cost the steps after it.
            step.fail(f"this script has a bug: {error!r}")
            step.code(traceback.format_exc())
        finally:
            step.seconds = time.monotonic() - began
            if step.outcome == RUNNING:
                step.notes.append("interrupted")
            report.write()
        print(f"  {step.outcome}: {'; '.join(step.notes)}", file=sys.stderr, flush=True)


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    # Also in the background, where a shell has Ctrl-C ignored.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, interrupt)
    options = parse()
    try:
        check(options)
        options.torch = look_for_torch(options)
    except WrongArguments as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    report = Report(options.path, head(options))
    try:
        run_steps(options, report)
    except KeyboardInterrupt:
        print(f"interrupted; what was measured is in {options.path}", file=sys.stderr)
        return 130
    finally:
        report.write()
    print(options.path)
    return 1 if any(step.outcome == FAILED for step in report.steps) else 0


if __name__ == "__main__":
    sys.exit(main())
