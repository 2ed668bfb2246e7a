"""Writes files of other programs with the networks of the recordings in ../golden.

    python make.py

`additive_bottleneck.*` and `odd_image.*` hold the weights of the recordings of these names, so
that every file must give PyTorch's logits:

    additive_bottleneck.pth         zip, a dictionary of the state
    additive_bottleneck.t7          64-bit longs; all parameters are views of one storage, some
                                    with transposed strides
    additive_bottleneck.caffemodel  layers with names and strides, and the zero convolutions of
                                    the shortcuts
    odd_image.pth.tar               the stream of pickles of before PyTorch 1.6: a trainer's
                                    dictionary with optimiser, epoch and the prefix `module.`
    odd_image.model.pth             a whole module in double precision
    odd_image.t7                    32-bit longs; DataParallelTable, `running_std`, flattened
                                    weights of convolutions, double precision
    odd_image.caffemodel            layers of the first version of the schema

`several.pth` and `equal.pth` are dictionaries with several networks of a few values.
Small files of each format for the fuzz target are written to ../../fuzz/corpus/safetensors.

`imagenet_stem.ceil.logits.npy` are the logits of the recording `imagenet_stem` where max pooling
rounds up, as Caffe's does.

It needs torch, numpy, safetensors and protobuf. PyTorch writes the `.pth` files and protobuf the
`.caffemodel` files, from a part of the public caffe.proto; `.t7` is written here.
"""

import json
import struct
import sys
from pathlib import Path

import numpy
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from safetensors.numpy import load_file
from torch import nn

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
sys.path.insert(0, str(GOLDEN))

from initialise import initial_weights  # noqa: E402
from pyramidnet import Model, Network, branch_convolutions  # noqa: E402


def recording(name):
    network = Network(**json.loads((GOLDEN / f"{name}.json").read_text())["network"])
    return network, load_file(GOLDEN / f"{name}.safetensors")


def units(network):
    """Name, stride and widths of every unit."""
    widths = iter(network.widths())
    channels = network.start_width()
    for stage, count in enumerate(network.units_per_stage(), 1):
        for index in range(count):
            width = next(widths)
            stride = 2 if stage > 1 and index == 0 else 1
            yield stage, index, channels, width, stride
            channels = width * network.expansion()


# PyTorch


def write_pytorch():
    _, tensors = recording("additive_bottleneck")
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
    torch.save(state, HERE / "additive_bottleneck.pth")

    network, tensors = recording("odd_image")
    model = nn.DataParallel(Model(network))
    state = {f"module.{name}": torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
    # PyTorch before 0.4.1 had no counters of batches.
    state = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    model.load_state_dict(state, strict=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.module.fc.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    checkpoint = {
        "epoch": 12,
        "arch": "pyramidnet",
        "state_dict": state,
        "best_err1": torch.tensor(7.25),
        "best_err5": numpy.float64(0.5),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(
        checkpoint, HERE / "odd_image.pth.tar", _use_new_zipfile_serialization=False
    )
    torch.save(model.module.double(), HERE / "odd_image.model.pth")


# Torch 7


class Torch7:
    """A writer of torch.save's binary form."""

    def __init__(self, long, element):
        self.bytes = bytearray()
        self.long = "<q" if long == 8 else "<i"
        self.element = element
        self.index = 0
        self.known = {}

    def int(self, value):
        self.bytes += struct.pack("<i", value)

    def longs(self, *values):
        for value in values:
            self.bytes += struct.pack(self.long, value)

    def string(self, text):
        self.int(len(text))
        self.bytes += text.encode()

    def begin(self, kind, value):
        """The type and number of a table or object; whether it was written before."""
        self.int(kind)
        if id(value) in self.known:
            self.int(self.known[id(value)][0])
            return True
        self.index += 1
        # The value is kept, so that its identity stays its own.
        self.known[id(value)] = (self.index, value)
        self.int(self.index)
        return False

    def object(self, name, value):
        if self.begin(4, value):
            return False
        self.string("V 1")
        self.string(name)
        return True

    def write(self, value):
        if value is None:
            self.int(0)
        elif isinstance(value, bool):
            self.int(5)
            self.int(int(value))
        elif isinstance(value, (int, float)):
            self.int(1)
            self.bytes += struct.pack("<d", value)
        elif isinstance(value, str):
            self.int(2)
            self.string(value)
        elif isinstance(value, Module):
            if self.object(value.kind, value):
                self.write(value.fields)
        elif isinstance(value, View):
            if self.object(f"torch.{self.element}Tensor", value):
                self.int(len(value.shape))
                self.longs(*value.shape, *value.strides, value.offset + 1)
                self.write(value.storage)
        elif isinstance(value, Storage):
            if self.object(f"torch.{self.element}Storage", value):
                self.longs(len(value.values))
                dtype = {"Float": "<f4", "Double": "<f8", "Cuda": "<f4"}[self.element]
                self.bytes += numpy.asarray(value.values, dtype).tobytes()
        else:
            pairs = value.items() if isinstance(value, dict) else enumerate(value, 1)
            if not self.begin(3, value):
                self.int(len(value))
                for key, entry in pairs:
                    self.write(key)
                    self.write(entry)


class Storage:
    def __init__(self):
        self.values = []

    def view(self, array, transposed=False):
        offset = len(self.values)
        stored = array.T if transposed else array
        self.values.extend(stored.ravel().tolist())
        strides = [stride // array.itemsize for stride in numpy.ascontiguousarray(stored).strides]
        return View(array.shape, strides[::-1] if transposed else strides, offset, self)


class View:
    def __init__(self, shape, strides, offset, storage):
        self.shape, self.strides, self.offset, self.storage = shape, strides, offset, storage


class Module:
    def __init__(self, kind, **fields):
        self.kind, self.fields = kind, fields


def sequential(*modules, kind="nn.Sequential"):
    return Module(kind, modules=list(modules), train=False)


class Torch7Network:
    """The modules of a network as the authors' Lua code nests them."""

    def __init__(self, name, shared):
        self.network, self.tensors = recording(name)
        self.shared = Storage() if shared else None

    def view(self, array, transposed=False):
        return (self.shared or Storage()).view(array, transposed and bool(self.shared))

    def convolution(self, name, stride):
        weight = self.tensors[f"{name}.weight"]
        outputs, inputs, kernel, _ = weight.shape
        kind = "cudnn.SpatialConvolution"
        if not self.shared:
            kind, weight = "nn.SpatialConvolutionMM", weight.reshape(outputs, -1)
        return Module(
            kind, weight=self.view(weight), nInputPlane=inputs, nOutputPlane=outputs,
            kW=kernel, kH=kernel, dW=stride, dH=stride, padW=kernel // 2, padH=kernel // 2,
            gradWeight=self.view(numpy.zeros(3, "f4")),
        )  # fmt: skip

    def batch_norm(self, name):
        at = lambda suffix: self.tensors[f"{name}.{suffix}"]  # noqa: E731
        fields = {"weight": at("weight"), "bias": at("bias"), "running_mean": at("running_mean")}
        if self.shared:
            fields["running_var"] = at("running_var")
        else:
            fields["running_std"] = 1 / numpy.sqrt(at("running_var").astype("f8") + 1e-5)
        views = {name: self.view(value) for name, value in fields.items()}
        return Module("nn.SpatialBatchNormalization", eps=1e-5, momentum=0.1, affine=True, **views)

    def unit(self, stage, index, channels, width, stride):
        name = f"layer{stage}.{index}"
        branch = []
        for number, (outputs, _, step) in enumerate(
            branch_convolutions(self.network.block, width, stride), 1
        ):
            branch.append(self.batch_norm(f"{name}.bn{number}"))
            if number > 1:
                branch.append(Module("cudnn.ReLU", inplace=True))
            branch.append(self.convolution(f"{name}.conv{number}", step))
        branch.append(self.batch_norm(f"{name}.bn{number + 1}"))
        shortcut = [Module("nn.Identity")]
        if stride == 2:
            shortcut = [Module("nn.SpatialAveragePooling", kW=2, kH=2, dW=2, dH=2)]
        if outputs > channels:
            shortcut.append(Module("nn.Padding", dim=1, pad=outputs - channels, nInputDim=3))
        both = sequential(
            sequential(*branch), sequential(*shortcut), kind="nn.ConcatTable"
        )
        return sequential(sequential(both, Module("nn.CAddTable", inplace=True)))

    def model(self):
        stages = {}
        for unit in units(self.network):
            stages.setdefault(unit[0], []).append(self.unit(*unit))
        return sequential(
            self.convolution("conv1", 1), self.batch_norm("bn1"),
            *(sequential(*stage) for stage in stages.values()),
            self.batch_norm("bn_final"), Module("cudnn.ReLU"),
            Module("cudnn.SpatialAveragePooling"), Module("nn.View", size=Storage()),
            Module("nn.Linear", weight=self.view(self.tensors["fc.weight"], transposed=True),
                   bias=self.view(self.tensors["fc.bias"])),
        )  # fmt: skip


def write_torch7():
    writer = Torch7(8, "Float")
    writer.write(Torch7Network("additive_bottleneck", shared=True).model())
    (HERE / "additive_bottleneck.t7").write_bytes(writer.bytes)
    writer = Torch7(4, "Double")
    model = Torch7Network("odd_image", shared=False).model()
    parallel = Module("nn.DataParallelTable", modules=[model, model], gpuAssignments=[1, 2])
    writer.write({"model": parallel, "epoch": 164})
    (HERE / "odd_image.t7").write_bytes(writer.bytes)


# Caffe

# Fields of caffe.proto: name, number, type, and R for repeated or P for packed.
SCHEMA = {
    "BlobShape": [("dim", 1, "int64", "P")],
    "BlobProto": [
        ("num", 1, "int32"), ("channels", 2, "int32"), ("height", 3, "int32"),
        ("width", 4, "int32"), ("data", 5, "float", "P"), ("shape", 7, "BlobShape"),
        ("double_data", 8, "double", "P"),
    ],
    "ConvolutionParameter": [("num_output", 1, "uint32"), ("stride", 6, "uint32", "R")],
    "BatchNormParameter": [("use_global_stats", 1, "bool"), ("eps", 3, "float")],
    "ScaleParameter": [("bias_term", 4, "bool")],
    "LayerParameter": [
        ("name", 1, "string"), ("type", 2, "string"), ("bottom", 3, "string", "R"),
        ("top", 4, "string", "R"), ("blobs", 7, "BlobProto", "R"),
        ("convolution_param", 106, "ConvolutionParameter"),
        ("batch_norm_param", 139, "BatchNormParameter"), ("scale_param", 142, "ScaleParameter"),
    ],
    "V1LayerParameter": [
        ("bottom", 2, "string", "R"), ("top", 3, "string", "R"), ("name", 4, "string"),
        ("type", 5, "int32"), ("blobs", 6, "BlobProto", "R"),
        ("convolution_param", 10, "ConvolutionParameter"),
    ],
    "NetParameter": [
        ("name", 1, "string"), ("layers", 2, "V1LayerParameter", "R"),
        ("layer", 100, "LayerParameter", "R"),
    ],
}  # fmt: skip


def caffe_messages():
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in SCHEMA.items():
        declared = file.message_type.add(name=message)
        for name, number, kind, *repeated in fields:
            added = declared.field.add(name=name, number=number)
            added.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            added.options.packed = repeated == ["P"]
            if kind in SCHEMA:
                added.type, added.type_name = field.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                added.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
        for name in SCHEMA
    }


class Caffe:
    """The layers of a network under the names of the authors' prototxt files."""

    # Types of the first version of the schema; it has none for batch norm and scale.
    V1_TYPES = {"Convolution": 4, "InnerProduct": 14, "Eltwise": 25, "Concat": 3, "Pooling": 17}

    def __init__(self, name, first_version):
        self.network, self.tensors = recording(name)
        self.net = caffe_messages()["NetParameter"](name="PyramidNet")
        self.first_version = first_version

    def layer(self, name, kind, *blobs, stride=None):
        if self.first_version:
            layer = self.net.layers.add(name=name)
            if kind in self.V1_TYPES:
                layer.type = self.V1_TYPES[kind]
        else:
            layer = self.net.layer.add(name=name, type=kind)
        for blob in blobs:
            added = layer.blobs.add()
            added.data.extend(numpy.ravel(blob).tolist())
            if self.first_version:
                extents = (1, 1, 1, 1, *numpy.shape(blob))[-4:]
                added.num, added.channels, added.height, added.width = extents
            else:
                added.shape.dim.extend(numpy.shape(blob))
        if stride is not None:
            layer.convolution_param.stride.append(stride)

    def convolution(self, name, caffe, stride):
        self.layer(caffe, "Convolution", self.tensors[f"{name}.weight"], stride=stride)

    def batch_norm(self, name, number):
        factor = numpy.float32(999.98236)
        at = lambda suffix: self.tensors[f"{name}.{suffix}"]  # noqa: E731
        sums = [at(suffix).astype("f8") * factor for suffix in ("running_mean", "running_var")]
        self.layer(f"bn{number}", "BatchNorm", *sums, [factor])
        self.layer(f"scale{number}", "Scale", at("weight"), at("bias"))

    def write(self, path):
        self.convolution("conv1", "conv1", 1)
        self.batch_norm("bn1", "1")
        for stage, index, channels, width, stride in units(self.network):
            name, caffe = f"layer{stage}.{index}", f"{stage}_{index + 1}"
            self.batch_norm(f"{name}.bn1", caffe)
            for number, (outputs, _, step) in enumerate(
                branch_convolutions(self.network.block, width, stride), 1
            ):
                self.convolution(f"{name}.conv{number}", f"conv{caffe}_{number}", step)
                self.batch_norm(f"{name}.bn{number + 1}", f"{caffe}_{number}")
            if stride == 2:
                self.layer(f"pool{caffe}", "Pooling")
            if outputs > channels:
                zeros = numpy.zeros((outputs - channels, channels, 1, 1), "f4")
                self.layer(f"zero_conv{caffe}", "Convolution", zeros, stride=1)
                self.layer(f"concat{caffe}", "Concat")
            self.layer(f"sum{caffe}", "Eltwise")
        self.batch_norm("bn_final", "5")
        fc = [self.tensors[f"fc.{suffix}"] for suffix in ("weight", "bias")]
        self.layer("fc", "InnerProduct", *fc)
        path.write_bytes(self.net.SerializeToString(deterministic=True))


def write_caffe():
    path = HERE / "additive_bottleneck.caffemodel"
    Caffe("additive_bottleneck", first_version=False).write(path)
    Caffe("odd_image", first_version=True).write(HERE / "odd_image.caffemodel")


def record_ceil_mode():
    network, tensors = recording("imagenet_stem")
    model = Model(network).double()
    model.maxpool.ceil_mode = True
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
    model.load_state_dict({**initial_weights(model, 1), **state})
    images = torch.from_numpy(numpy.load(GOLDEN / "imagenet_stem.input.npy")).double()
    with torch.no_grad():
        logits = model.eval()(images)
    numpy.save(HERE / "imagenet_stem.ceil.logits.npy", logits.float().numpy())


def write_dictionaries():
    """Dictionaries with several networks, of one value each."""

    def network(value):
        return {name: torch.full((1, 1), value) for name in ("conv1.weight", "fc.weight")}

    flat = {f"ema.{name}": value for name, value in network(3.0).items()}
    several = {"swa": network(2.0), "state_dict": network(1.0) | flat, "init": network(4.0)}
    torch.save(several, HERE / "several.pth")
    torch.save({"a": network(1.0), "b": network(2.0)}, HERE / "equal.pth")


def write_seeds():
    """Small files of each format for the fuzz target of checkpoints."""
    corpus = HERE.parent.parent / "fuzz" / "corpus" / "safetensors"
    state = {
        "state_dict": {"module.conv1.weight": torch.ones(2, 1, 1, 1).half(), "module.fc.bias": torch.zeros(2)},
        "epoch": 3,
        "ema": {"conv1.weight": torch.ones(1)},
    }  # fmt: skip
    torch.save(state, corpus / "zip.pth")
    torch.save(state, corpus / "legacy.pth", _use_new_zipfile_serialization=False)
    storage = Storage()
    weight = storage.view(numpy.arange(18, dtype="f4").reshape(2, 1, 3, 3))
    ones = storage.view(numpy.ones(2, "f4"))
    norm = {"weight": ones, "bias": ones, "running_mean": ones, "running_var": ones, "eps": 1e-4}
    branch = sequential(
        Module("nn.SpatialBatchNormalization", **norm),
        Module("cudnn.SpatialConvolution", weight=weight, dW=2, bias=None),
    )
    both = sequential(branch, sequential(Module("nn.Identity")), kind="nn.ConcatTable")
    net = sequential(
        Module("nn.SpatialConvolution", weight=weight), Module("nn.SpatialMaxPooling", ceil_mode=True),
        sequential(both, Module("nn.CAddTable")), Module("nn.Linear", weight=storage.view(numpy.ones((2, 2), "f4"))),
    )  # fmt: skip
    for long in (8, 4):
        writer = Torch7(long, "Float")
        writer.write({"model": net, "epoch": 1, "done": True})
        (corpus / f"long{long}.t7").write_bytes(writer.bytes)
    for first_version in (False, True):
        caffe = Caffe("additive_basic", first_version)
        one = numpy.ones((2, 1, 1, 1), "f4")
        caffe.layer("conv1", "Convolution", one, stride=2)
        caffe.layer("bn1", "BatchNorm", [1.0, 2.0], [1.0, 2.0], [2.0])
        caffe.layer("scale1", "Scale", [1.0, 2.0], [1.0, 2.0])
        caffe.layer("fc", "InnerProduct", numpy.ones((2, 2), "f4"), [0.0, 1.0])
        path = corpus / ("first.caffemodel" if first_version else "second.caffemodel")
        path.write_bytes(caffe.net.SerializeToString(deterministic=True))


if __name__ == "__main__":
    write_seeds()
    write_dictionaries()
    write_pytorch()
    write_torch7()
    write_caffe()
    record_ceil_mode()
