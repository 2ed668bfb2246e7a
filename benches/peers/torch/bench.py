"""PyramidNet in PyTorch and ONNX Runtime on the CPU, timed for `cargo bench-peers`.

    python bench.py [--compile | --onnxruntime] --depth N --alpha X --batch-size N
        --mode train|infer [--growth add|mul] [--block basic|bottleneck] [--image-size N]

Builds the network for ten classes, warms up (which compiles with `--compile`), and prints that
it is ready. Then, for each number of seconds that it reads, it runs steps for that long and
prints the images per second of the median step.
The model is the one that recorded tests/golden. In PyTorch channels are last, which is the faster
layout on CPUs; ONNX Runtime gets the exported model, which it optimises and lays out itself.
There is a thread for each core.
"""

import argparse
import io
import os
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path

import torch
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parents[3] / "tests" / "golden"))
from pyramidnet import Model, Network


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


def onnx_inference(model, images):
    """A step of inference in ONNX Runtime, whose logits agree with those of PyTorch."""
    import onnxruntime

    model.eval()
    file = io.BytesIO()
    torch.onnx.export(
        model, (images,), file, dynamo=False, input_names=["images"], output_names=["logits"]
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    inputs = {"images": images.numpy()}
    with torch.inference_mode():
        expected = model(images)
    [logits] = session.run(None, inputs)
    largest = expected.abs().max().item()
    difference = (torch.from_numpy(logits) - expected).abs().max().item()
    if not difference <= 1e-4 * largest:
        sys.exit(f"logits of up to {largest:g} differ by {difference:g} from those of PyTorch")

    def step():
        session.run(None, inputs)

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
    runtime = arguments.add_mutually_exclusive_group()
    runtime.add_argument("--compile", action="store_true", help="through torch.compile")
    runtime.add_argument("--onnxruntime", action="store_true", help="in ONNX Runtime")
    arguments.add_argument("--depth", type=int, required=True)
    arguments.add_argument("--alpha", type=float, required=True)
    arguments.add_argument("--growth", choices=["add", "mul"], default="add")
    arguments.add_argument("--block", choices=["basic", "bottleneck"], default="basic")
    arguments.add_argument("--image-size", type=int, default=32)
    arguments.add_argument("--batch-size", type=int, required=True)
    arguments.add_argument("--mode", choices=["train", "infer"], required=True)
    options = arguments.parse_args()
    if options.onnxruntime and options.mode == "train":
        arguments.error("ONNX Runtime does not train: --mode must be infer")

    start = time.perf_counter()
    torch.set_num_threads(cores())
    torch.manual_seed(0)
    network = Network(
        depth=options.depth,
        alpha=options.alpha,
        growth=options.growth,
        block=options.block,
        image_size=options.image_size,
    )
    model = Model(network)
    images = torch.randn(options.batch_size, 3, network.image_size, network.image_size)
    if options.onnxruntime:
        step = onnx_inference(model, images)
        version = f"onnxruntime {metadata.version('onnxruntime')}"
    else:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
        labels = torch.randint(0, network.classes, (options.batch_size,))
        if options.mode == "infer":
            step = inference(model, images, options.compile)
        else:
            step = training(model, images, labels, options.compile)
        version = f"torch {torch.__version__}"
    warm_up(step)
    threads = cores()
    device = "cpu, 1 thread" if threads == 1 else f"cpu, {threads} threads"
    seconds = time.perf_counter() - start
    print(f"ready {version} {device}, warm-up {seconds:.0f} s", flush=True)
    for line in sys.stdin:
        print(f"{options.batch_size / measure(step, float(line)):.3f}", flush=True)


if __name__ == "__main__":
    main()
