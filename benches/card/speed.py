"""Step `speed`: `bench` beside PyTorch on the same device, by turns.

A card's clock changes with its temperature and load, so a ratio is of two measurements of one
round. All programs of a row are ready before its first round; the peers are stopped while another
program is measured, and give the memory of a step back after each measurement.
"""

import contextlib
import json
import statistics
from dataclasses import dataclass, field

from device import PEER
from process import Conversation, Ended, TimeIsOver, run
from report import FAILED

# A `bench` that takes longer hangs; its first one also measures kernels for the tuner.
LONGEST_BENCH = 900
# `torch.compile` takes minutes for deep networks; it may also take no more than a quarter of the
# time that is left, so that ours is measured even where it takes hours.
LONGEST_WARM_UP = 900


@dataclass(frozen=True)
class Row:
    """A workload."""

    network: str
    depth: int
    alpha: int
    mode: str
    batch: int

    def flags(self):
        words = ["--depth", self.depth, "--alpha", self.alpha]
        return [str(w) for w in [*words, "--batch-size", self.batch, "--mode", self.mode]]

    def name(self):
        return f"{self.network} {self.mode}, batch {self.batch}"


W1, W2, WIDE = ("W1", 20, 24), ("W2", 110, 48), ("alpha 270", 110, 270)

# What the time may not suffice for comes last: a large batch tells most about a card.
ROWS = [
    Row(*W1, "train", 128),
    Row(*W2, "train", 128),
    Row(*WIDE, "train", 128),
    Row(*W1, "infer", 128),
    Row(*W2, "infer", 128),
    Row(*WIDE, "infer", 128),
    Row(*W1, "train", 32),
    Row(*W2, "train", 16),
    Row(*WIDE, "train", 4),
    Row(*W1, "infer", 32),
    Row(*W2, "infer", 16),
    Row(*WIDE, "infer", 4),
    Row(*W1, "infer", 1),
    Row(*W2, "infer", 1),
]
ROWS_QUICK = [Row("PyramidNet-8 alpha 12", 8, 12, mode, 8) for mode in ("train", "infer")]


@dataclass(frozen=True)
class Variant:
    """One of our precisions; peers of the same class compute as coarsely."""

    name: str
    flags: tuple
    half: bool


F32 = Variant("f32", (), False)
F16 = Variant("f16", ("--precision", "f16"), True)
F16_UNITS = Variant("f16, matrix units", ("--precision", "f16", "--matrix-units"), True)
F32_UNITS = Variant("f32, matrix units", ("--matrix-units",), False)


@dataclass(frozen=True)
class Peer:
    """A way to run PyTorch."""

    name: str
    flags: tuple
    half: bool


EAGER = Peer("eager", (), False)
EXACT = Peer("eager, no TF32", ("--no-tf32",), False)
COMPILED = Peer("compiled", ("--compile",), False)
AMP = Peer("AMP", ("--amp",), True)
COMPILED_AMP = Peer("compiled AMP", ("--compile", "--amp"), True)
PEERS = [EAGER, EXACT, COMPILED, AMP, COMPILED_AMP]


def variants(device):
    """Ours on a device, and what is left out."""
    if device.adapter is None:
        return [F32], ["f16 and matrix units: the processor has neither"]
    if not device.matrices:
        return [F32, F16], ["matrix units: the adapter has none that the program can use"]
    metal = device.adapter["backend"] == "metal"
    return [F32, F16, F16_UNITS, *([F32_UNITS] if metal else [])], []


def peers(options, ours):
    """Those of PyTorch's device that compute as one of ours does."""
    torch = options.torch
    if torch.device is None:
        return []
    known = [EAGER, COMPILED, AMP] if options.quick else PEERS
    # Only cuDNN rounds to TF32.
    exists = [peer for peer in known if peer != EXACT or torch.device.startswith("cuda")]
    return [peer for peer in exists if any(variant.half == peer.half for variant in ours)]


@dataclass
class Measured:
    """A row's results: images per second in each round, by variant or peer."""

    row: Row
    ours: dict = field(default_factory=dict)
    theirs: dict = field(default_factory=dict)
    # The last report of `bench` by variant.
    reports: dict = field(default_factory=dict)
    # Why there are no figures, by name.
    missing: dict = field(default_factory=dict)
    # Names of the peers' devices.
    versions: set = field(default_factory=set)

    def ratio(self, variant, peer):
        """Median and range of ours/theirs over the rounds that have both."""
        pairs = zip(self.ours.get(variant, []), self.theirs.get(peer, []))
        ratios = [ours / theirs for ours, theirs in pairs if ours and theirs]
        if not ratios:
            return None
        return statistics.median(ratios), min(ratios), max(ratios)


def measure(step, options, deadline):
    """Measures row by row, and yields all with figures after each. Fails if one of ours does."""
    rows = ROWS_QUICK if options.quick else ROWS
    ours, left_out = variants(options.target)
    theirs = peers(options, ours)
    step.notes += [f"without {reason}" for reason in left_out]
    if not theirs:
        step.notes.append(options.torch.reason)
    done, longest = [], 0.0
    for number, row in enumerate(rows):
        before = deadline.left()
        rounds, seconds = (1, 0.5) if options.quick else (options.rounds, options.seconds)
        if longest * (len(rows) - number) > before:
            rounds = 1
        if before < max(1.0, 0.5 * longest):
            names = ", ".join(row.name() for row in rows[number:])
            step.notes.append(f"shortened: no time for {names}")
            break
        if rounds == 1 and not options.quick and options.rounds > 1:
            step.notes.append(f"shortened: one round of {row.name()}")
        measured = measure_row(step, options, row, ours, theirs, (rounds, seconds), deadline)
        longest = max(longest, before - deadline.left())
        options.progress(f"{row.name()}: {speeds(measured)}")
        if measured.ours:
            done.append(measured)
            yield done
    if not done and step.outcome != FAILED:
        step.fail("nothing was measured before the time was over")


INTRODUCTION = (
    "W1 is PyramidNet-20 with alpha 24, W2 PyramidNet-110 with alpha 48, alpha 270 "
    "PyramidNet-110 with that; ten classes, images of 32x32. Ratios are ours/theirs within a "
    "round, the median with the range over the rounds: above 1, ours is faster. PyTorch "
    "multiplies f32 operands of convolutions on matrix units as TF32 unless it is told not to; "
    "ours in f32 does not. AMP is `torch.autocast`, float16 on cards and bfloat16 on the CPU. "
    "Channels are last in PyTorch, and cuDNN measures its algorithms."
)


def speeds(measured):
    both = {**measured.ours, **{f"PyTorch {n}": v for n, v in measured.theirs.items()}}
    words = [f"{name} {statistics.median(values):.1f}" for name, values in both.items()]
    return ", ".join(words) or "no figures"


def measure_row(step, options, row, ours, theirs, effort, deadline):
    rounds, seconds = effort
    measured = Measured(row)
    with contextlib.ExitStack() as stack:
        ready = []
        for peer in theirs:
            words = [options.torch.python, PEER, "--device", options.torch.device]
            try:
                process = Conversation([*words, *peer.flags, *row.flags()])
                stack.enter_context(process)
                measured.versions.add(warm_up(process, deadline))
                process.pause()
                ready.append((peer, process))
            except (Ended, TimeIsOver) as error:
                measured.missing[f"PyTorch {peer.name}"] = str(error)
        for number in range(rounds):
            if number > 0 and deadline.left() == 0:
                break
            for variant in ours:
                if variant.name not in measured.missing:
                    bench(step, options, measured, variant, seconds, deadline)
            for peer, process in ready:
                if f"PyTorch {peer.name}" not in measured.missing:
                    answer(measured, peer, process, seconds, deadline)
    return measured


def warm_up(process, deadline):
    """Waits until a peer is ready, and returns its version and device."""
    limit = deadline.within(min(LONGEST_WARM_UP, deadline.left() / 4))
    while True:
        # Libraries may print other lines first.
        try:
            line = process.line(limit.left())
        except TimeIsOver:
            raise TimeIsOver("was not ready in its share of the time") from None
        if line.startswith("ready "):
            return line.removeprefix("ready ").rsplit(", warm-up ", 1)[0]


def answer(measured, peer, process, seconds, deadline):
    process.resume()
    process.ask(seconds)
    try:
        speed = float(process.line(deadline.left() + 60))
        measured.theirs.setdefault(peer.name, []).append(speed)
    except (Ended, TimeIsOver, ValueError) as error:
        measured.missing[f"PyTorch {peer.name}"] = str(error)
    process.pause()


def bench(step, options, measured, variant, seconds, deadline):
    """One measurement of ours."""
    row = measured.row
    words = [options.program, "bench", *row.flags(), *variant.flags, *options.target.flags]
    words += ["--seconds", str(seconds), "--json", "--quiet"]
    words += options.target.untuned() if options.quick else []
    limit = deadline.within(LONGEST_BENCH).left()
    result = run(words, limit)
    if result.code is None and limit < LONGEST_BENCH:
        measured.missing[variant.name] = "the time of this step was over"
        return
    reason = None if result.ok() else result.failure()
    if reason is None:
        try:
            report = json.loads(result.out)
            speed = float(report["images_per_second"])
            expected = options.target.adapter
            if expected and report["adapter"] != expected["name"]:
                reason = f"measured on {report['adapter']}, not on {expected['name']}"
        except (ValueError, KeyError, TypeError):
            reason = "bench --json printed no speed"
    if reason is not None:
        measured.missing[variant.name] = reason
        if "ran out of memory" in reason:
            step.notes.append(f"{row.name()}, {variant.name}, needs more memory than there is")
        else:
            step.fail(f"{row.name()}, {variant.name}: {reason}")
        return
    measured.ours.setdefault(variant.name, []).append(speed)
    measured.reports[variant.name] = report
