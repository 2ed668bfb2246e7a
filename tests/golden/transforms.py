"""Records what torchvision's automatic augmentations do to images: operations on Pillow's images,
their magnitudes, and the pairs of AutoAugment's policy for CIFAR-10.

    venv/bin/pip install torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 numpy
    venv/bin/python tests/golden/transforms.py

Writes transforms.json and transforms.png beside itself. The picture has two originals side by side,
and below them, row by row, each operation of the list `operations` on both.
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import (
    AutoAugment,
    AutoAugmentPolicy,
    InterpolationMode,
    RandAugment,
    TrivialAugmentWide,
)
from torchvision.transforms.autoaugment import _apply_op

FOLDER = Path(__file__).parent
SIZE = 20
POLICIES = {
    "trivial": TrivialAugmentWide()._augmentation_space(31),
    "rand": RandAugment()._augmentation_space(31, (SIZE, SIZE)),
    "cifar10": AutoAugment(AutoAugmentPolicy.CIFAR10)._augmentation_space(10, (SIZE, SIZE)),
}


def originals():
    """Noise over all values, and a smooth image of few values with noise on it, whose red ranges from
    0 to 50: 50 * 255.0 / 50 is below 255 in floating point."""
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 256, (SIZE, SIZE, 3))
    row, column = np.mgrid[0:SIZE, 0:SIZE]
    smooth = np.stack([3 * row, 90 + 3 * column, 60 + 2 * (row + column)], axis=2)
    smooth = smooth + generator.integers(-6, 7, (SIZE, SIZE, 3))
    smooth[..., 0] = smooth[..., 0].clip(0, 50)
    return [Image.fromarray(image.astype(np.uint8)) for image in (noise, smooth)]


def listed():
    """Every operation at some magnitudes of each policy, with either sign where there is one."""
    cases = []
    for policy, space in POLICIES.items():
        for name, (magnitudes, signed) in space.items():
            if magnitudes.ndim == 0:
                cases.append((name, 0.0))
                continue
            for level in (5, 20, 29) if policy == "trivial" else (7,):
                magnitude = float(magnitudes[level])
                cases.append((name, magnitude))
                if signed:
                    cases.append((name, -magnitude))
    return list(dict.fromkeys(cases))


def main():
    images = originals()
    cases = listed()
    rows = [images]
    for name, magnitude in cases:
        changed = [
            _apply_op(image, name, magnitude, InterpolationMode.NEAREST, None) for image in images
        ]
        rows.append(changed)
    picture = np.concatenate(
        [np.concatenate([np.asarray(image) for image in row], axis=1) for row in rows]
    )
    Image.fromarray(picture).save(FOLDER / "transforms.png", optimize=True)
    magnitudes = {
        policy: [
            {
                "operation": name,
                "signed": signed,
                "magnitudes": [0.0] if values.ndim == 0 else [float(value) for value in values],
            }
            for name, (values, signed) in space.items()
        ]
        for policy, space in POLICIES.items()
    }
    recorded = {
        "torch": torch.__version__,
        "size": SIZE,
        "operations": [{"operation": name, "magnitude": value} for name, value in cases],
        "policies": magnitudes,
        "pairs": [
            [
                {"operation": name, "probability": probability, "level": level or 0}
                for name, probability, level in pair
            ]
            for pair in AutoAugment(AutoAugmentPolicy.CIFAR10).policies
        ],
    }
    text = json.dumps(recorded, indent=1)
    (FOLDER / "transforms.json").write_text(text + "\n")


main()
