"""Which device the program will use, and which of PyTorch's devices is the same one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from process import run

PEER = Path(__file__).resolve().parents[1] / "peers" / "torch" / "bench.py"


class WrongArguments(Exception):
    """Something that the user has to change."""


@dataclass
class Device:
    """The device as the program names it; without an adapter it is the processor."""

    # The words that select it.
    flags: list
    adapter: dict | None = None
    matrices: list = field(default_factory=list)
    # Of the adapter among those of all backends.
    number: int | None = None

    def is_card(self):
        return self.adapter is not None and self.adapter["type"] != "cpu"

    def untuned(self):
        """The words for the built-in choice of kernels; the processor has no other."""
        return ["--tune", "off"] if self.adapter else []

    def name(self):
        if self.adapter is None:
            return "the processor (--device cpu)"
        return f"{self.adapter['name']} ({self.adapter['type']}, {self.adapter['backend']})"


def find(program, wanted, backend):
    """The device that the program selects for these words; an error that lists the others."""
    try:
        device = choose(listed(program, backend), wanted, backend)
        if device.adapter:
            device.number = device.adapter["index"]
        if device.adapter and backend:
            alike = [a for a in listed(program, None) if same_adapter(a, device.adapter)]
            device.number = alike[0]["index"]
        return device
    except (ValueError, KeyError, TypeError, IndexError):
        raise WrongArguments(f"{program} devices --json prints no list of adapters") from None


def listed(program, backend):
    """The program's list of adapters; that of one backend has numbers of its own."""
    words = [program, "devices", "--json"] + (["--backend", backend] if backend else [])
    try:
        result = run(words, 120)
    except OSError as error:
        raise WrongArguments(f"{program} cannot be run: {error.strerror}") from None
    if not result.ok():
        raise WrongArguments(f"{program} devices: {result.failure()}")
    return json.loads(result.out)


def same_adapter(one, other):
    return (one["name"], one["backend"]) == (other["name"], other["backend"])


def choose(adapters, wanted, backend):
    flags = ["--device", wanted] + (["--backend", backend] if backend else [])
    text = wanted.strip().lower()
    hardware = [adapter for adapter in adapters if adapter["type"] != "cpu"]
    if text == "cpu":
        if backend:
            raise WrongArguments(f"--device cpu has no backend; leave out --backend {backend}")
        return Device(flags)
    if text == "auto":
        # Without a card the program uses the processor, unless a backend is asked for.
        candidates = adapters if backend else hardware[:1] and adapters[:1]
        found = candidates[0] if candidates else None
        if found is None and backend:
            raise WrongArguments(f"there is no adapter of the backend {backend}")
    elif text.isdigit():
        found = adapters[int(text)] if int(text) < len(adapters) else None
    else:
        exact = [a for a in adapters if a["name"].lower() == text]
        part = [a for a in adapters if text in a["name"].lower() or text in a["driver"].lower()]
        found = (exact or part or [None])[0]
    if found is None and text != "auto":
        lines = [f"{a['index']}: {a['name']} ({a['type']}, {a['backend']})" for a in adapters]
        raise WrongArguments(f"no device is called {wanted}; there are {', '.join([*lines, 'cpu'])}")
    return Device(flags, found, found["matrices"] if found else [])


@dataclass
class Torch:
    """PyTorch for the comparison; without a device, `reason` says why nothing is compared."""

    python: str
    version: str | None = None
    device: str | None = None
    reason: str = ""

    def line(self):
        if self.device is None:
            return self.reason
        where = ", the processor" if self.device == "cpu" else ""
        return f"PyTorch {self.version} on its device {self.device}{where}"


def find_torch(python, device, wanted):
    """PyTorch's device that is the same as the program's."""
    torch = Torch(python)
    try:
        result = run([python, PEER, "--describe"], 300)
    except OSError as error:
        torch.reason = f"{python} cannot be run ({error.strerror}): nothing is compared"
        return torch
    if not result.ok():
        cause = result.failure()
        missing = "No module named 'torch'" in result.err
        torch.reason = (
            f"{python} has no PyTorch: nothing is compared (--python names another Python)"
            if missing
            else f"PyTorch does not start in {python} ({cause}): nothing is compared"
        )
        return torch
    described = json.loads(last_json(result.out))
    torch.version = described["version"]
    torch.device, torch.reason = same_device(described, device, wanted)
    return torch


def last_json(text):
    """The last line that may be an object: libraries print warnings before it."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return lines[-1] if lines else "{}"


def same_device(described, device, wanted):
    devices = described["devices"]
    version = described["version"]
    if wanted:
        if wanted not in [found["device"] for found in devices]:
            names = ", ".join(found["device"] for found in devices)
            raise WrongArguments(f"PyTorch {version} has no device {wanted}; it has {names}")
        if device.is_card() == (wanted == "cpu"):
            raise WrongArguments(
                f"--torch-device {wanted} is not the kind of device that {device.name()} is"
            )
        return wanted, ""
    if not device.is_card():
        # Both run on the processor.
        return "cpu", ""
    name = device.adapter["name"].lower()
    cards = [found for found in devices if found["device"] != "cpu"]
    same = [c for c in cards if c["name"].lower() in name or name in c["name"].lower()]
    if same:
        return same[0]["device"], ""
    if cards:
        names = ", ".join(f"{card['device']} ({card['name']})" for card in cards)
        return None, (
            f"PyTorch {version} calls none of its cards {device.adapter['name']}: nothing is "
            f"compared; --torch-device names the same card among {names}"
        )
    return None, f"PyTorch {version} cannot use the card on this machine: nothing is compared"
