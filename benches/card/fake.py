"""Stands in for pyr-wgpu, for a test program and for a Python with PyTorch, in the tests.

What goes wrong is a list of words in the variable FAKE.
"""

import json
import os
import sys
import time
from pathlib import Path

WRONG = os.environ.get("FAKE", "").split()

CARD = {
    "index": 0,
    "name": "Radeon 9",
    "type": "discrete-gpu",
    "backend": "vulkan",
    "driver": "radv",
    "driver_info": "Mesa 99",
    "matrices": [{"size": 16}],
}
SOFTWARE = {**CARD, "index": 1, "name": "llvmpipe", "type": "cpu", "matrices": []}


def hang():
    """Leaves its id where the test finds it."""
    Path(os.environ["FAKE_PID"]).write_text(str(os.getpid()))
    time.sleep(600)


def value(flag):
    return sys.argv[sys.argv.index(flag) + 1]


def devices():
    if "--backend" in sys.argv:
        print(json.dumps([{**CARD, "backend": value("--backend")}]))
    elif "--json" in sys.argv:
        print(json.dumps([CARD, SOFTWARE, {**CARD, "index": 2, "backend": "gl"}]))
    else:
        print("0: Radeon 9 (discrete-gpu, vulkan)")


def selftest():
    if "selftest-hangs" in WRONG:
        hang()
    print("kernel variant cases difference result\nconv2d direct f32 1 0.1 ok\n")
    if "selftest-fails" in WRONG:
        sys.exit("error: conv2d direct computes wrong values on Radeon 9")


def bench():
    if "bench-hangs" in WRONG and value("--mode") == "infer":
        hang()
    if "bench-fails" in WRONG and "--matrix-units" in sys.argv:
        sys.exit("error: the adapter is lost")
    if "bench-needs-memory" in WRONG and value("--batch-size") == "128":
        sys.exit("error: Radeon 9 ran out of memory; use a smaller --batch-size")
    names = {"llvmpipe": "llvmpipe", "cpu": "CPU (8 threads)"}
    name = names.get(value("--device"), "Radeon 9")
    report = {
        "adapter": "llvmpipe" if "bench-elsewhere" in WRONG else name,
        "images_per_second": 200.0,
        "step_ms": 5.0,
        "fma_share": 0.25,
        "limit_ratio": 0.5,
        "memory_bytes": 3 << 20,
        "peak_gflops": 1000.0,
        "bandwidth_gb_s": 100.0,
        "launch_us": 4.0,
        "kernels": [
            {"kernel": f"conv2d_tiled TILE={tile}", "launches": 2, "ms": 1.0, "share": 0.5,
             "limit_ratio": ratio, "bound": "memory"}
            for tile, ratio in [(64, 0.25), (128, 0.75)]
        ],
        "settled": False,
    }
    print(json.dumps(report))


def train():
    if value("--dataset") == "folder":
        folder = Path(value("--data"))
        assert list(folder.glob("train/*/*")) and list(folder.glob("test/*/*")), folder
    for epoch in range(1, 1 + int(value("--epochs"))):
        loss = None if "train-diverges" in WRONG else 2.5 / epoch
        event = {"event": "epoch", "epoch": epoch, "train_loss": loss, "images_per_second": 70.0}
        print(json.dumps(event), flush=True)
        if "train-fails" in WRONG:
            sys.exit("error: the device is lost")
        if "train-hangs" in WRONG:
            hang()


def torch():
    if "no-torch" in WRONG:
        sys.exit("ModuleNotFoundError: No module named 'torch'")
    card = {"device": "cuda:0", "name": "AMD Radeon 9"}
    if "--describe" in sys.argv:
        devices = [{"device": "cpu", "name": "CPU"}]
        devices += [] if "torch-cpu" in WRONG else [card]
        print(json.dumps({"version": "9.9", "devices": devices}))
        return
    if "--compile" in sys.argv and "no-compiler" in WRONG:
        sys.exit("RuntimeError: no C++ compiler")
    print("a warning\nready torch 9.9 the card, warm-up 1 s", flush=True)
    for _ in sys.stdin:
        print("100.0", flush=True)


def tests():
    """A test program, named after its file."""
    name = Path(sys.argv[0]).name
    expected = "2" if "tests-on-gl" in WRONG else "0"
    assert os.environ["PYR_WGPU_TEST_DEVICE"] == expected, os.environ
    if name.startswith("parity") and "tests-fail" in WRONG:
        print("test one::case ... FAILED\n\ntest result: FAILED. 2 passed; 1 failed; 0 ignored;")
        sys.exit(101)
    print("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured")


def main():
    on_cpu = "--device" in sys.argv and value("--device") == "cpu"
    if on_cpu and {"--tune", "--precision", "--matrix-units", "--backend"} & set(sys.argv):
        sys.exit("error: not with --device cpu")
    words = {
        "devices": devices,
        "doctor": lambda: print("ok"),
        "--version": lambda: print("pyr-wgpu 9.9.9"),
        "selftest": selftest,
        "bench": bench,
        "train": train,
    }
    if len(sys.argv) == 1:
        tests()
    elif sys.argv[1].endswith("bench.py"):
        torch()
    else:
        words[sys.argv[1]]()


if __name__ == "__main__":
    main()
