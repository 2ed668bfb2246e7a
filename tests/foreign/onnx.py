"""Compares ONNX files of `pyr-wgpu convert` with the logits that PyTorch recorded.

    python onnx.py PYR_WGPU

It needs onnxruntime. Networks, flags and logits are those of ../golden; the images of a batch are
run together, one by one, and, as the batch's size is free, twice over.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import onnxruntime

GOLDEN = Path(__file__).parent.parent / "golden"

# The recordings whose weights are stored whole.
NAMES = ["additive_basic", "additive_bottleneck", "multiplicative_basic", "odd_image"]

# Largest difference of logits, in units of the largest logit or 1. Single precision: the tolerance
# of `pyr-wgpu verify`. Half precision has 11 bits: some 20 layers round twice each, and such errors
# grow with the square root of their number.
SINGLE = 2e-5
HALF = 40**0.5 * 2.0**-11


def check(program, name, flags, tolerance):
    network = json.loads((GOLDEN / f"{name}.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        arguments = [GOLDEN / f"{name}.safetensors", path, *network["flags"], *flags]
        arguments = [program, "convert", *map(str, arguments)]
        subprocess.run(arguments, check=True, stderr=subprocess.DEVNULL)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = numpy.load(GOLDEN / f"{name}.input.npy")
    expected = numpy.load(GOLDEN / f"{name}.logits.npy")
    one_by_one = [images[at : at + 1] for at in range(len(images))]
    for batches in [[images], one_by_one, [numpy.concatenate([images, images])]]:
        logits = [session.run(["logits"], {"input": batch})[0] for batch in batches]
        logits = numpy.concatenate(logits)
        wanted = numpy.resize(expected, logits.shape)
        distance = abs(logits - wanted).max() / max(1, abs(wanted).max())
        assert distance <= tolerance, f"{name} {flags}: {distance}"
    metadata = session.get_modelmeta().custom_metadata_map
    classes = json.loads(metadata["classes"])
    assert len(classes) == expected.shape[1], classes
    assert json.loads(metadata["crop"]) == images.shape[-1], metadata
    assert len(json.loads(metadata["mean"])) == 3, metadata
    print(f"{name} {' '.join(flags)}: {distance:.1e}")


def main():
    program = sys.argv[1]
    for name in NAMES:
        check(program, name, [], SINGLE)
        check(program, name, ["--fold"], SINGLE)
        check(program, name, ["--half"], HALF)
        check(program, name, ["--fold", "--half"], HALF)


if __name__ == "__main__":
    main()
