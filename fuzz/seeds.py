"""Writes the seeds of the fuzz targets to fuzz/corpus: small files that reach much of each reader.

    python3 fuzz/seeds.py

Files that a fuzzer found lie beside them; this script does not touch those.
"""

import json
import struct
import zlib
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
IMAGES = Path(__file__).parent.parent / "tests/images/corpus"


def write(target, name, data):
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def safetensors(header, data=b""):
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


NETWORK = {
    "family": "pyramidnet", "depth": 8, "alpha": 3.0, "growth": "add", "block": "basic",
    "stem": "cifar", "classes": 2, "dropout": 0.0, "image_size": 8, "rounding": "half-up",
}
DESCRIPTION = {
    "version": "1.0", "network": NETWORK, "classes": ["a", "b"],
    "preprocessing": {
        "mean": [1.0, 2.0, 3.0], "std": [1.0, 2.0, 3.0], "size": 8, "shorter_side": 8,
        "resampling": "bicubic",
    },
}


def safetensors_seeds():
    yield "empty", safetensors({})
    yield "one", safetensors({"fc.bias": tensor("F32", [2], 0, 8)}, bytes(8))
    types = {"F16": 2, "BF16": 2, "F64": 8, "I64": 8, "U8": 1, "BOOL": 1, "I32": 4}
    header, start = {}, 0
    for name, size in types.items():
        header[name] = tensor(name, [2], start, start + 2 * size)
        start += 2 * size
    yield "types", safetensors(header, bytes(range(start)))
    yield "scalar", safetensors({"n": tensor("I64", [], 0, 8)}, bytes(8))
    yield "huge-shape", safetensors({"w": tensor("F32", [2**62, 4], 0, 0)})
    yield "overlap", safetensors(
        {"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 4, 12)}, bytes(12))
    yield "twice", safetensors(
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4))
    yield "long-header", struct.pack("<Q", 2**40) + b"{}"
    yield "nested", safetensors("[" * 5000)
    yield "module", safetensors(
        {"module.fc.bias": tensor("F32", [1], 0, 4), "fc.bias": tensor("F32", [1], 4, 8)}, bytes(8))
    yield "described", safetensors(
        {"__metadata__": {"pyr_wgpu": json.dumps(DESCRIPTION)},
         "fc.bias": tensor("F32", [2], 0, 8)}, bytes(8))
    yield "pickle", b"\x80\x02}q\x00."
    yield "zip", b"PK\x03\x04" + bytes(30)


def npy(header, data=b"", version=(1, 0)):
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def npy_seeds():
    def header(dtype, shape, order="False"):
        return f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}"
    yield "f4", npy(header("'<f4'", "(2, 3)"), bytes(24))
    yield "i8-v2", npy(header("'<i8'", "(3,)"), bytes(24), (2, 0))
    yield "big-endian", npy(header("'>f8'", "(2,)"), bytes(16), (3, 0))
    yield "fortran", npy(header("'<f4'", "(2, 2)", "True"), bytes(16))
    yield "scalar", npy(header("'<f4'", "()"), bytes(4))
    yield "object", npy(header("'|O'", "(1,)"), b"\x80\x02K\x01.")
    yield "record", npy(header("[('x', '<f4'), ('y', '<i4')]", "(1,)"), bytes(8))
    yield "overflow", npy(header("'<f4'", "(4611686018427387904, 4)"))
    yield "nested", npy("[" * 24 + "1" + "]" * 24)
    yield "deep", npy("{'descr': " + "[" * 3000 + "]" * 3000 + "}")
    yield "cut", npy(header("'<f4'", "(2, 3)"), bytes(7))
    yield "trailing", npy(header("'<f4'", "(1,)"), bytes(9))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, rows, extra=b""):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return (b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


# Of each format, files of tests/images/corpus that differ in what decodes them.
COPIED = [
    "jpeg/extents-16x9-2x2-progressive.jpg", "jpeg/extents-8x1-2x1-whole.jpg",
    "jpeg/sampled-qaa-separate.jpg", "jpeg/restart-q-1.jpg", "jpeg/progressive-q-passes.jpg",
    "jpeg/inks-adobe-2-2-whole.jpg", "jpeg/standard-tables-grey.jpg",
    "jpeg/turned-by-type-4-MM.jpg", "jpeg/turned-by-values-elsewhere.jpg",
    "jpeg/turned-by-xmp-element.jpg", "png/turned-by-raw-compressed-before.png",
    "png/turned-by-xmp-compressed-behind.png", "png/turned-by-exif-behind.png",
    "png/odd-palette.png", "png/animated.png", "gif/animated.gif", "gif/clear-interlaced.gif",
    "gif/unknown-extension.gif", "gif/local-palette.gif", "bmp/4-bits-rle.bmp",
    "bmp/8-bits-64-offset-0.bmp", "bmp/8-bits-300-colours.bmp",
    "bmp/32-bits-40-alpha-fields-alpha.bmp", "bmp/24-bits-os2-2-cut.bmp", "bmp/16-bits-fields-565.bmp",
    "webp/lossy-alpha.webp", "webp/lossless-alpha.webp", "webp/few-colours.webp",
    "webp/animated-lossy.webp", "webp/animated-lossless.webp",
    "webp/turned-by-exif-not-xmp-lossless.webp",
]


def image_seeds():
    for path in COPIED:
        yield path.replace("/", "-"), (IMAGES / path).read_bytes()
    yield "grey.png", png(2, 2, 8, 0, b"\x00\x10\x20\x00\x30\x40")
    palette = chunk(b"PLTE", bytes(12)) + chunk(b"tRNS", b"\x00\x80")
    yield "palette.png", png(4, 1, 2, 3, b"\x00\x1b", palette)
    yield "rgba16.png", png(1, 1, 16, 6, b"\x00" + bytes(range(8)))
    yield "huge.png", png(2**31 - 1, 2**31 - 1, 8, 2, b"")
    profile = chunk(b"iCCP", b"p\x00\x00" + zlib.compress(bytes(1 << 22), 9))
    yield "profile.png", png(1, 1, 8, 0, b"\x00\x10", profile)
    yield "frame.gif", (b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + bytes(6)
                        + b",\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02D\x01\x00;")
    yield "dot.gif", (b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
                      b"!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00"
                      b"\x02\x02D\x01\x00;")
    def bmp(width, height, bits, data, compression=0, extra=b""):
        size = 54 + len(extra)
        return (b"BM" + struct.pack("<IHHI", size + len(data), 0, 0, size)
                + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data),
                              0, 0, 0, 0) + extra + data)
    yield "rgb.bmp", bmp(1, 1, 24, bytes(4))
    yield "upside.bmp", bmp(2, -2, 32, bytes(range(16)))
    yield "run-length.bmp", bmp(4, 1, 8, b"\x04\x01\x00\x01", 1, bytes(1024))
    yield "huge.bmp", bmp(65535, 65535, 8, b"\x00\x01", 1, bytes(1024))


def cifar_seeds():
    def record(label):
        return bytes((0, label)) + bytes(range(256)) * 12
    yield "two", record(0) + record(99)
    yield "label-100", record(1) + record(100)
    yield "cut", record(1) + record(2)[:-1]
    yield "empty", b""


CONFIG = """dataset = "folder"
data = "/data"
seed = 1
fuse = true
recompute = false
precision = "f32"

[network]
family = "pyramidnet"
depth = 8
alpha = 3.0
growth = "add"
block = "basic"
stem = "cifar"
classes = 3
dropout = 0.0
image_size = 8
rounding = "half-up"

[recipe]
epochs = 3
batch_size = 8
learning_rate = 0.1
momentum = 0.9
weight_decay = 0.0001
milestones = [150, 225]
augment = true
"""


def config_seeds():
    yield "valid", CONFIG
    yield "image-size-0", CONFIG.replace("image_size = 8", "image_size = 0")
    yield "nan", CONFIG.replace("alpha = 3.0", "alpha = nan")
    yield "huge", CONFIG.replace("epochs = 3", "epochs = 4294967295")
    yield "imagenet", CONFIG.replace('"cifar"', '"imagenet"').replace("depth = 8", "depth = 200")
    yield "nested", "a = " + "[" * 3000


EPOCH = ('{"event":"epoch","epoch":1,"learning_rate":0.05,"train_loss":1.5,"train_top1_error":40.0,'
         '"test_loss":1.5,"test_top1_error":50.0,"test_top5_error":null,"images_per_second":3.5,'
         '"data_wait_seconds":0.0,"epoch_seconds":2.5,"device_bytes":9}\n')


def events_seeds():
    started = '{"event":"started","schema":1,"epoch":1,"step":0,"run":"runs/a"}\n'
    resumed = '{"event":"resumed","schema":1,"epoch":1,"step":0}\n'
    yield "run", started + EPOCH + '{"event":"saved","epoch":2,"step":0}\n'
    yield "resumed", started + EPOCH + resumed + EPOCH
    yield "cut", started + EPOCH[:50]
    yield "schema", started.replace('"schema":1', '"schema":99')
    yield "nested", "[" * 3000 + "\n"
    yield "failed", '{"event":"failed","cause":"data","error":"e"}\n'


def choices_seeds():
    yield "empty", "{}"
    yield "environment", '{"version":"0.1.0","device":"cpu","device_name":"CPU","adapter":null}'
    yield "everywhere", '{"everywhere":{"conv2d":"direct"}}'
    yield "list", "[]"
    yield "nested", '{"a":' * 3000


def position_seeds():
    position = {
        "position": {"epoch": 2, "step": 0, "order": {"seed": 1, "images": 20, "batch_size": 8},
                     "batches_tracked": 3, "metrics": [0] * 8},
        "best": {"epoch": 1, "test_top1_error": 50.0}, "test_images": 5,
    }
    yield "valid", json.dumps(position)
    position["position"]["loss_scale"] = [1199570944, 0, 0, 0]
    yield "half", json.dumps(position)
    position["position"]["order"]["images"] = 2**63
    yield "images-overflow", json.dumps(position)
    position["position"]["order"]["batch_size"] = 0
    yield "batch-0", json.dumps(position)
    position["position"]["epoch"] = 0
    yield "epoch-0", json.dumps(position)
    # Numbers: epoch, step, order (seed, images, batch size), batches; the best epoch and its error;
    # metrics (loss, top 1, top 5, images, 0...); scale of the loss.
    numbers = [2, 1, 1, 20, 8, 4, 1, 50, 1065353216, 1, 2, 8, 0, 0, 0, 0, 1199570944, 0, 0, 0]
    yield "numbers", struct.pack("<20Q", *numbers)
    for name, changes in [
        ("last-step", {1: 3, 11: 20}), ("past-the-epoch", {1: 4, 11: 20}), ("best-later", {6: 2}),
        ("counts-unsorted", {9: 3}), ("scale-odd", {16: 1199570945}), ("images-2-32", {3: 2**32}),
    ]:
        changed = [changes.get(index, number) for index, number in enumerate(numbers)]
        yield f"numbers-{name}", struct.pack("<20Q", *changed)


def description_seeds():
    yield "valid", json.dumps(DESCRIPTION)
    yield "network-only", json.dumps({"version": "1.0", "network": NETWORK})
    yield "later-version", json.dumps({**DESCRIPTION, "version": "9.0"})
    for name, changes in [
        ("deep", {"depth": 4294967294}), ("wide", {"alpha": 1e300}), ("image-size-0", {"image_size": 0}),
        ("imagenet", {"stem": "imagenet", "image_size": 224, "depth": 200, "block": "bottleneck"}),
        ("classes-0", {"classes": 0}), ("mul", {"growth": "mul", "alpha": 2.5}),
    ]:
        yield name, json.dumps({**DESCRIPTION, "network": {**NETWORK, **changes}})
    yield "classes-differ", json.dumps({**DESCRIPTION, "classes": ["a"]})
    yield "nested", '{"a":' * 3000


def canvas_seeds():
    yield "two", struct.pack("<HH", 2, 1) + bytes(6)
    yield "square", struct.pack("<HH", 7, 5) + bytes(range(105))
    yield "too-few", struct.pack("<HH", 65535, 65535) + bytes(6)
    yield "too-many", struct.pack("<HH", 1, 1) + bytes(6)
    yield "no-columns", struct.pack("<HH", 0, 513) + bytes(6)
    yield "no-pixels", struct.pack("<HH", 0, 0)


for target, seeds in [
    ("safetensors", safetensors_seeds), ("npy", npy_seeds), ("image", image_seeds),
    ("cifar", cifar_seeds), ("config", config_seeds), ("events", events_seeds), ("choices", choices_seeds),
    ("position", position_seeds), ("description", description_seeds), ("canvas", canvas_seeds),
]:
    for name, data in seeds():
        write(target, name, data)
