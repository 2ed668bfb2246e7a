"""What was measured, as tables: the details of every row, and the summary's."""

import statistics

from report import table
from speed import INTRODUCTION, PEERS, variants


def percent(share):
    return "–" if share is None else f"{100 * share:.1f} %"


def number(value, form="{:.1f}"):
    return "–" if value is None else form.format(value)


def ratio(measured, variant, peer):
    found = measured.ratio(variant, peer)
    if found is None:
        return "–"
    middle, low, high = found
    return f"{middle:.2f}" if low == high else f"{middle:.2f} ({low:.2f}–{high:.2f})"


def details(step, rows):
    """The step's section, with a part for each row: speeds, limits, kernels."""
    step.blocks = [INTRODUCTION]
    for measured in rows:
        step.add(f"### {measured.row.name()}")
        lines = []
        for name, speeds in measured.ours.items():
            report = measured.reports[name]
            unsteady = "" if report.get("settled", True) else " (times did not settle)"
            lines.append([
                f"ours {name}{unsteady}",
                number(statistics.median(speeds)),
                number(report.get("step_ms"), "{:.2f} ms"),
                percent(report.get("fma_share")),
                percent(report.get("limit_ratio")),
                memory(report.get("memory_bytes")),
            ])
        for name, speeds in measured.theirs.items():
            middle = statistics.median(speeds)
            milliseconds = f"{1000 * measured.row.batch / middle:.2f} ms"
            lines.append([f"PyTorch {name}", number(middle), milliseconds, "–", "–", "–"])
        for name, reason in measured.missing.items():
            lines.append([name, f"no figures: {reason}", "", "", "", ""])
        step.table(["", "images/s", "step", MULTIPLY_ADDS, LIMITS, "memory"], lines)
        if measured.versions:
            step.add(f"PyTorch: {'; '.join(sorted(measured.versions))}.")
        for name, report in measured.reports.items():
            kernels = report.get("kernels") or []
            if kernels:
                step.fold(f"kernels of {name}", kernel_table(kernels))


MULTIPLY_ADDS = "of the multiply-add rate"
LIMITS = "of the limit"


def memory(size):
    return "–" if size is None else f"{size / 2**20:.0f} MiB"


def kernel_table(kernels):
    """The variants of a kernel together, the slowest kernel first."""
    groups = {}
    for kernel in kernels:
        groups.setdefault(kernel["kernel"].split()[0], []).append(kernel)
    lines = []
    for name, variants in groups.items():
        time = sum(kernel["ms"] for kernel in variants)
        # The time that the limits allow, of the time taken.
        allowed = [kernel["ms"] * kernel["limit_ratio"] for kernel in variants]
        slowest = max(variants, key=lambda kernel: kernel["ms"])
        lines.append((
            time,
            [
                name,
                sum(kernel["launches"] for kernel in variants),
                f"{time:.3f}",
                percent(sum(kernel["share"] for kernel in variants)),
                percent(sum(allowed) / time if time else None),
                slowest["bound"],
            ],
        ))
    lines.sort(key=lambda line: -line[0])
    header = ["kernel", "launches", "ms", "share", LIMITS, "bound by"]
    return table(header, [cells for _, cells in lines])


def summary(rows, options):
    """Blocks for the summary: speeds, shares of the card's limits, ratios."""
    if not rows:
        return []
    shown = [peer for peer in PEERS if any(peer.name in row.theirs for row in rows)]
    classes = {variant.name: variant.half for variant in variants(options.target)[0]}
    lines = []
    for measured in rows:
        for name, speeds in measured.ours.items():
            report = measured.reports[name]
            line = [measured.row.name(), name, number(statistics.median(speeds))]
            line += [percent(report.get("fma_share")), percent(report.get("limit_ratio"))]
            same = [peer.half == classes[name] for peer in shown]
            line += [ratio(measured, name, p.name) if s else "" for p, s in zip(shown, same)]
            lines.append(line)
    header = ["row", "ours", "images/s", MULTIPLY_ADDS, LIMITS]
    header += [f"/ PyTorch {peer.name}" for peer in shown]
    report = next(iter(rows[0].reports.values()))
    blocks = [table(header, lines), LEGEND]
    if report.get("peak_gflops"):
        blocks.append(
            f"Measured limits: {report['peak_gflops']:.0f} GFLOP/s of multiply-adds in f32, "
            f"{number(report.get('bandwidth_gb_s'))} GB/s, "
            f"{number(report.get('launch_us'))} µs for a dependent dispatch."
        )
    if shown:
        blocks.append(f"Compared with {options.torch.line()}.")
    elif options.torch.device is not None:
        blocks.append("PyTorch has no figures; the section on speed says why.")
    return blocks


LEGEND = (
    "A ratio above 1 means that ours is faster. The limit is the time that the step's dispatches "
    "would take at the measured rates. Ours in f32 is compared with PyTorch in f32, ours in f16 with "
    "mixed precision."
)
