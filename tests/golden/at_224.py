"""Records PyTorch's logits, training losses and gradients of three networks on images of 224x224.

    python at_224.py

Writes at_224.json. Nothing but numbers is stored: convolutions and classifier hold the initial
values of seed 1, as in the abridged recordings, and batch norms, the classifier's bias and images
follow formulas that `tests/parity.rs` repeats. Of each gradient, SAMPLES values are kept, those at
k * length // SAMPLES for k = 0, 1 and so on. The arithmetic is float64; the distance of PyTorch's
float32 from it is recorded beside.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy
import torch
from torch.nn import functional

from initialise import initial_weights
from pyramidnet import Model, Network

SEED = 1
IMAGES = 2
SAMPLES = 4
NETWORKS = [
    Network(depth=18, alpha=32.0, stem="imagenet", classes=20, image_size=224),
    Network(depth=50, alpha=60.0, stem="imagenet", block="bottleneck", classes=20, image_size=224),
    Network(family="preresnet", depth=18, alpha=0.0, stem="imagenet", classes=20, image_size=224),
]


def images():
    """Noise from a multiplicative hash, in [-2, 2)."""
    count = IMAGES * 3 * 224 * 224
    hashed = numpy.arange(count, dtype=numpy.uint64) * numpy.uint64(2654435761) % numpy.uint64(2**32)
    values = hashed.astype(numpy.float64) / 2**30 - 2
    return torch.from_numpy(values.astype(numpy.float32)).reshape(IMAGES, 3, 224, 224)


def batch_norm(name, count):
    """Scale, shift or running statistic of each channel."""
    index = numpy.arange(count, dtype=numpy.float64)
    values = {
        "weight": 1 + 0.25 * numpy.sin(index),
        "bias": 0.1 * numpy.cos(index),
        "running_mean": 0.1 * numpy.sin(2 * index),
        "running_var": 1 + 0.5 * numpy.cos(index) ** 2,
    }[name]
    return torch.from_numpy(values.astype(numpy.float32))


def results(network, dtype):
    model = Model(network).to(dtype)
    weights = initial_weights(model, SEED)
    state = model.state_dict()
    for name, tensor in state.items():
        suffix = name.rsplit(".", 1)[1]
        if name in weights:
            state[name] = weights[name].to(dtype)
        elif suffix == "num_batches_tracked":
            continue
        else:
            state[name] = batch_norm(suffix, tensor.numel()).to(dtype)
    model.load_state_dict(state)
    labels = torch.arange(IMAGES)
    with torch.no_grad():
        logits = model.eval()(images().to(dtype))
    loss = functional.cross_entropy(model.train()(images().to(dtype)), labels)
    loss.backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        values = parameter.grad.flatten()
        kept = [values[k * len(values) // SAMPLES].item() for k in range(SAMPLES)]
        gradients[name] = kept
    return logits, loss.item(), gradients


def relative_difference(ours, reference):
    """L2 norm of the difference of all values over that of the reference."""
    ours = numpy.concatenate([ours[name] for name in reference])
    reference = numpy.concatenate(list(reference.values()))
    return float(numpy.linalg.norm(ours - reference) / numpy.linalg.norm(reference))


def main():
    torch.set_num_threads(1)
    recordings = []
    for network in NETWORKS:
        logits, loss, gradients = results(network, torch.float64)
        single, single_loss, single_gradients = results(network, torch.float32)
        recordings.append(
            {
                "network": asdict(network),
                "logits": logits.tolist(),
                "loss": loss,
                "gradients": gradients,
                "float32_against_float64": {
                    "logits_max_abs": (single.double() - logits).abs().max().item(),
                    "loss": abs(single_loss - loss),
                    "gradients_relative_l2": relative_difference(single_gradients, gradients),
                },
            }
        )
        print(recordings[-1]["float32_against_float64"], logits.abs().max().item(), loss)
    with open(Path(__file__).parent / "at_224.json", "w") as file:
        text = json.dumps({"torch": torch.__version__, "recordings": recordings}, indent=1)
        # The values of a gradient in one line.
        text = re.sub(r"\[\s+([-0-9.e,\s]+?)\s+\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
        file.write(text + "\n")


if __name__ == "__main__":
    main()
