"""Step `machine`: what the computer, the card, the drivers and the program are."""

import hashlib
import os
import platform
import shutil
from pathlib import Path

from process import run

ROOT = Path(__file__).resolve().parents[2]

# Tools of drivers that say more than the program can; each is asked where it exists.
TOOLS = [
    ["nvidia-smi"],
    ["rocm-smi", "--showproductname", "--showdriverversion", "--showuse"],
    ["system_profiler", "SPDisplaysDataType"],
]


def describe(step, options, deadline):
    """Fails if the program cannot describe its devices or its system."""
    facts = [
        ("device", options.target.name()),
        ("program", version(options.program, deadline)),
        ("program's file", f"SHA-256 {digest(options.program)}"),
        ("script", commit(deadline)),
        ("system", platform.platform()),
        ("processor", processor()),
        ("Python", platform.python_version()),
        ("PyTorch", options.torch.line()),
    ]
    driver = (options.target.adapter or {}).get("driver")
    if driver is not None:
        details = options.target.adapter.get("driver_info", "")
        facts.insert(1, ("driver", f"{driver} {details}".strip()))
    variables = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    if variables:
        facts.append(("environment", ", ".join(variables)))
    step.table(["", ""], facts)
    for command in ("devices", "doctor"):
        words = [options.program, command]
        if command == "devices" and options.backend:
            words += ["--backend", options.backend]
        result = run(words, deadline.left())
        step.add(f"`pyr-wgpu {' '.join(words[1:])}`:")
        step.code(result.out)
        # What doctor finds wrong is in its text; the other steps show whether it matters.
        if not result.ok() and (command == "devices" or result.code is None):
            step.fail(f"{command}: {result.failure()}")
    for words in TOOLS:
        if shutil.which(words[0]):
            step.add(f"`{' '.join(words)}`:")
            step.code(run(words, min(30, deadline.left())).out)


# They change which driver or device is found.
VARIABLES = [
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_INSTANCE_LAYERS",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
]


def version(program, deadline):
    result = run([program, "--version"], min(30, deadline.left()))
    return result.out.strip() if result.ok() else result.failure()


def digest(program):
    with open(program, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def commit(deadline):
    """Of the script's checkout: the program does not know its own."""
    if not shutil.which("git"):
        return "no git, commit unknown"
    words = ["git", "describe", "--always", "--dirty"]
    result = run(words, min(30, deadline.left()), folder=ROOT)
    if not result.ok():
        return "not in a checkout, commit unknown"
    return f"commit {result.out.strip()} (the program does not tell its own)"


def processor():
    name = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name or platform.machine()}, {os.cpu_count()} threads"
