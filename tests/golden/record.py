"""Records PyTorch's results as the reference of the tests and of `pyr-wgpu verify`.

A recording is one network with its weights, one batch, and the results: logits in
evaluation mode, gradients of the mean cross-entropy in training mode, and the whole state
after one and after several optimiser steps on that batch. README.md lists the files.

    python record.py                                  the recordings of this folder
    python record.py --random 8 --seed 1 --out DIR    random networks of the family
    python record.py --network JSON --name NAME --out DIR [--batch N]

Two properties of the recordings allow tight tolerances.

The arithmetic is float64 throughout, from weights and images that are float32 numbers, and
only the results are rounded to float32. A comparison therefore sees the error of the program
under test alone. PyTorch's own float32 arithmetic is measured against the same results, and
NAME.json holds its distance: what a correct float32 program can be expected to reach.

No value lies near a kink of ReLU or max-pool. If rounding carries a value across zero, the
gradient changes by more than any tolerance although the program is correct. The offsets of the
batch norms before a ReLU (their beta, and the running mean for evaluation) are therefore shifted
slightly, so that zero falls into the widest gap between neighbouring values of the channel.
Max-pools and the later optimiser steps cannot be arranged like that; seeds are tried until
every value is far enough from its kink.

A network with the ImageNet stem has too many parameters to be stored whole. Its recording is
abridged: the weights of convolutions and classifier are drawn from a seed, alike in
`initialise.py` and in the Rust code, and long tensors of gradients and states are sampled.
"""

import argparse
import json
import math
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional

from initialise import initial_weights
from pyramidnet import Model, Network

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
# One step uses the recipe's own learning rate. Several steps at 0.1 are chaotic where a network
# has many kinks; they use a tenth of it.
ONE_STEP = {"steps": 1, "learning_rate": 0.1}
SEVERAL_STEPS = {"steps": 5, "learning_rate": 0.01}
# A wide network has so many kinks that hardly any seed avoids them for five steps. Two steps
# already include momentum.
STEPS_IF_ABRIDGED = {"steps": 2, "learning_rate": 0.01}
# The seed of an abridged recording's weights, and which values it keeps: of a tensor longer than
# `longest_complete` only every 127th. A prime stride samples all channels and kernel positions.
ABRIDGED = {"weights_seed": 1, "longest_complete": 10000, "every": 127}

# The error of the gradients that `verify` allows, as relative L2 norm.
GRADIENT_TOLERANCE = 5e-5
# The start of `num_batches_tracked`.
BATCHES_BEFORE = 3
# How far an offset may move, in units of the batch norm's output.
FARTHEST_SHIFT = 0.25


@dataclass(frozen=True)
class Recording:
    """What to record."""

    name: str
    network: Network
    batch: int
    abridged: bool = False

    def several_steps(self):
        return STEPS_IF_ABRIDGED if self.abridged else SEVERAL_STEPS


# The recordings of this folder.
RECORDINGS = [
    Recording("additive_basic", Network(alpha=10.0), 4),
    Recording(
        "additive_bottleneck", Network(depth=11, alpha=9.0, block="bottleneck", image_size=16), 4
    ),
    Recording(
        "multiplicative_basic", Network(alpha=3.3, growth="mul", classes=7, image_size=16), 6
    ),
    # Both average pools meet an odd size (13, 7, 4), and widths lie on exact halves.
    Recording("odd_image", Network(alpha=4.5, classes=5, image_size=13, rounding="half-even"), 5),
    Recording(
        "imagenet_stem",
        Network(depth=18, alpha=12.0, stem="imagenet", classes=5, image_size=64),
        2,
        abridged=True,
    ),
    Recording(
        "preresnet",
        Network("preresnet", 18, 0.0, stem="imagenet", classes=5, image_size=64),
        2,
        abridged=True,
    ),
]


class Kinks:
    """Records the smallest distance of any ReLU or max-pool of a model from its kink."""

    def __init__(self, model):
        self.distance = math.inf
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_pre_hook(self.see_relu)
            elif isinstance(module, nn.MaxPool2d):
                module.register_forward_pre_hook(self.see_max_pool)

    def take(self):
        """The smallest distance since the last call."""
        distance, self.distance = self.distance, math.inf
        return distance

    def see_relu(self, _, inputs):
        self.distance = min(self.distance, inputs[0].abs().min().item())

    def see_max_pool(self, pool, inputs):
        """The gap between the two largest values of a window; windows of zeros have no gradient."""
        x = inputs[0].detach()
        channels = x.flatten(0, 1).unsqueeze(1)
        windows = functional.unfold(
            channels, pool.kernel_size, padding=pool.padding, stride=pool.stride
        )
        # The padding's zeros never beat a positive value, and ReLU leaves none below zero.
        largest, second = windows.topk(2, dim=1).values.unbind(1)
        gaps = (largest - second)[largest > 0]
        if gaps.numel():
            self.distance = min(self.distance, gaps.min().item())


def draw(network, batch, seed, weights):
    """A model, images and labels for a seed, with no kink nearby in the first step.

    `weights` take the place of those that the seed gives the model.
    """
    torch.manual_seed(seed)
    model = Model(network).double()
    model.load_state_dict(weights, strict=False)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    images = torch.randn(batch, 3, network.image_size, network.image_size).double()
    labels = torch.randint(network.classes, (batch,))
    with torch.no_grad():
        # Away from 1 and 0, where omitting gamma or beta would go unnoticed.
        for norm in norms:
            norm.weight.normal_(1.0, 0.2)
            norm.bias.normal_(0.0, 0.2)
        model.fc.bias.normal_(0.0, 0.2)
        to_float32(model)
        widen_gaps(model.train(), images, lambda norm, shift: norm.bias.add_(shift))

        # Running statistics that resemble the batch's but differ from it.
        for norm in norms:
            norm.momentum = 1.0
        model(images)
        for norm in norms:
            norm.momentum = 0.1
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)
            norm.num_batches_tracked.fill_(BATCHES_BEFORE)
        to_float32(model)

        def move_running_mean(norm, shift):
            norm.running_mean -= shift * (norm.running_var + norm.eps).sqrt() / norm.weight

        widen_gaps(model.eval(), images, move_running_mean)
        to_float32(model)
    return model, images, labels


def to_float32(model):
    """Rounds every tensor to a float32 number; the arithmetic stays float64."""
    model.float().double()


def widen_gaps(model, images, move):
    """One forward pass in which each batch norm before a ReLU is moved so that zero lies in
    the middle of a wide gap between neighbouring values of each channel."""
    last = []
    hooks = []

    def remember(norm, _, __):
        last[:] = [norm]

    def shift_input(_, inputs):
        x = inputs[0]
        shift = best_shift(x.transpose(0, 1).flatten(1))
        move(last[0], shift)
        return x + shift[:, None, None]

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_hook(remember))
        elif isinstance(module, nn.ReLU):
            hooks.append(module.register_forward_pre_hook(shift_input))
    model(images)
    for hook in hooks:
        hook.remove()


def best_shift(values):
    """For each row, what to add so that zero lies in the middle of the widest gap nearby."""
    values = values.sort(dim=1).values
    middles = (values[:, 1:] + values[:, :-1]) / 2
    gaps = values[:, 1:] - values[:, :-1]
    within_reach = middles.abs() <= FARTHEST_SHIFT
    # A row that has no gap within reach stays as it is.
    widest = torch.where(within_reach, gaps, -1.0).argmax(dim=1, keepdim=True)
    shift = -middles.gather(1, widest)[:, 0]
    return torch.where(within_reach.any(dim=1), shift, 0.0)


class KinkTooNear(Exception):
    """A value comes nearer to a kink than allowed."""


def compute(model, images, labels, several_steps, least_distance=0.0, gradient_noise=0.0):
    """Everything that a recording holds, in the model's own precision.

    `gradient_noise` adds errors of this relative L2 norm to the gradients of every step.
    Returns the results and the distances from kinks: in evaluation, in the first training
    step (gradients, state after one step), and in all of several steps.
    """
    kinks = Kinks(model)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def far_enough():
        distance = kinks.take()
        if distance < least_distance:
            raise KinkTooNear
        return distance

    with torch.no_grad():
        results = {"logits": model.eval()(images)}
    distances = {"evaluation": far_enough()}

    def train(plan):
        model.load_state_dict(start)
        model.train()
        optimiser = torch.optim.SGD(
            model.parameters(),
            lr=plan["learning_rate"],
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            nesterov=True,
        )
        losses = []
        nearest = math.inf
        for step in range(plan["steps"]):
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            nearest = min(nearest, far_enough())
            losses.append(loss.item())
            if gradient_noise:
                add_noise(model, gradient_noise)
            if step == 0:
                results["grads"] = {
                    name: parameter.grad.clone() for name, parameter in model.named_parameters()
                }
            optimiser.step()
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return state, numpy.array(losses), nearest

    results["state1"], results["losses1"], distances["first_step"] = train(ONE_STEP)
    results["state"], results["losses"], distances["several_steps"] = train(several_steps)
    return results, distances


def add_noise(model, relative_norm):
    """Adds normal errors to all gradients, in proportion to the norm of all of them."""
    gradients = [parameter.grad for parameter in model.parameters()]
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    values = sum(gradient.numel() for gradient in gradients)
    for gradient in gradients:
        gradient += torch.randn_like(gradient) * (relative_norm * norm / math.sqrt(values))


def record(recording, out, first_seed, least_distance, tries=1000):
    """Finds a seed whose kinks are far enough and writes its recording."""
    name, network = recording.name, recording.network
    if network.dropout:
        sys.exit(f"{name}: dropout masks differ from program to program; record without dropout")
    weights = {}
    if recording.abridged:
        weights = initial_weights(Model(network), ABRIDGED["weights_seed"])
    several_steps = recording.several_steps()
    for seed in range(first_seed, first_seed + tries):
        model, images, labels = draw(network, recording.batch, seed, weights)
        start = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        try:
            exact, distances = compute(model, images, labels, several_steps, least_distance)
        except KinkTooNear:
            continue
        single = Model(network)
        single.load_state_dict(start)
        in_float32, _ = compute(single, images.float(), labels, several_steps)
        single_differences = differences(in_float32, exact, start)
        # A larger difference is no rounding error: PyTorch itself crossed a kink.
        if single_differences["state"]["parameters_update_rel_l2"] < GRADIENT_TOLERANCE:
            break
    else:
        sys.exit(
            f"{name}: none of {tries} seeds keeps {least_distance} away from every kink; allow less"
        )

    model.load_state_dict(start)
    with_noise, _ = compute(model, images, labels, several_steps, gradient_noise=GRADIENT_TOLERANCE)

    out.mkdir(parents=True, exist_ok=True)
    numpy.save(out / f"{name}.input.npy", images.float().numpy())
    numpy.save(out / f"{name}.labels.npy", labels.numpy())
    numpy.save(out / f"{name}.logits.npy", exact["logits"].float().numpy())
    for key in ("losses", "losses1"):
        numpy.save(out / f"{name}.{key}.npy", exact[key].astype(numpy.float32))
    not_drawn = {key: tensor for key, tensor in start.items() if key not in weights}
    (out / f"{name}.safetensors").write_bytes(save(rounded(not_drawn)))
    for key in ("grads", "state", "state1"):
        tensors = rounded(exact[key])
        if recording.abridged:
            tensors = {tensor: sampled(values) for tensor, values in tensors.items()}
        (out / f"{name}.{key}.safetensors").write_bytes(save(tensors))

    description = {
        "network": asdict(network),
        "flags": network.flags(),
        "widths": network.widths(),
        "batch": recording.batch,
        "seed": seed,
        **({"abridged": ABRIDGED} if recording.abridged else {}),
        "momentum": MOMENTUM,
        "weight_decay": WEIGHT_DECAY,
        "state": several_steps,
        "state1": ONE_STEP,
        "distance_from_kinks": distances,
        "largest_logit": exact["logits"].abs().max().item(),
        "float32_against_float64": single_differences,
        "gradients_off_by_their_tolerance": differences(with_noise, exact, start),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
    }
    with open(out / f"{name}.json", "w") as file:
        json.dump(description, file, indent=1)
        file.write("\n")
    return description


def sampled(tensor):
    """The values of a tensor that an abridged recording stores."""
    if tensor.numel() <= ABRIDGED["longest_complete"]:
        return tensor
    return tensor.flatten()[:: ABRIDGED["every"]].clone()


def rounded(tensors):
    """Floating tensors as float32, whole numbers as they are."""
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def differences(found, exact, start):
    """Distances from what the files hold, all floating tensors end to end.

    A state's update, that is the state minus the start, is also measured separately for the
    trained parameters and for the running statistics: the statistics move much further and
    would hide a mistake of the optimiser.
    """

    def flat(tensors, wanted=lambda name: True):
        if isinstance(tensors, dict):
            chosen = [
                tensor.flatten()
                for name, tensor in tensors.items()
                if tensor.is_floating_point() and wanted(name)
            ]
            tensors = torch.cat(chosen)
        return torch.as_tensor(tensors).flatten().float().double()

    def is_statistic(name):
        return name.endswith(("running_mean", "running_var"))

    updates = {
        "update_rel_l2": lambda name: True,
        "parameters_update_rel_l2": lambda name: not is_statistic(name),
        "statistics_update_rel_l2": is_statistic,
    }
    measures = {}
    for key, reference in exact.items():
        difference = flat(found[key]) - flat(reference)
        measures[key] = {
            "max_abs": difference.abs().max().item(),
            "rel_l2": (difference.norm() / flat(reference).norm()).item(),
        }
        if key.startswith("state"):
            for measure, wanted in updates.items():
                target = flat(reference, wanted)
                update = target - flat(start, wanted)
                difference = flat(found[key], wanted) - target
                measures[key][measure] = (difference.norm() / update.norm()).item()
    return measures


def random_networks(number, seed):
    """Networks of the whole family; the first three are one with the ImageNet stem,
    PyramidNet-20 with alpha 24, and a deeper bottleneck network, so that every run has them."""
    generator = numpy.random.default_rng(seed)

    def pick(*choices):
        return choices[generator.integers(len(choices))]

    def network(block, stem, depths, least_size, greatest_size):
        growth = pick("add", "mul")
        add = growth == "add"
        greatest = 12 if stem == "imagenet" else 40
        alpha = (
            generator.uniform(2, greatest) if add else generator.uniform(1.05, 1 + greatest / 16)
        )
        return Network(
            depth=pick(*depths),
            alpha=round(float(alpha), 2),
            growth=growth,
            block=block,
            stem=stem,
            classes=int(generator.integers(2, 30)),
            image_size=int(generator.integers(least_size, greatest_size + 1)),
            rounding=pick("half-up", "half-even"),
        )

    def imagenet():
        block = pick("basic", "bottleneck")
        return network(block, "imagenet", (10, 18) if block == "basic" else (14,), 40, 72)

    def cifar(block, depths):
        return network(block, "cifar", depths, 8, 33)

    for index in range(number):
        kind = index if index < 3 else pick(0, 3, 4, 5)
        if kind == 0:
            yield imagenet(), int(generator.integers(3, 5))
        elif kind == 1:
            yield Network(depth=20, alpha=24.0), 4
        elif kind == 2:
            yield cifar("bottleneck", (20, 29)), 4
        else:
            block, depths = pick(("basic", (8, 14, 20)), ("bottleneck", (11, 20)))
            yield cifar(block, depths), int(generator.integers(3, 9))


def rows(name, description):
    """The recording as a row of each of README.md's three tables."""
    kinks = description["distance_from_kinks"]
    measured = description["float32_against_float64"]
    noisy = description["gradients_off_by_their_tolerance"]
    states = [measured["state1"], measured["state"]]
    noisy_states = [noisy["state1"], noisy["state"]]
    updates = ("update_rel_l2", "parameters_update_rel_l2", "statistics_update_rel_l2")
    tables = [
        [kinks["evaluation"], kinks["first_step"], kinks["several_steps"]],
        [measured["logits"]["max_abs"], measured["grads"]["rel_l2"], measured["losses"]["max_abs"]]
        + [state[key] for state in states for key in ("rel_l2", *updates)],
        [state[key] for state in noisy_states for key in ("rel_l2", *updates)],
    ]
    for numbers in tables:
        yield f"| `{name}` | " + " | ".join(f"{number:.1e}" for number in numbers) + " |"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--random", type=int, help="record this many random networks")
    arguments.add_argument("--network", help="record this network: JSON with the fields of Network")
    arguments.add_argument("--name", default="network", help="name of the files with --network")
    arguments.add_argument("--batch", type=int, default=4, help="images with --network")
    arguments.add_argument("--seed", type=int, default=1, help="first seed to try")
    arguments.add_argument("--out", type=Path, help="folder to write to")
    arguments.add_argument("--least-distance", type=float, help="smallest distance from any kink")
    options = arguments.parse_args()
    if (options.random or options.network) and not options.out:
        arguments.error("--random and --network need --out")
    # Sums in another order differ in the last bit.
    torch.set_num_threads(1)

    out = options.out or Path(__file__).parent
    least_distance = options.least_distance or 3e-6
    if options.network:
        network = Network(**json.loads(options.network))
        recordings = [Recording(options.name, network, options.batch)]
    elif options.random:
        networks = enumerate(random_networks(options.random, options.seed))
        recordings = [Recording(f"random{index}", *drawn) for index, drawn in networks]
    else:
        recordings = RECORDINGS
        least_distance = options.least_distance or 1e-5
    for recording in recordings:
        description = record(recording, out, options.seed, least_distance)
        seed, table_rows = description["seed"], rows(recording.name, description)
        print(f"{recording.name}: seed {seed}", *table_rows, sep="\n", flush=True)


if __name__ == "__main__":
    main()
