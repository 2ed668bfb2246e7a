"""Step `training`: a hundred steps of training on real images, as a user runs them."""

import json
import re
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import subset
from process import POSIX, Conversation, Ended, TimeIsOver, send


@dataclass
class Size:
    """A network, images per step, steps per epoch, epochs."""

    network: list
    batch: int
    steps: int
    epochs: int


FULL = Size(["--preset", "pyramidnet110-a48"], 128, 10, 10)
QUICK = Size(["--depth", "8", "--alpha", "12"], 8, 5, 3)

# The drawn dataset has a fixed number of images; with it, an epoch is no choice.
SHAPES = 8000

PROGRESS = re.compile(r"epoch (\d+)/\d+ (\d+)/\d+ ([\d.]+) img/s.* loss ([\d.]+|NaN|inf)")


@dataclass
class Point:
    """A row of the loss curve."""

    steps: int
    loss: float
    speed: float
    # Whether the epoch was complete: its speed then leaves pauses out.
    complete: bool


def train(step, options, deadline):
    """Trains to the end, or until the time is over; fails without a finite loss."""
    size = QUICK if options.quick else FULL
    # The run and the images are of no use afterwards.
    with tempfile.TemporaryDirectory(prefix="pyr-wgpu-card-") as folder:
        folder = Path(folder)
        if options.data is None:
            step.notes.append("no --data: the images are the drawn dataset shapes")
            images = ["--dataset", "shapes"]
            per_epoch = SHAPES // size.batch
            epochs = -(-size.steps * size.epochs // per_epoch)
        else:
            count = size.batch * size.steps
            try:
                title = subset.write(options.data, folder / "images", count, size.batch)
            except (subset.NoImages, OSError) as error:
                return step.fail(str(error))
            step.add(
                f"{count} images of {options.data} ({title}), so that an epoch is {size.steps} "
                "steps. The loss shows that training works, not how well."
            )
            images = ["--dataset", "folder", "--data", folder / "images"]
            per_epoch, epochs = size.steps, size.epochs
        words = [options.program, "train", *size.network, "--batch-size", size.batch, *images]
        words += ["--epochs", epochs, *options.target.flags, "--run-dir", folder / "run"]
        words += options.target.untuned() if options.quick else []
        words = [str(word) for word in [*words, "--json"]]
        shown = " ".join(words[1:]).replace(str(folder), "DIR")
        step.add(f"`pyr-wgpu {shown}`:")
        curve = follow(step, words, size.batch, per_epoch, deadline)
    if curve:
        describe(step, curve)
    return None


def follow(step, words, batch, per_epoch, deadline):
    """Runs the program and returns the loss curve."""
    curve, said = [], []
    with Conversation(words, merged=True) as process:
        try:
            while True:
                line = process.line(deadline.left())
                event = json.loads(line) if line.startswith("{") else {}
                found = PROGRESS.search(line)
                if event.get("event") == "epoch":
                    steps = event["epoch"] * per_epoch
                    # JSON has no NaN; the program writes null.
                    loss = event["train_loss"]
                    loss = float("nan") if loss is None else loss
                    curve.append(Point(steps, loss, event["images_per_second"], True))
                elif found:
                    epoch, images, speed, loss = found.groups()
                    steps = (int(epoch) - 1) * per_epoch + int(images) // batch
                    curve.append(Point(steps, float(loss), float(speed), False))
                elif not event:
                    said.append(line)
        except TimeIsOver:
            if POSIX:
                send(process.process, "SIGINT")
            if curve:
                step.notes.append("shortened: the time was over")
            else:
                step.fail("the time was over before the first loss")
        except Ended as end:
            if end.code != 0:
                errors = [line for line in said if line.startswith("error: ")]
                reason = (errors or said or ["no message"])[-1]
                step.fail(f"exit code {end.code}: {reason}")
                step.code("\n".join(said[-40:]))
            elif not curve:
                step.fail("the program trained without a loss")
    return curve


def describe(step, curve):
    rows = [[p.steps, f"{p.loss:.4f}", f"{p.speed:.1f}"] for p in curve]
    step.table(["steps", "mean loss of the epoch so far", "images/s"], rows)
    complete = [point.speed for point in curve if point.complete]
    # The first epoch waits for the first kernels.
    speeds = complete[1:] or complete or [curve[-1].speed]
    step.notes.append(
        f"{curve[-1].steps} steps, loss {curve[0].loss:.4f} at first, {curve[-1].loss:.4f} at "
        f"last, {statistics.median(speeds):.1f} images/s"
    )
    if not all(abs(point.loss) < float("inf") for point in curve):
        step.fail("a loss is not finite")
