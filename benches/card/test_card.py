"""The script with a stand-in for the program: reports, exit codes, time limits, Ctrl-C.

    python3 -m unittest discover --start-directory benches/card
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import device
import speed
import subset

HERE = Path(__file__).parent


@unittest.skipIf(os.name == "nt", "a stand-in that is a script cannot be started on Windows")
class Script(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.program = self.stand_in("pyr-wgpu")
        self.report = self.folder / "out" / "report.md"
        self.pid = self.folder / "pid"

    def stand_in(self, name):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable} -IS\n{(HERE / 'fake.py').read_text()}")
        path.chmod(0o755)
        return path

    def start(self, *arguments, fake=""):
        words = [sys.executable, HERE, "--out", self.folder / "out", "--rounds", "1"]
        words += ["--program", self.program, "--python", self.program]
        return subprocess.Popen(
            [str(word) for word in [*words, *arguments]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "FAKE": fake, "FAKE_PID": str(self.pid)},
        )

    def run_script(self, *arguments, fake="", code=0):
        """Runs to the end and returns the report's steps, its text and what was printed."""
        process = self.start(*arguments, fake=fake)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, code, out + err)
        text = self.report.read_text() if self.report.exists() else ""
        return self.steps(text), text, err

    @staticmethod
    def steps(text):
        """Outcome and notes of each step, from the summary."""
        lines = text.split("## Summary\n\n")[1].split("\n\n")[0].splitlines()[2:] if text else []
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return {title: (outcome, notes) for title, outcome, _, notes in cells}

    def outcomes(self, steps):
        return [outcome for outcome, _ in steps.values()]

    def test_everything_passes_with_a_card_tests_and_pytorch(self):
        tests = self.folder / "tests"
        for name in ["parity-0123456789abcdef", "kernels"]:
            self.stand_in(f"tests/{name}")
        steps, text, _ = self.run_script("--tests", tests)
        self.assertEqual(self.outcomes(steps), ["passed"] * 5, text)
        for part in [
            "# pyr-wgpu on Radeon 9 (discrete-gpu, vulkan)",
            "pyr-wgpu 9.9.9",
            "radv Mesa 99",
            "| parity | 3 | 0 | 1 | ok |",
            "precision is not in",
            "6 tests passed",
            "| W1 train, batch 128 | f32 | 200.0 | 25.0 % | 50.0 % | 2.00 | 2.00 | 2.00 |  |  |",
            "| W1 train, batch 128 | f16, matrix units | 200.0 | 25.0 % | 50.0 % |  |  |  "
            "| 2.00 | 2.00 |",
            "1000 GFLOP/s",
            "| conv2d_tiled | 4 | 2.000 | 100.0 % | 50.0 % | memory |",
            "| ours f32 (times did not settle) | 200.0 | 5.00 ms |",
            "Compared with PyTorch 9.9 on its device cuda:0.",
            "no --data: the images are the drawn dataset shapes",
            "loss 2.5000 at first",
        ]:
            self.assertIn(part, text)
        for row in speed.ROWS:
            self.assertIn(f"### {row.name()}\n", text)

    def test_a_failed_step_is_named_and_the_others_run(self):
        for wrong, title, reason in [
            ("selftest-fails", "Kernels against a plain reference", "computes wrong values"),
            ("bench-fails", "Speed", "f16, matrix units: exit code 1: error: the adapter is lost"),
            ("bench-elsewhere", "Speed", "measured on llvmpipe, not on Radeon 9"),
            ("train-fails", "Training", "the device is lost"),
            ("train-diverges", "Training", "a loss is not finite"),
        ]:
            with self.subTest(wrong):
                words = ["--skip", "shaders", "--no-torch", "--quick"]
                steps, text, _ = self.run_script(*words, fake=wrong, code=1)
                failed = [name for name, (outcome, _) in steps.items() if outcome == "FAILED"]
                self.assertEqual(failed, [title], text)
                self.assertIn(reason, steps[title][1])
                self.assertEqual(self.outcomes(steps).count("passed"), 3)

    def test_failed_tests_are_named(self):
        self.stand_in("tests/parity")
        words = ["--tests", self.folder / "tests", "--steps", "shaders"]
        steps, text, _ = self.run_script(*words, fake="tests-fail", code=1)
        self.assertIn("parity: failed: one::case", steps["Tests of the repository"][1])
        self.assertIn("| parity | 2 | 1 | 0 |", text)
        self.run_script(*words, "--backend", "gl", fake="tests-on-gl")

    def test_what_is_left_out_is_said(self):
        steps, text, _ = self.run_script("--quick", fake="no-torch")
        self.assertEqual(
            steps["Tests of the repository"],
            ("left out", "neither --cargo nor --tests names the tests"),
        )
        self.assertIn("has no PyTorch: nothing is compared", steps["Speed"][1])
        self.assertIn("quick version", text)
        steps, text, _ = self.run_script("--quick", "--cargo", "no-such-cargo")
        self.assertIn("no program no-such-cargo", steps["Tests of the repository"][1])

    def test_a_card_is_not_compared_with_pytorch_on_the_processor(self):
        steps, text, _ = self.run_script("--steps", "speed", "--quick", fake="torch-cpu")
        self.assertEqual(steps["Speed"][0], "passed")
        self.assertIn("PyTorch 9.9 cannot use the card", steps["Speed"][1])
        self.assertNotIn("/ PyTorch", text)
        # A software adapter runs on the processor, as PyTorch then does.
        words = ["--steps", "speed", "--quick", "--device", "llvmpipe"]
        _, text, _ = self.run_script(*words, fake="torch-cpu")
        self.assertIn("/ PyTorch eager", text)
        self.assertIn("no card was measured", text)

    def test_the_processor_is_measured_without_what_it_lacks(self):
        words = ["--quick", "--device", "cpu"]
        steps, text, _ = self.run_script(*words, fake="torch-cpu")
        self.assertEqual(steps["Speed"][0], "passed", text)
        self.assertIn("f16 and matrix units: the processor has neither", steps["Speed"][1])
        self.assertEqual(steps["Training"][0], "passed", text)
        self.assertEqual(steps["Tests of the repository"][0], "left out")
        # Peers in mixed precision have nothing to be compared with.
        self.assertNotIn("PyTorch AMP", text)

    def test_a_peer_that_does_not_run_is_no_failure_of_ours(self):
        steps, text, _ = self.run_script("--steps", "speed", "--quick", fake="no-compiler")
        self.assertEqual(steps["Speed"][0], "passed")
        self.assertIn("| PyTorch compiled | no figures: RuntimeError: no C++ compiler |", text)

    def test_rows_that_do_not_fit_the_memory_are_no_failure(self):
        words = ["--steps", "speed", "--no-torch"]
        steps, text, _ = self.run_script(*words, fake="bench-needs-memory")
        self.assertEqual(steps["Speed"][0], "passed")
        self.assertIn("W1 train, batch 128, f32, needs more memory", steps["Speed"][1])
        self.assertNotIn("| W1 train, batch 128 | f32 |", text)
        self.assertIn("| W1 train, batch 32 | f32 | 200.0 |", text)

    def test_a_step_that_takes_too_long_is_ended(self):
        words = ["--steps", "selftest,training", "--limit", "selftest=0.04"]
        steps, text, _ = self.run_script(*words, fake="selftest-hangs", code=1)
        title = "Kernels against a plain reference"
        self.assertEqual(steps[title], ("FAILED", "took longer than 2 s and was ended"))
        self.assertEqual(steps["Training"][0], "passed")
        self.assert_ended()

    def test_training_is_shortened_by_its_time(self):
        words = ["--steps", "training", "--limit", "training=0.04"]
        steps, _, _ = self.run_script(*words, fake="train-hangs")
        self.assertEqual(steps["Training"][0], "passed")
        self.assertIn("shortened: the time was over", steps["Training"][1])
        self.assert_ended()

    def test_without_time_steps_are_left_out(self):
        steps, _, _ = self.run_script("--minutes", "0.05", "--skip", "machine,shaders")
        self.assertIn(("left out", "the time was over"), steps.values())

    def test_ctrl_c_keeps_what_was_measured(self):
        for name in ("SIGINT", "SIGTERM"):
            with self.subTest(name):
                self.pid.unlink(missing_ok=True)
                process = self.start("--quick", fake="bench-hangs")
                self.addCleanup(process.kill)
                self.wait_for(lambda: self.pid.exists() and self.pid.read_text())
                process.send_signal(getattr(signal, name))
                _, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 130, err)
                self.assertIn("interrupted; what was measured is in", err)
                text = self.report.read_text()
                # The first row of the step that was interrupted.
                self.assertIn("| PyramidNet-8 alpha 12 train, batch 8 | f32 | 200.0 |", text)
                steps = self.steps(text)
                self.assertEqual(steps["Kernels against a plain reference"][0], "passed")
                self.assertEqual(steps["Speed"], ("not finished", "interrupted"))
                self.assertEqual(steps["Training"][0], "not begun")
                self.assert_ended()

    def wait_for(self, condition):
        end = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def assert_ended(self):
        """The stand-in that hung is gone."""
        with self.assertRaises(ProcessLookupError):
            os.kill(int(self.pid.read_text()), 0)

    def test_wrong_arguments_are_one_clear_error(self):
        blocked = self.folder / "file"
        blocked.touch()
        for words, part in [
            (["--program", self.folder / "none"], "there is no program"),
            (["--program", blocked], "cannot be run: Permission denied"),
            (["--device", "geforce"], "there are 0: Radeon 9 (discrete-gpu, vulkan)"),
            (["--device", "7"], "no device is called 7"),
            (["--device", "cpu", "--backend", "gl"], "--device cpu has no backend"),
            (["--out", blocked / "out"], "cannot be written"),
            (["--data", self.folder / "none"], "there is no directory"),
            (["--torch-device", "cpu"], "is not the kind of device that Radeon 9"),
            (["--torch-device", "cuda:5"], "it has cpu, cuda:0"),
            (["--steps", "machine", "--skip", "machine"], "--skip leaves no step"),
            (["--steps", "tests"], "there are machine, selftest"),
            (["--minutes", "0"], "0 is no number above zero"),
            (["--limit", "speed"], "is no number above zero"),
        ]:
            with self.subTest(part):
                _, _, err = self.run_script(*words, code=2)
                errors = [line for line in err.splitlines() if "error: " in line]
                self.assertEqual(len(errors), 1, err)
                self.assertIn(part, errors[0])
                self.assertNotIn("Traceback", err)

    def test_training_reads_what_the_data_directory_has(self):
        data = self.folder / "data"
        data.mkdir()
        words = ["--steps", "training", "--quick", "--data", data]
        steps, _, _ = self.run_script(*words, code=1)
        self.assertIn("neither data_batch_1.bin", steps["Training"][1])
        for name in ("data_batch_1.bin", "test_batch.bin"):
            (data / name).write_bytes(bytes(3073) * 64)
        steps, text, _ = self.run_script(*words)
        self.assertEqual(steps["Training"][0], "passed")
        self.assertIn("(CIFAR-10, binary)", text)


class Parts(unittest.TestCase):
    def test_images_of_records_keep_their_pixels(self):
        planes = bytes(range(256)) * 4 + bytes([1]) * 1024 + bytes([2]) * 1024
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "train.bin").write_bytes(bytes([9, 3]) + planes)
            (folder / "test.bin").write_bytes(bytes([9, 4]) + planes)
            title = subset.write(folder, folder / "images", 1, 1)
            self.assertEqual(title, "CIFAR-100, binary")
            data = (folder / "images/train/class03/00000.bmp").read_bytes()
            self.assertTrue((folder / "images/test/class04/00000.bmp").is_file())
        self.assertEqual(data[:2], b"BM")
        self.assertEqual(int.from_bytes(data[2:6], "little"), len(data))
        # The last row of the file is the first of the image.
        self.assertEqual(data[-96:-90], bytes([2, 1, 0, 2, 1, 1]))

    def test_images_of_folders_are_taken_evenly(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for part in ("train", "val"):
                for label in ("cat", "dog"):
                    (folder / part / label).mkdir(parents=True)
                    for number in range(3):
                        (folder / part / label / f"{number}.png").touch()
            subset.write(folder, folder / "images", 4, 1)
            names = sorted(file.name for file in folder.glob("images/train/*/*"))
            self.assertEqual(names, ["0.png", "0.png", "1.png", "1.png"])
            # Each class needs an image.
            self.assertEqual(len(list(folder.glob("images/test/*/*"))), 2)
            with self.assertRaises(subset.NoImages):
                subset.write(folder, folder / "more", 7, 1)

    def test_devices_are_chosen_as_the_program_does(self):
        def adapter(index, name, kind):
            return {"index": index, "name": name, "type": kind, "driver": f"driver of {name}",
                    "backend": "vulkan", "matrices": []}

        software = [adapter(0, "llvmpipe", "cpu")]
        both = [adapter(0, "RTX 4090", "discrete-gpu"), adapter(1, "RTX 4090 Ti", "discrete-gpu")]
        for adapters, wanted, backend, expected in [
            (software, "auto", None, None),
            (software, "auto", "vulkan", "llvmpipe"),
            (both, "auto", None, "RTX 4090"),
            (both, "1", None, "RTX 4090 Ti"),
            (both, "rtx 4090 ti", None, "RTX 4090 Ti"),
            (both, "rtx", None, "RTX 4090"),
            (both, "of rtx 4090 t", None, "RTX 4090 Ti"),
            (both, "CPU", None, None),
        ]:
            chosen = device.choose(adapters, wanted, backend).adapter
            self.assertEqual(chosen and chosen["name"], expected, wanted)
        with self.assertRaises(device.WrongArguments):
            device.choose([], "auto", "vulkan")

    def test_pytorch_names_the_same_card(self):
        def target(name, kind="discrete-gpu"):
            adapter = {"name": name, "type": kind, "backend": "vulkan", "matrices": []}
            return device.Device([], adapter)

        cards = [{"device": "cpu", "name": "CPU"}, {"device": "cuda:0", "name": "NVIDIA H200"},
                 {"device": "cuda:1", "name": "AMD Radeon RX 7900 XTX"}]
        described = {"version": "9", "devices": cards}
        for name, expected in [
            ("NVIDIA H200", "cuda:0"),
            ("AMD Radeon RX 7900 XTX (RADV NAVI31)", "cuda:1"),
            ("Intel Arc", None),
        ]:
            found, reason = device.same_device(described, target(name), None)
            self.assertEqual(found, expected)
            self.assertEqual(bool(reason), expected is None)
        found, _ = device.same_device(described, target("llvmpipe", "cpu"), None)
        self.assertEqual(found, "cpu")

    def test_the_peer_has_the_flags_that_it_is_given(self):
        flags = [flag for peer in speed.PEERS for flag in peer.flags]
        flags += [flag for flag in speed.ROWS[0].flags() if flag.startswith("--")]
        known = re.findall(r'add_argument\(\s*"(--[a-z0-9-]+)"', device.PEER.read_text())
        for flag in [*flags, "--device", "--describe"]:
            self.assertIn(flag, known)


if __name__ == "__main__":
    unittest.main()
