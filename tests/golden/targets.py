"""Records PyTorch's cross-entropy with label smoothing and mixed labels, and the distributions of
torchvision's RandomErasing and CutMix.

    venv/bin/pip install torch==2.15.0 torchvision==0.29.2
    venv/bin/python tests/golden/targets.py

Writes targets.json and rectangles.json beside itself. The loss and its gradients are computed in
double precision from numbers that are exact in single precision.
"""

import json
from pathlib import Path

import torch
from torch.nn import CrossEntropyLoss
from torchvision.transforms import RandomErasing
from torchvision.transforms.v2 import CutMix

FOLDER = Path(__file__).parent


def single(values):
    return torch.tensor(values, dtype=torch.float32).double()


def loss_case(smoothing, shares, classes, seed):
    """shares: None for one label an image; else the share of the first of two."""
    generator = torch.Generator().manual_seed(seed)
    images = 5
    logits = 3 * torch.randn(images, classes, generator=generator)
    labels = torch.randint(classes, (images,), generator=generator)
    others = torch.randint(classes, (images,), generator=generator)
    weights = torch.rand(images, generator=generator)
    x = logits.double().requires_grad_()
    smoothing = single(smoothing).item()
    loss = CrossEntropyLoss(label_smoothing=smoothing, reduction="none")
    losses = loss(x, labels)
    if shares is not None:
        share = single(shares)
        losses = share * losses + (1 - share) * loss(x, others)
        # The same with one distribution as target.
        soft = torch.nn.functional.one_hot(labels, classes) * share[:, None]
        soft = soft + torch.nn.functional.one_hot(others, classes) * (1 - share)[:, None]
        assert torch.allclose(losses, loss(x, soft), rtol=1e-13, atol=0)
    (losses * weights.double()).sum().backward()
    return {
        "smoothing": smoothing,
        "classes": classes,
        "logits": logits.flatten().tolist(),
        "labels": labels.tolist(),
        "others": others.tolist() if shares is not None else None,
        "shares": single(shares).tolist() if shares is not None else None,
        "weights": weights.tolist(),
        "losses": losses.tolist(),
        "gradients": x.grad.flatten().tolist(),
    }


def moments(columns):
    """Mean and variance of each named column."""
    return {
        name: [values.mean().item(), values.var().item()]
        for name, values in columns.items()
    }


def rectangles(draw, count, size):
    """Moments of rectangles (top, left, bottom, right)."""
    drawn = torch.tensor([draw() for _ in range(count)], dtype=torch.float64)
    top, left, bottom, right = drawn.T
    height, width = bottom - top, right - left
    columns = {
        "top": top,
        "left": left,
        "height": height,
        "width": width,
        "area": height * width,
        "empty": (height * width == 0).double(),
    }
    return {"size": size, "count": count, "moments": moments(columns)}


def erasing(size):
    image = torch.zeros(3, size, size)
    transform = RandomErasing(p=1)

    def draw():
        top, left, height, width, _ = transform.get_params(
            image, transform.scale, transform.ratio, [0.0]
        )
        if (height, width) == (size, size):
            # What get_params returns if no attempt fits: nothing is erased.
            return (0, 0, 0, 0)
        return (top, left, top + height, left + width)

    return draw


def cutmix(size, alpha):
    image = torch.zeros(2, 3, size, size)
    transform = CutMix(num_classes=2, alpha=alpha)

    def draw():
        left, top, right, bottom = transform.make_params([image])["box"]
        return (top, left, bottom, right)

    return draw


if __name__ == "__main__":
    cases = [
        loss_case(0.1, None, 10, 1),
        loss_case(0.3, None, 3, 2),
        loss_case(0.0, [0.3, 0.9, 0.5, 1.0, 0.0], 10, 3),
        loss_case(0.1, [0.25, 0.7, 0.5, 1.0, 0.0], 7, 4),
    ]
    (FOLDER / "targets.json").write_text(json.dumps(cases) + "\n")
    torch.manual_seed(1)
    recorded = {
        "erase": [rectangles(erasing(size), 100_000, size) for size in (32, 9)],
        "cutmix": [
            rectangles(cutmix(size, alpha), 100_000, size) | {"alpha": alpha}
            for size, alpha in ((32, 1.0), (9, 0.4))
        ],
    }
    (FOLDER / "rectangles.json").write_text(json.dumps(recorded, indent=1) + "\n")
