"""Reading images for training: torchvision's DataLoader and `pyr-wgpu bench --data`, by turns.

    python bench.py PROGRAM DIR [--workers N] [--rounds N] [--seconds X] [--recipe jitter|crop]

PROGRAM is the built pyr-wgpu; DIR has train/CLASS/*.JPEG and val/CLASS/*.JPEG, as for --dataset
imagenet. Both read batches of 128 training images at 224x224, with as many worker threads or
processes. The recipe `jitter` is torchvision's nearest to the one that our program always applies:
RandomResizedCrop (bicubic, as ours), ColorJitter, the lighting of Krizhevsky et al., flip,
normalisation. `crop` leaves colours alone, as many PyTorch programs do, for which ours still
changes them. Prints images per second of each round, and the ratios of adjacent measurements.
"""

import argparse
import json
import statistics
import subprocess
import time

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
EIGENVALUES = torch.tensor([0.2175, 0.0188, 0.0045])
EIGENVECTORS = torch.tensor(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


def lighting(image):
    return image + (EIGENVECTORS @ (torch.randn(3) * 0.1 * EIGENVALUES))[:, None, None]


def loader(directory, recipe, workers, batch):
    bicubic = transforms.InterpolationMode.BICUBIC
    bilinear = transforms.InterpolationMode.BILINEAR
    steps = {
        "jitter": [
            transforms.RandomResizedCrop(224, interpolation=bicubic),
            transforms.ColorJitter(0.4, 0.4, 0.4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Lambda(lighting),
        ],
        "crop": [
            transforms.RandomResizedCrop(224, interpolation=bilinear),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ],
    }[recipe]
    steps = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])
    images = datasets.ImageFolder(f"{directory}/train", steps)
    # A small folder is read several times, without a pause between epochs.
    images = torch.utils.data.ConcatDataset([images] * max(1, (1 << 18) // len(images)))
    return iter(
        DataLoader(
            images, batch, shuffle=True, num_workers=workers, prefetch_factor=4 if workers else None
        )
    )


def theirs(batches, seconds):
    next(batches)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        count += len(next(batches)[1])
    return count / (time.perf_counter() - start)


def ours(program, directory, workers, seconds, batch):
    command = [program, "bench", "--data", directory, "--json", "--quiet"]
    command += ["--workers", str(workers), "--seconds", str(seconds), "--batch-size", str(batch)]
    output = subprocess.run(command, capture_output=True, check=True, text=True)
    return json.loads(output.stdout)["images_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("directory")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--recipe", choices=["jitter", "crop"], default="jitter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ratios = []
    for _ in range(options.rounds):
        # Worker processes read ahead as long as they live, so each round has its own.
        batches = loader(options.directory, options.recipe, options.workers, options.batch)
        peer = theirs(batches, options.seconds)
        del batches
        own = ours(
            options.program, options.directory, options.workers, options.seconds, options.batch
        )
        ratios.append(own / peer)
        print(f"ours {own:.1f} images/s, torchvision {peer:.1f}: {ratios[-1]:.2f}", flush=True)
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
