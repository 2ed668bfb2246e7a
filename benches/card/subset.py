"""A few images of a dataset in class folders, so that an epoch of training is a few steps.

The program reports the loss once for each epoch. CIFAR's binary files become BMP files, pixel by
pixel; the images of a folder are copied.
"""

import shutil
import struct
from pathlib import Path

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"}
SIDE = 32
PIXELS = SIDE * SIDE


class NoImages(Exception):
    """A folder is no dataset that is known here."""


def write(source, target, train, test):
    """Writes so many training and test images of a dataset to a new folder; returns its title."""
    for folder in (source, source / "cifar-10-batches-bin"):
        if (folder / "data_batch_1.bin").is_file():
            records(folder / "data_batch_1.bin", 1, target / "train", train)
            records(folder / "test_batch.bin", 1, target / "test", test)
            return "CIFAR-10, binary"
    for folder in (source, source / "cifar-100-binary"):
        if (folder / "train.bin").is_file():
            records(folder / "train.bin", 2, target / "train", train)
            records(folder / "test.bin", 2, target / "test", test)
            return "CIFAR-100, binary"
    for name in ("test", "val"):
        if (source / "train").is_dir() and (source / name).is_dir():
            copies(source / "train", target / "train", train)
            copies(source / name, target / "test", test)
            return "class folders"
    raise NoImages(
        f"{source} has neither data_batch_1.bin, nor train.bin, nor folders train and test"
    )


def records(file, label_bytes, target, count):
    """The first records of a binary file: labels, of which the last counts, and three planes."""
    size = label_bytes + 3 * PIXELS
    with open(file, "rb") as records:
        for number in range(count):
            record = records.read(size)
            if len(record) < size:
                raise NoImages(f"{file} has fewer than {count} images")
            folder = target / f"class{record[label_bytes - 1]:02}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:05}.bmp").write_bytes(bitmap(record[label_bytes:]))


def bitmap(planes):
    """A BMP file of a red, a green and a blue plane: blue first, the lowest row first."""
    red, green, blue = (planes[i * PIXELS : (i + 1) * PIXELS] for i in range(3))
    rows = []
    for y in reversed(range(SIDE)):
        for x in range(SIDE):
            at = y * SIDE + x
            rows.append(bytes((blue[at], green[at], red[at])))
    data = b"".join(rows)
    header = struct.pack("<2sIHHI", b"BM", 54 + len(data), 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, len(data), 2835, 2835, 0, 0)
    return header + data


def copies(source, target, count):
    """One image of each class after the other, until there are enough."""
    classes = sorted(folder for folder in source.iterdir() if folder.is_dir())
    if not classes:
        raise NoImages(f"{source} has no class folders")
    lists = [images(folder) for folder in classes]
    for folder, files in zip(classes, lists):
        if not files:
            raise NoImages(f"{folder} has no images")
    copied = 0
    for turn in range(max(len(files) for files in lists)):
        for folder, files in zip(classes, lists):
            # Every class has an image, even if that makes more than were asked for.
            if turn < len(files) and (copied < count or turn == 0):
                (target / folder.name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(files[turn], target / folder.name / files[turn].name)
                copied += 1
    if copied < count:
        raise NoImages(f"{source} has only {copied} of the {count} images that are needed")


def images(folder):
    return sorted(Path(file) for file in folder.iterdir() if file.suffix.lower() in IMAGES)
