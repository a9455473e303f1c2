"""Frame report: tables and a plot of the measurements in frame_on_gpu.py's frame.json.

python benchmarks/frame_report.py OUT/frame.json [MORE.json ...]

Parts of several files are merged; of a part that two files have, the later file's is taken. Writes the tables between
the two marks in docs/performance.md, and docs/performance.json and docs/performance.png.
"""

import argparse
import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
MARKS = "<!-- frame_report.py begins -->", "<!-- frame_report.py ends -->"
PRESETS = ("base", "demo")

# Results by group and name, or one of these groups.
Report = dict[str, Any]


def cell(entry: Report, name: str) -> str:
    """A table's cell: median and p99 of a time of an entry, or a dash."""
    figures = entry.get(name)
    return f"{figures['median']:.2f} / {figures['p99']:.2f}" if figures else "–"


def contenders(report: Report, preset: str) -> Report:
    """Entries of a preset that have frame times and PSNR."""
    return {name: e for name, e in report.get(preset, {}).items() if "frame" in e and "psnr" in e}


def ours(report: Report, preset: str) -> Report | None:
    """Our fastest entry of a preset, if there is one."""
    entries = [e for name, e in contenders(report, preset).items() if name.startswith("ours")]
    return min(entries, key=lambda e: e["frame"]["median"], default=None)


def frames_table(report: Report, preset: str) -> list[str]:
    """Lines of the table of contenders."""
    best = ours(report, preset)
    lines = [
        f"Preset `{preset}`, milliseconds on the device, median / p99, from SECC to frame:",
        "",
        "| | frame | ÷ ours | LED | rendering | refiner | both last | memory, MB | PSNR, dB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in contenders(report, preset).items():
        ratio = f"{entry['frame']['median'] / best['frame']['median']:.2f}" if best else "–"
        render = "triplane_render" if name.startswith("ours") else "render"
        stages = " | ".join(cell(entry, s) for s in ("led", render, "refiner", "renderer_refiner"))
        memory = f"{entry['memory'] / 1e6:.0f}"
        lines.append(f"| {name} | {cell(entry, 'frame')} | {ratio} | {stages} | {memory} | {entry['psnr']:.1f} |")
    return [*lines, ""]


def roofline_table(report: Report, preset: str) -> list[str]:
    """Lines of the table of our stage times and their lower bounds."""
    best, floors = ours(report, preset), report.get(preset, {}).get("floors", {})
    if best is None or "frame" not in floors:
        return []
    measured = floors["ceilings"]
    lines = [
        f"Roofline of `{preset}`: ceilings of the same run {measured['copy'] / 1e12:.2f} TB/s and "
        f"{measured['fp16'] / 1e12:.0f} TFLOP/s; bytes that must move once.",
        "",
        "| | GFLOP | MB | floor, ms | ours, ms | ÷ floor |",
        "|---|---|---|---|---|---|",
    ]
    for stage, floor in floors.items():
        if stage == "ceilings":
            continue
        counted = f"{floor['flop'] / 1e9:.1f} | {floor['bytes'] / 1e6:.1f}" if "flop" in floor else "– | –"
        took = best[stage]["median"]
        lines.append(f"| {stage} | {counted} | {floor['floor']:.3f} | {took:.3f} | {took / floor['floor']:.1f} |")
    return [*lines, ""]


def ways_table(report: Report, preset: str) -> list[str]:
    """Lines of the table of frame_ways.py."""
    ways = report.get("ways", {}).get(preset, {})
    lines = []
    for way, entry in ways.items():
        if "wall" not in entry:
            lines.append(f"| {way} | does not run (status {entry.get('status', '–')}) | | | |")
            continue
        one = "one graph" if entry["one_graph"] else "no graph" if way == "none" else "a graph each"
        lines.append(
            f"| {way} | {one} | {cell(entry, 'secc_to_frame')} | {cell(entry, 'all')} | {cell(entry, 'wall')} |"
        )
    head = [
        f"Ways to launch a frame of `{preset}` (`benchmarks/frame_ways.py`), from an expression:",
        "",
        "| way | is | to the frame on the device | with copies | NumPy to NumPy |",
        "|---|---|---|---|---|",
    ]
    return [*head, *lines, ""] if lines else []


def scaling_tables(report: Report) -> list[str]:
    """Lines of the tables over R and N and over B."""
    lines = []
    for group, first, unit in (
        ("TriplaneRender", "TriplaneRender alone, `base` but R and N", "R, N"),
        ("frames", "whole frames, `base` but N, R and what grows with R (S = 4R, Q = 2R)", "R, N"),
        ("batch", "B sources of `base` on the device, all moved by one motion frame, one backend each, in turn", "B"),
    ):
        entries = report.get("frames", {}) if group == "frames" else report.get("scaling", {}).get(group, {})
        rows = {name: e for name, e in entries.items() if isinstance(e, dict) and "median" in e}
        if rows:
            lines += [f"Scaling, {first}:", "", f"| {unit} | ms, median / p99 | memory, MB |", "|---|---|---|"]
            for name, e in rows.items():
                memory = f"{e['memory'] / 1e6:.0f}" if "memory" in e else "–"
                lines.append(f"| {name} | {e['median']:.3f} / {e['p99']:.3f} | {memory} |")
            lines.append("")
    return lines


def tables(report: Report) -> str:
    """All tables as Markdown."""
    lines = []
    for preset in PRESETS:
        if contenders(report, preset):
            lines += frames_table(report, preset) + roofline_table(report, preset)
        lines += ways_table(report, preset)
        endurance = report.get(preset, {}).get("endurance", {})
        if "frames" in endurance:
            free = endurance["free_memory"]
            lines += [
                f"{endurance['frames']} frames of `{preset}`: {max(endurance['hashes_per_pose'])} hash a pose, "
                f"free memory {min(free) / 1e6:.1f} to {max(free) / 1e6:.1f} MB.",
                "",
            ]
    return "\n".join([*lines, *scaling_tables(report)])


def plot(report: Report, path: Path) -> None:
    """Plot frame times of the contenders and our scaling. path: of the PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(13, 8), layout="constrained")
    for axis, preset in zip(axes[0], PRESETS, strict=True):
        entries = contenders(report, preset)
        names = list(entries)
        colours = ["tab:blue" if name.startswith("ours") else "tab:gray" for name in names]
        bars = axis.barh(names, [entries[n]["frame"]["median"] for n in names], color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.margins(x=0.12)
        axis.set_xlabel("milliseconds a frame, median")
        axis.set_title(f"a frame of `{preset}`")
        axis.invert_yaxis()
    for axis, group in zip(axes[1], ("TriplaneRender", "batch"), strict=True):
        rows = {n: e for n, e in report.get("scaling", {}).get(group, {}).items() if "median" in e}
        bars = axis.bar(list(rows), [e["median"] for e in rows.values()], color="tab:blue")
        axis.bar_label(bars, fmt="%.2f")
        axis.set_ylabel("milliseconds, median")
        axis.set_title("TriplaneRender over R and N" if group == "TriplaneRender" else "a frame of each of B sources")
        axis.tick_params(axis="x", labelrotation=30)
    figure.savefig(path, dpi=110)


def merged(reports: list[Report]) -> Report:
    """Reports merged: later entries replace earlier ones, unless they failed."""
    whole: Report = {}
    for report in reports:
        for group, parts in report.items():
            kept = whole.setdefault(group, {})
            for name, entry in parts.items():
                if name not in kept or not isinstance(entry, dict) or "failed" not in entry:
                    kept[name] = entry
    return whole


def main() -> None:
    """Write tables and plot to docs/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=Path)
    paths = parser.parse_args().reports
    report = merged([json.loads(path.read_text()) for path in paths])
    page = DOCS / "performance.md"
    before, rest = page.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    environment = ", ".join(f"{key} {value}" for key, value in report["environment"].items())
    text = f"{environment}.\n\n![contenders and scaling](performance.png)\n\n{tables(report)}"
    page.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")
    (DOCS / "performance.json").write_text(json.dumps(report, indent=1))
    plot(report, DOCS / "performance.png")


if __name__ == "__main__":
    main()
