"""Records augmented images: the crops, colours and lighting of fb.resnet.torch for ImageNet.

Everything is in double precision, step by step on the scale 0 to 1, written from the description of
the steps: image.scale(..., 'bicubic') of torch/image, the blends of fb.resnet.torch's
transforms.lua, its lighting. Usage: python augment.py > augmented.json (numpy 2).
"""

import json

import numpy as np

GREY = np.array([0.299, 0.587, 0.114])
EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


def cubic_line(line, length):
    """A line of pixels [n, 3] at another length; the ends coincide."""
    n = len(line)
    if length == n:
        return line.copy()
    if n == 1:
        return np.repeat(line, length, axis=0)
    out = np.empty((length, 3))
    for i in range(length):
        position = i * (n - 1) / (length - 1)
        k = min(int(np.floor(position + 1e-12)), n - 2)
        t = position - k
        p1, p2 = line[k], line[k + 1]
        p0 = line[k - 1] if k > 0 else 2 * p1 - p2
        p3 = line[k + 2] if k + 2 < n else 2 * p2 - p1
        out[i] = p1 + 0.5 * t * (
            p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0))
        )
    return out


def bicubic(image, width, height):
    rows = np.stack([cubic_line(row, width) for row in image])
    return np.stack([cubic_line(rows[:, x], height) for x in range(width)], axis=1)


def region(image, crop, size):
    if crop is not None:
        left, top, width, height = crop
        return bicubic(image[top : top + height, left : left + width], size, size)
    height, width, _ = image.shape
    if width < height:
        image = bicubic(image, size, height * size // width)
    else:
        image = bicubic(image, width * size // height, size)
    height, width, _ = image.shape
    top, left = -((size - height) // 2), -((size - width) // 2)  # half the excess, rounded up
    return image[top : top + size, left : left + size]


def jitter(image, name, weight):
    grey = (image @ GREY)[..., None]
    other = {"brightness": 0.0, "contrast": grey.mean(), "saturation": grey}[name]
    return weight * image + (1 - weight) * other


def main():
    random = np.random.default_rng(7)
    cases = []
    shapes = [(29, 23), (23, 31), (3, 2), (1, 5), (40, 16), (16, 16)]
    crops = [(3, 5, 17, 14), (0, 0, 23, 31), (0, 0, 3, 2), (0, 1, 1, 3), None, None]
    orders = ["bcs", "bsc", "cbs", "csb", "sbc", "scb"]
    names = {"b": "brightness", "c": "contrast", "s": "saturation"}
    for (width, height), crop, order in zip(shapes, crops, orders):
        pixels = random.integers(0, 256, (height, width, 3))
        weights = random.uniform(0.6, 1.4, 3)
        shares = random.normal(0, 0.1, 3)
        image = region(pixels / 255, crop, 16)
        changes = [(names[letter], weight) for letter, weight in zip(order, weights)]
        for name, weight in changes:
            image = jitter(image, name, weight)
        image = image + EIGENVECTORS @ (shares * EIGENVALUES)
        cases.append(
            {
                "width": width,
                "height": height,
                "pixels": pixels.ravel().tolist(),
                "crop": crop,
                "jitter": changes,
                "shares": shares.tolist(),
                "augmented": [float(f"{255 * value:.6f}") for value in image.ravel()],
            }
        )
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


main()
