"""Medians, tables and JSON."""
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def spread(values):
    """The median, the lowest and the highest value of the runs."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": values}


def brief(value):
    """A measurement for the terminal."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {brief(part)}" for name, part in value.items())
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def number(value):
    """A number with three significant digits."""
    if value is None:
        return "-"
    for limit, digits in ((100, 0), (10, 1), (0, 2)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"


def collect(taken, labels, ours, metrics):
    """Results of `take_turns`: for each peer and metric the spread, and the ratio to `ours`.

    A ratio is the peer's median divided by ours. Whether a high one is good depends on
    the metric.
    """
    rows = []
    for name, runs in taken.items():
        runs = [run if isinstance(run, dict) else {metrics[0]: run} for run in runs]
        row = {"peer": name, "label": labels[name], "ours": name in ours}
        for metric in metrics:
            if metric in runs[0]:
                row[metric] = spread([run[metric] for run in runs])
        rows.append(row)
    base = next((row for row in rows if row["peer"] == ours[0]), None)
    for row in rows:
        for metric in metrics:
            if base and metric in row and metric in base and base[metric]["median"]:
                row[metric]["of_ours"] = row[metric]["median"] / base[metric]["median"]
    return rows


def table(head, rows):
    """A table for the terminal. The first column is left-aligned, the others are right-aligned."""
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]

    def line(row):
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))
        return "  ".join([row[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join(line(row) for row in cells)


def markdown(head, rows):
    """The same in Markdown."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, marks, *rows])


def document(name, bench, rows, skipped, **more):
    """The stored form of a result."""
    return {"bench": name, "machine": machine(), "date": datetime.date.today().isoformat(), "commit": commit(),
            "versions": versions(), "busy_before": bench.busy_before, "runs": bench.options.runs, **more,
            "results": rows, "skipped": skipped}


def turns(document):
    return f"{document['runs']} turn{'s' * (document['runs'] > 1)}"


def store(path, value):
    """Writes JSON in one step, so that a reader never gets half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(value, indent=1) + "\n")
    new.replace(path)


def machine():
    """The properties of the machine that matter for the numbers. Nothing identifies the machine."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)
    flags = set(flags[1].split()) if flags else set()
    shown = [flag for flag in ("aes", "vaes", "sha_ni", "avx2", "avx512f", "sha2") if flag in flags]
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1])
    system = re.search(r'^PRETTY_NAME="?([^"\n]+)', Path("/etc/os-release").read_text(), re.M)
    return {"cpu": model[1].strip() if model else platform.machine(), "cores": len(os.sched_getaffinity(0)),
            "flags": shown, "memory_gib": round(memory / 2**20, 1), "kernel": platform.release(),
            "system": system[1] if system else "Linux"}


def commit():
    """The measured commit of the repository."""
    def git(*command):
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, timeout=30).stdout.strip()
    try:
        changed = git("status", "--porcelain", "--", "vpn", "suites", "Cargo.toml", "Cargo.lock")
        return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")
    except OSError:
        return "unknown"


def versions():
    """The versions of the installed peers."""
    asked = {"OpenSSL": ["openssl", "version"], "OpenSSH": ["ssh", "-V"], "stunnel": ["stunnel", "-version"],
             "socat": ["socat", "-V"], "spiped": ["spiped", "-v"]}
    found = {}
    for name, command in asked.items():
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        except OSError:
            continue
        version = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
        if version:
            found[name] = version[0]
    return found
