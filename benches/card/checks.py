"""Steps `selftest` and `shaders`: does the card compute what it should?"""

import os
import re
import shutil

from machine import ROOT
from process import run
from report import code

# The test files that run shaders; others need no card.
FILES = ["kernels", "parity", "engine", "fusion", "precision", "matrices", "tuner", "training"]
FILES_QUICK = ["parity"]


def selftest(step, options, deadline):
    """The program's own comparison of every kernel with a plain reference."""
    words = [options.program, "selftest", *options.target.flags]
    result = run(words, deadline.left())
    if result.out.strip():
        kernels = [line.split()[-1] for line in result.out.splitlines() if line.strip()]
        step.notes.append(f"{kernels.count('ok')} lines of the table are ok")
        step.fold("the table", f"`pyr-wgpu {' '.join(words[1:])}`:\n\n{code(result.out)}")
    if not result.ok():
        step.fail(result.failure())
        step.code(result.err[-4000:])


def shaders(step, options, deadline):
    """The tests of `cargo test` that run shaders, from cargo or as built elsewhere."""
    if options.target.adapter is None:
        return step.leave_out("the device is the processor, which runs no shaders")
    wanted = FILES_QUICK if options.quick else FILES
    if options.tests:
        commands = prebuilt(step, options.tests, wanted)
    elif options.cargo:
        cargo = shutil.which(options.cargo)
        if cargo is None:
            return step.leave_out(f"there is no program {options.cargo}")
        profile = [] if options.quick else ["--release"]
        start = [cargo, "test", *profile, "--no-fail-fast", "--test"]
        commands = [(name, [*start, name]) for name in wanted]
    else:
        return step.leave_out("neither --cargo nor --tests names the tests")
    if not commands:
        return step.leave_out(f"{options.tests} has none of the test programs {', '.join(wanted)}")
    rows = []
    for name, words in commands:
        rows.append(run_tests(step, options, deadline, name, words))
    step.table(["tests", "passed", "failed", "ignored", "result"], rows)
    step.notes.append(f"{sum(row[1] for row in rows)} tests passed")
    return None


def prebuilt(step, folder, wanted):
    """Test programs by name, with or without cargo's hash at the end."""
    commands = []
    for name in wanted:
        pattern = re.compile(rf"{name}(-[0-9a-f]{{16}})?(\.exe)?")
        files = [file for file in folder.iterdir() if pattern.fullmatch(file.name)]
        files = [file for file in files if file.is_file() and os.access(file, os.X_OK)]
        if files:
            newest = max(files, key=lambda file: file.stat().st_mtime)
            commands.append((name, [newest]))
        else:
            step.notes.append(f"{name} is not in {folder}")
    return commands


def run_tests(step, options, deadline, name, words):
    environment = {"PYR_WGPU_TEST_GPU": "required"}
    # A number, because the name of one adapter can be a part of another's, or on two backends.
    environment["PYR_WGPU_TEST_DEVICE"] = str(options.target.number)
    if deadline.left() == 0:
        step.fail(f"{name}: no time was left")
        return [name, 0, 0, 0, "no time was left"]
    result = run(words, deadline.left(), environment, ROOT)
    counts = [0, 0, 0]
    for line in result.out.splitlines():
        found = re.match(r"test result: .* (\d+) passed; (\d+) failed; (\d+) ignored", line)
        if found:
            counts = [old + int(new) for old, new in zip(counts, found.groups())]
    if result.ok():
        return [name, *counts, "ok"]
    failed = re.findall(r"^test (.*) \.\.\. FAILED$", result.out, re.MULTILINE)
    reason = f"failed: {', '.join(failed)}" if failed else result.failure()
    step.fail(f"{name}: {reason}")
    step.fold(f"output of {name}", code((result.out + result.err)[-8000:]))
    return [name, *counts, reason]
