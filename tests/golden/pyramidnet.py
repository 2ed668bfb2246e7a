"""PyramidNet in PyTorch: the independent model that the recordings of this folder come from.

It is written from the paper ("Deep Pyramidal Residual Networks", Han, Kim, Kim, CVPR 2017) and
the facts about the authors' programs, independently of the Rust code, so that a mistake has
to be made twice to go unnoticed. It covers the family: additive and multiplicative
widening, basic and bottleneck units, both stems, dropout, both roundings of widths, and
PreResNet, the baseline of the ImageNet table. Parameter names are those of the authors'
PyTorch modules. It leaves out training recipes and data; `record.py` does the recording.

Run as a program, it compares its counts with the networks of the paper's tables:

    python pyramidnet.py [--table FILE]

`--table` also writes the networks with their counts as JSON.
"""

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Network:
    """A network's specification: the fields and words of `NetworkSpec` in the Rust code."""

    family: str = "pyramidnet"  # or "preresnet"
    depth: int = 8
    alpha: float = 28.0  # channels added, or factor; 0 for PreResNet
    growth: str = "add"  # or "mul"
    block: str = "basic"  # or "bottleneck"
    stem: str = "cifar"  # or "imagenet"
    classes: int = 10
    dropout: float = 0.0
    image_size: int = 32
    rounding: str = "half-up"  # or "half-even"

    def units_per_stage(self):
        if self.stem == "imagenet" and self.depth in IMAGENET_UNITS:
            return IMAGENET_UNITS[self.depth]
        stages = 4 if self.stem == "imagenet" else 3
        layers_per_round = stages * (2 if self.block == "basic" else 3)
        units, rest = divmod(self.depth - 2, layers_per_round)
        if rest or units < 1:
            raise ValueError(f"no {self.stem} network of {self.block} units has depth {self.depth}")
        return [units] * stages

    def start_width(self):
        return 64 if self.stem == "imagenet" else 16

    def widths(self):
        """Width of every unit; the unrounded width continues, so that rounding never feeds back."""
        stages = self.units_per_stage()
        if self.family == "preresnet":
            return [64 << stage for stage, units in enumerate(stages) for _ in range(units)]
        units = sum(stages)
        width = float(self.start_width())
        widths = []
        for _ in range(units):
            if self.growth == "add":
                width += self.alpha / units
            else:
                width *= self.alpha ** (1 / units)
            # Python's `round` takes exact halves to the even neighbour.
            half_up = self.rounding == "half-up"
            widths.append(math.floor(width + 0.5) if half_up else round(width))
        return widths

    def expansion(self):
        return 1 if self.block == "basic" else 4

    def flags(self):
        """The network as flags of `pyr-wgpu`, where only presets name a PreResNet."""
        words = asdict(self)
        preset = []
        if words.pop("family") == "preresnet":
            preset = ["--preset", "preresnet200-imagenet"]
            del words["alpha"], words["growth"]
        return preset + [
            word for name in words for word in (f"--{name.replace('_', '-')}", f"{words[name]}")
        ]


# Units per stage of the depths that the ResNet papers name; others get four equal stages.
IMAGENET_UNITS = {
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
    200: [3, 24, 36, 3],
}


def convolution(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def branch_convolutions(block, width, stride):
    """Output channels, kernel and stride of a unit's convolutions."""
    if block == "basic":
        return [(width, 3, stride), (width, 3, 1)]
    return [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]


class PyramidUnit(nn.Sequential):
    """Batch norm, then convolutions with batch norm and ReLU between, then batch norm.

    All its parameters are on the branch, so the module is the branch; the shortcut pools where
    the branch has stride 2, and appends zero channels.
    """

    def __init__(self, channels, width, stride, block):
        super().__init__()
        self.stride = stride
        for number, (outputs, kernel, step) in enumerate(
            branch_convolutions(block, width, stride), 1
        ):
            self.add_module(f"bn{number}", nn.BatchNorm2d(channels))
            if number > 1:
                self.add_module(f"relu{number}", nn.ReLU())
            self.add_module(f"conv{number}", convolution(channels, outputs, kernel, step))
            channels = outputs
        self.add_module(f"bn{number + 1}", nn.BatchNorm2d(channels))

    def forward(self, x):
        branch = super().forward(x)
        if self.stride == 2:
            # Ceil mode matches the convolution's size for odd images; the last window then
            # averages only the pixels inside.
            x = functional.avg_pool2d(x, 2, ceil_mode=True)
        appended = branch.shape[1] - x.shape[1]
        return branch + functional.pad(x, (0, 0, 0, 0, 0, appended))


class PreResNetUnit(nn.Module):
    """Batch norm, ReLU, convolution, two or three times over.

    Where the unit changes size or width its shortcut is a 1x1 convolution that starts, like
    the branch, after the first batch norm and ReLU. The very first unit follows a ReLU, so in
    the Torch network it has no first batch norm. In the authors' PyTorch network
    (`projection_batch_norm`) it has one, its shortcut projects the unit's plain input, and a
    batch norm follows every projection.
    """

    def __init__(self, channels, width, stride, block, first, projection_batch_norm):
        super().__init__()
        self.project_input = first
        self.layers = []
        inputs = channels
        for number, (outputs, kernel, step) in enumerate(
            branch_convolutions(block, width, stride), 1
        ):
            if number > 1 or not first or projection_batch_norm:
                self.add(f"bn{number}", nn.BatchNorm2d(inputs))
                self.add(f"relu{number}", nn.ReLU())
            if number == 1:
                self.lead = len(self.layers)
            self.add(f"conv{number}", convolution(inputs, outputs, kernel, step))
            inputs = outputs
        self.downsample = None
        if stride != 1 or channels != outputs:
            self.downsample = nn.Sequential(convolution(channels, outputs, 1, stride))
            if projection_batch_norm:
                self.downsample.append(nn.BatchNorm2d(outputs))

    def add(self, name, module):
        self.add_module(name, module)
        self.layers.append(name)

    def forward(self, x):
        branch = x
        for name in self.layers[: self.lead]:
            branch = getattr(self, name)(branch)
        shortcut = x
        if self.downsample is not None:
            shortcut = self.downsample(x if self.project_input else branch)
        for name in self.layers[self.lead :]:
            branch = getattr(self, name)(branch)
        return branch + shortcut


class Model(nn.Module):
    """Stem, stages and head; NCHW images in, logits out."""

    def __init__(self, network, projection_batch_norm=False):
        super().__init__()
        channels = network.start_width()
        imagenet = network.stem == "imagenet"
        self.conv1 = convolution(3, channels, 7, 2) if imagenet else convolution(3, channels, 3)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU() if imagenet else nn.Identity()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if imagenet else nn.Identity()
        widths = iter(network.widths())
        self.stages = []
        for stage, count in enumerate(network.units_per_stage(), 1):
            units = nn.Sequential()
            for index in range(count):
                width = next(widths)
                stride = 2 if stage > 1 and index == 0 else 1
                if network.family == "pyramidnet":
                    unit = PyramidUnit(channels, width, stride, network.block)
                else:
                    first = stage == 1 and index == 0
                    unit = PreResNetUnit(
                        channels, width, stride, network.block, first, projection_batch_norm
                    )
                units.append(unit)
                channels = width * network.expansion()
            self.add_module(f"layer{stage}", units)
            self.stages.append(units)
        # The authors' two programs name the last batch norm differently.
        self.last_norm = "bn_final" if network.family == "pyramidnet" else "bn2"
        self.add_module(self.last_norm, nn.BatchNorm2d(channels))
        self.relu_final = nn.ReLU()
        self.dropout = nn.Dropout(network.dropout)
        self.fc = nn.Linear(channels, network.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = stage(x)
        x = self.relu_final(getattr(self, self.last_norm)(x))
        return self.fc(self.dropout(x.mean((2, 3))))


def count(model, image_size):
    """Parameters and multiply-accumulates of one image, without computing anything."""
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    macs = 0

    def add(layer, _, output):
        nonlocal macs
        positions = output[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
        macs += positions * layer.weight.numel()

    hooks = [layer.register_forward_hook(add) for layer in layers]
    model.eval()(torch.empty(1, 3, image_size, image_size, device="meta"))
    for hook in hooks:
        hook.remove()
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    in_convolutions = sum(layer.weight.numel() for layer in convolutions)
    in_linear = sum(parameter.numel() for parameter in model.fc.parameters())
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "convolution_parameters": in_convolutions,
        "convolution_and_linear_parameters": in_convolutions + in_linear,
        "feature_dim": model.fc.in_features,
        "macs": macs,
        "convs": len(convolutions),
    }


# The networks of the tables in the paper and in the authors' repositories: depth, alpha, growth,
# block, stem, classes; parameters, those of convolutions, those of convolutions and classifier,
# feature dimension, multiply-accumulates, convolutions.
# fmt: off
TABLE = [
    (110, 4.75, "mul", "basic", "cifar", 10, 1762206, 1748718, 1749488, 76, 333659128, 109),
    (110, 4.75, "mul", "basic", "cifar", 100, 1769136, 1748718, 1756418, 76, 333665968, 109),
    (110, 48, "add", "basic", "cifar", 10, 1772706, 1758888, 1759538, 64, 403813504, 109),
    (110, 48, "add", "basic", "cifar", 100, 1778556, 1758888, 1765388, 64, 403819264, 109),
    (110, 8, "mul", "basic", "cifar", 10, 3876547, 3857373, 3858663, 128, 564216896, 109),
    (110, 8, "mul", "basic", "cifar", 100, 3888157, 3857373, 3870273, 128, 564228416, 109),
    (110, 84, "add", "basic", "cifar", 10, 3904446, 3884328, 3885338, 100, 772168168, 109),
    (110, 84, "add", "basic", "cifar", 100, 3913536, 3884328, 3894428, 100, 772177168, 109),
    (110, 27, "mul", "basic", "cifar", 10, 28361693, 28315161, 28319491, 432, 2646677664, 109),
    (110, 27, "mul", "basic", "cifar", 100, 28400663, 28315161, 28358461, 432, 2646716544, 109),
    (110, 270, "add", "basic", "cifar", 10, 28485477, 28432809, 28435679, 286, 4717983724, 109),
    (110, 270, "add", "basic", "cifar", 100, 28511307, 28432809, 28461509, 286, 4718009464, 109),
    (164, 48, "add", "bottleneck", "cifar", 10, 1715442, 1669128, 1671698, 256, 388433920, 163),
    (164, 48, "add", "bottleneck", "cifar", 100, 1738572, 1669128, 1694828, 256, 388456960, 163),
    (164, 84, "add", "bottleneck", "cifar", 10, 3757494, 3689940, 3693950, 400, 745302688, 163),
    (164, 84, "add", "bottleneck", "cifar", 100, 3793584, 3689940, 3730040, 400, 745338688, 163),
    (164, 270, "add", "bottleneck", "cifar", 10, 27216021, 27038727, 27050177, 1144, 4569837040, 163),
    (164, 270, "add", "bottleneck", "cifar", 100, 27319071, 27038727, 27153227, 1144, 4569940000, 163),
    (200, 240, "add", "bottleneck", "cifar", 10, 26752702, 26560468, 26570718, 1024, 4519606016, 199),
    (200, 240, "add", "bottleneck", "cifar", 100, 26844952, 26560468, 26662968, 1024, 4519698176, 199),
    (236, 220, "add", "bottleneck", "cifar", 10, 26969046, 26760772, 26770222, 944, 4582673952, 235),
    (236, 220, "add", "bottleneck", "cifar", 100, 27054096, 26760772, 26855272, 944, 4582758912, 235),
    (272, 200, "add", "bottleneck", "cifar", 10, 26210842, 25991328, 25999978, 864, 4488778176, 271),
    (272, 200, "add", "bottleneck", "cifar", 100, 26288692, 25991328, 26077828, 864, 4488855936, 271),
    (200, 300, "add", "bottleneck", "imagenet", 1000, 62368168, 60625432, 62082432, 1456, 16550501282, 199),
    (200, 450, "add", "bottleneck", "imagenet", 1000, 116775213, 114331977, 116388977, 2056, 29196815629, 199),
    (101, 250, "add", "bottleneck", "imagenet", 1000, 24956608, 23572112, 24829112, 1256, 5528073457, 100),
    (152, 200, "add", "bottleneck", "imagenet", 1000, 27341608, 26118352, 27175352, 1056, 6291546640, 151),
    (101, 360, "add", "bottleneck", "imagenet", 1000, 42455070, 40593174, 42290174, 1696, 8696707045, 100),
]
# fmt: on

# PreResNet-200: with bare projections as in the Torch program (the paper's row), and with
# batch norm after them as in the authors' PyTorch program.
PRERESNET_200 = {
    False: (64666152, 62448832, 64497832, 2048, 15007481856, 203),
    True: (64673960, 62448832, 64497832, 2048, 15007481856, 203),
}


def table():
    """Every network of the tables with the variant of its projections and its counts."""
    for depth, alpha, growth, block, stem, classes, *counts in TABLE:
        size = 224 if stem == "imagenet" else 32
        network = Network("pyramidnet", depth, alpha, growth, block, stem, classes, image_size=size)
        yield network, False, counts
    network = Network("preresnet", 200, 0.0, "add", "bottleneck", "imagenet", 1000, image_size=224)
    for projection_batch_norm, counts in PRERESNET_200.items():
        yield network, projection_batch_norm, list(counts)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--table", help="write the table as JSON to this file")
    options = arguments.parse_args()
    rows = []
    wrong = 0
    for network, projection_batch_norm, expected in table():
        with torch.device("meta"):
            model = Model(network, projection_batch_norm)
        counts = count(model, network.image_size)
        verdict = "equal" if list(counts.values()) == expected else f"expected {expected}"
        wrong += verdict != "equal"
        print(
            network.family,
            network.depth,
            network.alpha,
            network.growth,
            network.block,
            network.stem,
            network.classes,
            *counts.values(),
            verdict,
        )
        row = {"network": asdict(network), "projection_batch_norm": projection_batch_norm}
        rows.append(row | counts | {"flags": network.flags()})
    if options.table:
        with open(options.table, "w") as file:
            json.dump(rows, file, indent=1)
            file.write("\n")
    sys.exit(f"{wrong} of {len(rows)} networks differ" if wrong else 0)


if __name__ == "__main__":
    main()
