"""Writes JPEGs with the spectrum of photographs in ImageNet's layout, for bench.py.

    python pictures.py DIR [TRAIN [VAL]]

Six in ten are 500x375, the others of random extents; the power of their noise falls with the
frequency as in photographs, and the three colours are correlated.
"""

import sys
from pathlib import Path

import numpy
from PIL import Image

CLASSES = 10


def picture(generator, width, height):
    rows, columns = numpy.fft.fftfreq(height), numpy.fft.rfftfreq(width)
    frequency = numpy.sqrt(rows[:, None] ** 2 + columns[None] ** 2)
    frequency[0, 0] = 1e-2

    def noise():
        return generator.normal(size=frequency.shape) + 1j * generator.normal(size=frequency.shape)

    colours = [noise() for _ in range(3)]
    planes = [
        numpy.fft.irfft2((0.8 * colours[0] + 0.4 * own) / frequency**1.1, s=(height, width))
        for own in colours
    ]
    values = numpy.stack(planes, -1)
    values = (values - values.mean()) / values.std() * 55 + 118
    return Image.fromarray(numpy.clip(values, 0, 255).astype("uint8"))


def main():
    directory = Path(sys.argv[1])
    counts = [int(number) for number in sys.argv[2:4]] + [400, 40][len(sys.argv) - 2 :]
    generator = numpy.random.default_rng(0)
    for part, count in zip(("train", "val"), counts):
        for index in range(count):
            folder = directory / part / f"n{10_000_000 + index % CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            width, height = 500, 375
            if generator.random() >= 0.6:
                width, height = (int(generator.integers(300, 640)) for _ in range(2))
            image = picture(generator, width, height)
            image.save(folder / f"p_{index}.JPEG", quality=int(generator.integers(90, 96)))


if __name__ == "__main__":
    main()
