"""PyramidNet in PyTorch and ONNX Runtime, timed for `cargo bench-peers` and `benches/card`.

    python bench.py [--compile | --onnxruntime] [--device cpu|cuda|mps] [--amp] [--no-tf32]
        --depth N --alpha X --batch-size N --mode train|infer
        [--growth add|mul] [--block basic|bottleneck] [--image-size N]
    python bench.py --describe

Builds the network for ten classes, warms up (which compiles with `--compile`), and prints that
it is ready. Then, for each number of seconds that it reads, it runs steps for that long and
prints the images per second of the median step. `--describe` prints PyTorch's version and the
devices that it can use, as JSON.
The model is the one that recorded tests/golden. In PyTorch channels are last, which is the faster
layout on CPUs and for matrix units; ONNX Runtime gets the exported model, which it optimises and
lays out itself. There is a thread for each core.
A card works behind the program's back: a sample is as many steps as take a tenth of a second,
between two waits for the card. cuDNN chooses its algorithms by measuring them.
`--amp` is automatic mixed precision: float16 with a scaled loss on cards, bfloat16 on the CPU.
PyTorch lets cuDNN round the operands of f32 convolutions to TF32; `--no-tf32` forbids it.
"""

import argparse
import io
import json
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


def describe():
    """PyTorch's version and the devices that it can use, with their names."""
    devices = [{"device": "cpu", "name": "CPU"}]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            name = torch.cuda.get_device_name(index)
            devices.append({"device": f"cuda:{index}", "name": name})
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": "Apple"})
    return {"version": torch.__version__, "devices": devices}


def device_name(device):
    """The device as reports name it."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    threads = "1 thread" if cores() == 1 else f"{cores()} threads"
    return f"cpu, {threads}" if device.type == "cpu" else str(device)


def synchronize(device):
    """Waits until a card has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def release(device):
    """Gives the memory between measurements back to the card, for the other programs there."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def mixed(device, amp):
    """Automatic mixed precision, or single precision."""
    half = torch.bfloat16 if device.type == "cpu" else torch.float16
    return torch.autocast(device.type, dtype=half, enabled=amp)


def inference(model, images, options):
    """A step of inference, with the running statistics."""
    model.eval()
    logits = torch.compile(model) if options.compile else model

    def step():
        with torch.inference_mode(), mixed(images.device, options.amp):
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


def training(model, images, labels, options):
    """A step of forward, mean cross-entropy, backward and SGD with Nesterov momentum.

    The learning rate is zero: noise cannot be learned, and the weights of a real step stay
    finite.
    """

    def loss(images, labels):
        return functional.cross_entropy(model(images), labels)

    loss = torch.compile(loss) if options.compile else loss
    # bfloat16, the CPU's, has the range of single precision.
    scaled = options.amp and images.device.type != "cpu"
    scaler = torch.amp.GradScaler(images.device.type, enabled=scaled)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.0, momentum=0.9, nesterov=True, weight_decay=1e-4
    )

    def step():
        optimizer.zero_grad()
        with mixed(images.device, options.amp):
            error = loss(images, labels)
        scaler.scale(error).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def watch(step, device, count=1):
    """Seconds per step, from a number of steps between two waits for the device."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    synchronize(device)
    return (time.perf_counter() - start) / count


def warm_up(step, device):
    """Runs steps until three are about as fast as the three before, and returns their time."""
    before = float("inf")
    for _ in range(10):
        now = statistics.median(watch(step, device) for _ in range(3))
        if abs(now - before) <= 0.1 * before:
            break
        before = now
    return now


def measure(step, device, count, seconds):
    """Median seconds per step over some time, after a step that takes its memory again."""
    watch(step, device)
    start = time.perf_counter()
    samples = []
    while len(samples) < 3 or time.perf_counter() - start < seconds:
        samples.append(watch(step, device, count))
    release(device)
    return statistics.median(samples)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runtime = arguments.add_mutually_exclusive_group()
    runtime.add_argument("--compile", action="store_true", help="through torch.compile")
    runtime.add_argument("--onnxruntime", action="store_true", help="in ONNX Runtime")
    arguments.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or mps")
    arguments.add_argument("--amp", action="store_true", help="automatic mixed precision")
    arguments.add_argument("--no-tf32", action="store_true", help="f32 convolutions stay exact")
    arguments.add_argument("--describe", action="store_true", help="print version and devices")
    arguments.add_argument("--depth", type=int, default=20)
    arguments.add_argument("--alpha", type=float, default=24)
    arguments.add_argument("--growth", choices=["add", "mul"], default="add")
    arguments.add_argument("--block", choices=["basic", "bottleneck"], default="basic")
    arguments.add_argument("--image-size", type=int, default=32)
    arguments.add_argument("--batch-size", type=int, default=32)
    arguments.add_argument("--mode", choices=["train", "infer"], default="train")
    options = arguments.parse_args()
    if options.onnxruntime and options.mode == "train":
        arguments.error("ONNX Runtime does not train: --mode must be infer")
    if options.onnxruntime and (options.device != "cpu" or options.amp):
        arguments.error("ONNX Runtime is measured on the CPU, in single precision")
    if options.describe:
        print(json.dumps(describe()))
        return

    start = time.perf_counter()
    device = torch.device(options.device)
    if device.type != "cpu" and not any(
        found["device"].startswith(device.type) for found in describe()["devices"]
    ):
        sys.exit(f"PyTorch {torch.__version__} cannot use {options.device} on this machine")
    torch.backends.cudnn.benchmark = True
    if options.no_tf32:
        torch.backends.cudnn.allow_tf32 = False
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
        model = model.to(device, memory_format=torch.channels_last)
        images = images.to(device, memory_format=torch.channels_last)
        labels = torch.randint(0, network.classes, (options.batch_size,), device=device)
        if options.mode == "infer":
            step = inference(model, images, options)
        else:
            step = training(model, images, labels, options)
        version = f"torch {torch.__version__}"
    took = warm_up(step, device)
    count = 1 if device.type == "cpu" else max(1, round(0.1 / took))
    release(device)
    seconds = time.perf_counter() - start
    print(f"ready {version} {device_name(device)}, warm-up {seconds:.0f} s", flush=True)
    for line in sys.stdin:
        speed = options.batch_size / measure(step, device, count, float(line))
        print(f"{speed:.3f}", flush=True)


if __name__ == "__main__":
    main()
