"""Writes results into a document, each between two markers."""
import json
import re

from . import results

OTHERS = ["kernel", "handshakes"]


def renew(document, folder, shows):
    """Updates every marked place of a document with its result. Reports places without a result."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    ours = {name: found[name] for name in shows if name in found}
    made = {"machine": machine(ours), "goals": goals(ours)}
    for name, show in shows.items():
        made[name] = section(ours[name], show) if name in ours else f"Not measured: `bench/peers {name}`."
    for name in OTHERS:
        said = folder / f"{name}.txt"
        if name in found:
            made[name] = plain(found[name])
        elif said.exists():
            made[name] = f"```text\n{said.read_text().strip()}\n```"
        else:
            made[name] = f"Not measured: `bench/{name}`."
    text = document.read_text()
    for name in re.findall(r"<!-- made by bench/peers report: (\w+) begin -->", text):
        begin, end = (f"<!-- made by bench/peers report: {name} {where} -->" for where in ("begin", "end"))
        if name not in made or end not in text:
            raise SystemExit(f"peers: {document}: the place for {name} is unknown or has no end")
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}\n{made[name]}\n{end}{rest.split(end, 1)[1]}"
    document.write_text(text)


def section(document, show):
    """The table of a benchmark, and its date."""
    parts = [results.markdown(*show(document)), ""]
    parts.append(f"Commit {document['commit']}, {document['date']}, medians of {results.turns(document)}; "
                 f"load of the machine before: {document['busy_before']}.")
    for peer, why in document["skipped"].items():
        parts.append(f"Left out: {peer} ({why}).")
    return "\n".join(parts)


def machine(documents):
    """The table of the machine."""
    if not documents:
        return "Nothing was measured yet."
    machines = {json.dumps(document["machine"]): document for document in documents.values()}
    if len(machines) > 1:
        raise SystemExit("peers: the results are of different machines; measure them again on one")
    document = next(iter(documents.values()))
    facts, versions = document["machine"], {}
    for one in documents.values():
        versions.update(one["versions"])
    rows = [["processor", f"{facts['cpu']}, {facts['cores']} cores ({', '.join(facts['flags'])})"],
            ["memory", f"{facts['memory_gib']} GiB"], ["system", f"{facts['system']}, Linux {facts['kernel']}"],
            ["peers", ", ".join(f"{name} {version}" for name, version in versions.items())]]
    return "\n".join(["| what | which |", "| --- | --- |", *(f"| {what} | {which} |" for what, which in rows)])


# A goal: what it is; the benchmark; our peer, metric and case, and theirs or nothing; the unit; and the limit.
# The limit is of the ratio, or of our number.
GOALS = [
    ("bulk through a pipe, of ssh's with the same suite", "bulk", ("ours", "rate"), ("ssh-cbc", "rate"), "MB/s", ">=", 2.5),
    ("bulk through a pipe, of ssh's with AES-256-GCM", "bulk", ("ours", "rate"), ("ssh-gcm", "rate"), "MB/s", ">", 1),
    ("bulk through a pipe, of OpenSSL's with TLS 1.3 AES-256-GCM through pipes", "bulk", ("ours", "rate"),
     ("openssl-1.3", "rate"), "MB/s", ">", 1),
    ("processor time of both ends for each GB", "bulk", ("ours", "cpu"), None, "s", "<=", 1.7),
    ("round trip of 16 bytes, of a raw TCP echo's", "rtt", ("ours", "p50"), ("tcp", "p50"), "µs", "<=", 1.3),
    ("memory of an idle session", "memory", ("ours", "slope"), None, "KiB", "<=", 16),
    *((f"one forwarded connection, {way}, of {whose}", "forward_bulk", ("ours", "rate", way), (peer, "rate", way), "MB/s", sign, limit)
      for way in ("up", "down") for whose, peer, sign, limit in (
          ("ssh -L's with the same suite", "ssh-cbc", ">=", 2.5), ("ssh -L's with AES-256-GCM", "ssh-gcm", ">", 1),
          ("a stunnel pair's with TLS 1.3", "stunnel-1.3", ">", 1))),
    *((f"100 forwarded connections at once, {way}, of ssh's with {suite}", "forward_many", ("ours-socks", "rate", way),
       (peer, "rate", way), "MB/s", ">=", 2)
      for way in ("up", "down") for suite, peer in (("the same suite", "ssh-socks-cbc"), ("AES-256-GCM", "ssh-socks-gcm"))),
    ("round trip through a forward, of a socat pair's", "forward_rtt", ("ours", "p50"), ("socat", "p50"), "µs", "<=", 1.3),
    *((f"short connections a second, {case} at once, of ssh's", "forward_opens", ("ours-socks", "per_second", case),
       ("ssh-socks-cbc", "per_second", case), "", ">=", 3) for case in ("1", "32")),
    *((f"memory of an idle forwarded connection at the {end}", "forward_idle", ("ours", end), None, "KiB", "<=", 4)
      for end in ("client", "server")),
    *((f"99 % of keystrokes beside bulk {way}", "forward_keys", ("ours", "p99", way), None, "µs", "<=", 10_000)
      for way in ("up", "down")),
]


def goals(documents):
    """The table of goals, with their results."""
    return results.markdown(*reached(documents, GOALS))


def reached(documents, wanted):
    """Head and rows of the table of these goals."""
    def value(bench, peer, metric, case=None):
        rows = documents.get(bench, {"results": []})["results"]
        return next((row[metric]["median"] for row in rows
                     if row["peer"] == peer and metric in row and row.get("case") == case), None)

    rows = []
    for what, bench, us, them, unit, sign, limit in wanted:
        if value(bench, *us) is None and "-socks" in us[0]:
            # They were measured with -L instead of -D.
            us, them = ((side[0].replace("-socks", ""), *side[1:]) for side in (us, them))
        ours, theirs = value(bench, *us), value(bench, *them) if them else None
        bar = f"{sign} {limit:,g}{'×' if them else f' {unit}'}"
        if ours is None or (them and theirs is None):
            rows.append([what, bar, "-", "-", "-", "not measured"])
            continue
        result = ours / theirs if them else ours
        is_met = {">=": result >= limit, ">": result > limit, "<=": result <= limit}[sign]
        rows.append([what, bar, f"{results.number(ours)} {unit}".strip(),
                     f"{results.number(theirs)} {unit}".strip() if them else "-",
                     f"{result:.2f}×" if them else "-", "met" if is_met else "**missed**"])
    return ["goal", "at least or most", "we", "it", "we / it", ""], rows


def plain(found):
    """The results of a separate program: a list of flat objects, or an object with such a list as `results`."""
    rows = found.get("results", []) if isinstance(found, dict) else found
    names = list(dict.fromkeys(name for row in rows for name in row))

    def cell(value):
        return results.number(value) if isinstance(value, float) else str(value)

    return results.markdown(names, [[cell(row.get(name, "")) for name in names] for row in rows])
