"""Bar charts of results, as SVG."""
from xml.sax.saxutils import escape, quoteattr

from . import results

WIDTH, LABELS, VALUES, MARGIN = 940, 360, 150, 16
ROW, BAR, HEAD = 24, 15, 52
INK, FAINT, GRID, PAPER = "#1f2328", "#59636e", "#d8dee4", "#ffffff"
OURS, THEIRS, HELPERS = "#0b62c4", "#9aa6b2", "#d0d7de"


# Benchmarks with a chart for each case: title, unit, metric, and whether less is better.
FORWARDS = {
    "forward_bulk": ("One forwarded connection, {}", "MB/s, more is better", "rate", False),
    "forward_many": ("Many forwarded connections at once, {}", "MB/s, more is better", "rate", False),
    "forward_opens": ("Short connections, {} at once", "connections a second, more is better", "per_second", False),
    "forward_keys": ("Keystrokes beside bulk: {}", "99 % in µs, less is better", "p99", True),
}


class Panel:
    """One chart: bars of one unit."""

    def __init__(self, title, unit, bars):
        self.title, self.unit, self.bars = title, unit, bars


def bar(row, metric, *, more=None):
    """A bar for one metric. `more` is added to it in a lighter colour."""
    value = row[metric]
    return {"label": row["label"], "ours": row["ours"], "value": value["median"], "low": value["min"],
            "high": value["max"], "of_ours": value.get("of_ours"), "more": row[more]["median"] if more else 0}


def panels(document):
    """The charts of a result."""
    rows, name = document["results"], document["bench"]
    if name == "bulk":
        fast = sorted(rows, key=lambda row: -row["rate"]["median"])
        thrifty = sorted(rows, key=lambda row: row["cpu"]["median"] + row["helpers"]["median"])
        return [
            Panel("Bulk transfer, one connection over loopback", "MB/s, more is better", [bar(row, "rate") for row in fast]),
            Panel("Processor time of both ends", "seconds for each GB, less is better; light: what only reads and counts",
                  [bar(row, "cpu", more="helpers") for row in thrifty]),
        ]
    if name == "rtt":
        rows = sorted(rows, key=lambda row: row["p50"]["median"])
        return [Panel("Round trip of 16 bytes", "median in µs, less is better", [bar(row, "p50") for row in rows])]
    if name == "memory":
        rows = sorted(rows, key=lambda row: row["slope"]["median"])
        most = max(document["steps"])
        return [Panel("Memory of an idle session", f"KiB of the server, from 0 to {most:,} sessions; less is better",
                      [bar(row, "slope") for row in rows])]
    if name == "busy":
        return [Panel(f"{sessions:,} busy session{'s' * (sessions > 1)}", "round trips of 16 bytes a second, more is better",
                      [bar(row, "per_second") for row in rows if row["sessions"] == sessions])
                for sessions in sorted({row["sessions"] for row in rows})]
    if name == "forward_rtt":
        rows = sorted(rows, key=lambda row: row["p50"]["median"])
        return [Panel("Round trip of 16 bytes through a forward", "median in µs, less is better", [bar(row, "p50") for row in rows])]
    if name == "forward_idle":
        return [Panel(f"Memory of an idle forwarded connection, {end}", "KiB, less is better", [bar(row, end) for row in rows])
                for end in ("client", "server")]
    if name in FORWARDS:
        title, unit, metric, less = FORWARDS[name]
        cases = list(dict.fromkeys(row["case"] for row in rows))
        return [Panel(title.format(case), unit, sorted((bar(row, metric) for row in rows if row["case"] == case),
                                                       key=lambda one: one["value"] * (1 if less else -1)))
                for case in cases]
    raise SystemExit(f"peers: there is no plot of {name}")


def text(x, y, words, *, size=13, colour=INK, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def rectangle(x, y, width, height, colour):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height}" fill="{colour}"/>'


def step(most):
    """A round distance of grid lines, for about four lines."""
    size = 1.0
    while size * 5 < most:
        size *= 10
    while size * 5 > most * 1.01 and size > most / 1e6:
        for part in (2, 2.5, 2):
            if size * 5 > most * 1.01:
                size /= part
    return size


def drawn(panel, top):
    """The elements of a panel, and its lower end."""
    out = [text(MARGIN, top + 20, panel.title, size=16, weight="bold"),
           text(MARGIN, top + 38, panel.unit, size=12, colour=FAINT)]
    left, room = MARGIN + LABELS, WIDTH - 2 * MARGIN - LABELS - VALUES
    most = max((max(one["high"], one["value"] + one["more"]) for one in panel.bars), default=0) or 1
    scale = room / most
    bottom = top + HEAD + ROW * len(panel.bars)
    width = step(most)
    line = 0
    while line * width <= most * 1.001:
        x = left + line * width * scale
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + HEAD}" y2="{bottom}" stroke="{GRID}"/>')
        out.append(text(x, bottom + 14, f"{line * width:,.10g}", size=11, colour=FAINT, anchor="middle"))
        line += 1
    for index, one in enumerate(panel.bars):
        y = top + HEAD + ROW * index + (ROW - BAR) / 2
        middle, base = y + BAR / 2, y + BAR - 3
        end = left + one["value"] * scale
        weight = "bold" if one["ours"] else "normal"
        out.append(text(left - 8, base, one["label"], size=12, anchor="end", weight=weight))
        out.append(rectangle(left, y, one["value"] * scale, BAR, OURS if one["ours"] else THEIRS))
        out.append(rectangle(end, y, one["more"] * scale, BAR, HELPERS))
        words = results.number(one["value"])
        if one["more"]:
            words += f" + {results.number(one['more'])}"
        elif one["high"] > one["low"]:
            low, high = left + one["low"] * scale, left + one["high"] * scale
            out.append(f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {middle - 4:.1f}v8M{high:.1f} {middle - 4:.1f}v8" '
                       f'stroke="{INK}" fill="none"/>')
        if one["of_ours"] is not None and not (one["ours"] and one["of_ours"] == 1) and one["value"]:
            words += f"  ({one['of_ours']:.2f}× ours)"
        x = left + max(one["high"], one["value"] + one["more"]) * scale + 6
        out.append(text(x, base, words, size=12, weight=weight))
    return out, bottom + 30


def draw(document):
    """The whole picture."""
    body, top = [], MARGIN
    shown = panels(document)
    for panel in shown:
        elements, top = drawn(panel, top)
        body += elements
    machine = document["machine"]
    below = (f"{machine['cpu']}, {machine['cores']} cores · commit {document['commit']} · {document['date']} · "
             f"medians of {results.turns(document)}; lines from the lowest to the highest")
    body.append(text(MARGIN, top + 6, below, size=11, colour=FAINT))
    height = top + 20
    title = "; ".join(panel.title for panel in shown)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img" aria-label={quoteattr(title)}>',
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>', *body, "</svg>\n"])
