"""Writes the images of Parquet files, as Hugging Face's hub has CIFAR-10 and CIFAR-100, into a folder
per class.

    python -m venv venv && venv/bin/pip install pyarrow
    venv/bin/python datasets/parquet_to_folder.py train-*.parquet data/cifar10/train
    venv/bin/python datasets/parquet_to_folder.py test-*.parquet data/cifar10/test
    pyr-wgpu train --preset pyramidnet110-a48 --dataset folder --data data/cifar10

The last argument is the folder, which must be new. For CIFAR-100, the paper's learning rate needs
`--lr 0.5`. The bytes of each image are written as they are, without encoding them again.
"""

import json
import sys
from pathlib import Path

import pyarrow.parquet as parquet

IMAGES = ("img", "image")
LABELS = ("fine_label", "label")
EXTENSIONS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg"}


def column(table, names):
    found = [name for name in names if name in table.column_names]
    if not found:
        sys.exit(f"no column is called {' or '.join(names)}; there are {table.column_names}")
    return found[0]


def class_names(table, label):
    """From the schema of the library `datasets`; numbers where it has none."""
    written = (table.schema.metadata or {}).get(b"huggingface", b"{}")
    features = json.loads(written).get("info", {}).get("features", {})
    return features.get(label, {}).get("names")


def main(files, folder):
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder} is not empty; name a new folder")
    count = 0
    for file in files:
        table = parquet.read_table(file)
        image, label = column(table, IMAGES), column(table, LABELS)
        names = class_names(table, label)
        for value, number in zip(table[image].to_pylist(), table[label].to_pylist()):
            if number is None or number < 0 or (names and number >= len(names)):
                sys.exit(f"{file}: image {count} has the label {number}; it has no class")
            name = names[number] if names else f"{number:03}"
            if Path(name).name != name or name in (".", ".."):
                sys.exit(f"{file}: a folder cannot be called {name!r}, as one of its classes is")
            data = value["bytes"] or b""
            extension = next((e for magic, e in EXTENSIONS.items() if data.startswith(magic)), None)
            if extension is None:
                sys.exit(f"{file}: image {count} is neither PNG nor JPEG")
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / f"{count:06}.{extension}").write_bytes(data)
            count += 1
    print(f"wrote {count} images into {folder}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1:-1], Path(sys.argv[-1]))
