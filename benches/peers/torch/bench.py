"""PyramidNet in PyTorch on the CPU, timed for `cargo bench-peers`.

    python bench.py [--compile] DEPTH ALPHA BATCH train|infer

Builds the additive network of basic units for images of 32x32 in ten classes, warms up
(which compiles with `--compile`), and prints that it is ready. Then, for each number of seconds
that it reads, it runs steps for that long and prints the images per second of the median step.
The model is the one that recorded tests/golden; channels are last, which is the faster layout
on CPUs, and there is a thread for each core.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parents[3] / "tests" / "golden"))
from pyramidnet import Model, Network

CLASSES = 10
SIZE = 32


def cores():
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def inference(model, images, compiled):
    """A step of inference, with the running statistics."""
    model.eval()
    logits = torch.compile(model) if compiled else model

    def step():
        with torch.inference_mode():
            logits(images)

    return step


def training(model, images, labels, compiled):
    """A step of forward, mean cross-entropy, backward and SGD with Nesterov momentum.

    The learning rate is zero: noise cannot be learned, and the weights of a real step stay
    finite.
    """

    def loss(images, labels):
        return functional.cross_entropy(model(images), labels)

    loss = torch.compile(loss) if compiled else loss
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.0, momentum=0.9, nesterov=True, weight_decay=1e-4
    )

    def step():
        optimizer.zero_grad()
        loss(images, labels).backward()
        optimizer.step()

    return step


def watch(step):
    """Seconds that a step takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def warm_up(step):
    """Runs steps until three are about as fast as the three before."""
    before = float("inf")
    for _ in range(10):
        now = statistics.median(watch(step) for _ in range(3))
        if abs(now - before) <= 0.1 * before:
            return
        before = now


def measure(step, seconds):
    """Median seconds per step over some time."""
    start = time.perf_counter()
    samples = []
    while len(samples) < 3 or time.perf_counter() - start < seconds:
        samples.append(watch(step))
    return statistics.median(samples)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--compile", action="store_true", help="through torch.compile")
    arguments.add_argument("depth", type=int)
    arguments.add_argument("alpha", type=float)
    arguments.add_argument("batch", type=int)
    arguments.add_argument("mode", choices=["train", "infer"])
    options = arguments.parse_args()

    start = time.perf_counter()
    torch.set_num_threads(cores())
    torch.manual_seed(0)
    layout = torch.channels_last
    model = Model(Network(depth=options.depth, alpha=options.alpha, classes=CLASSES))
    model = model.to(memory_format=layout)
    images = torch.randn(options.batch, 3, SIZE, SIZE).to(memory_format=layout)
    labels = torch.randint(0, CLASSES, (options.batch,))
    if options.mode == "infer":
        step = inference(model, images, options.compile)
    else:
        step = training(model, images, labels, options.compile)
    warm_up(step)
    threads = torch.get_num_threads()
    device = "cpu, 1 thread" if threads == 1 else f"cpu, {threads} threads"
    seconds = time.perf_counter() - start
    print(f"ready torch {torch.__version__} {device}, warm-up {seconds:.0f} s", flush=True)
    for line in sys.stdin:
        print(f"{options.batch / measure(step, float(line)):.3f}", flush=True)


if __name__ == "__main__":
    main()
