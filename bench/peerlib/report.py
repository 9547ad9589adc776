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


def goals(documents):
    """The table of goals, with their results."""
    def value(bench, peer, metric):
        rows = documents.get(bench, {"results": []})["results"]
        return next((row[metric]["median"] for row in rows if row["peer"] == peer and metric in row), None)

    rate = value("bulk", "ours", "rate")
    wanted = [
        ("bulk through a pipe, of ssh's with the same suite", rate, value("bulk", "ssh-cbc", "rate"), "MB/s", ">=", 2.5),
        ("bulk through a pipe, of ssh's with AES-256-GCM", rate, value("bulk", "ssh-gcm", "rate"), "MB/s", ">", 1),
        ("bulk through a pipe, of OpenSSL's with TLS 1.3 AES-256-GCM through pipes", rate,
         value("bulk", "openssl-1.3", "rate"), "MB/s", ">", 1),
        ("processor time of both ends for each GB", value("bulk", "ours", "cpu"), None, "s", "<=", 1.7),
        ("round trip of 16 bytes, of a raw TCP echo's", value("rtt", "ours", "p50"), value("rtt", "tcp", "p50"), "µs", "<=", 1.3),
        ("memory of an idle session", value("memory", "ours", "slope"), None, "KiB", "<=", 16),
    ]
    rows = []
    for what, ours, theirs, unit, sign, limit in wanted:
        peer_is_there = theirs is not None or unit in ("s", "KiB")
        if ours is None or not peer_is_there:
            rows.append([what, f"{sign} {limit}", "-", "-", "-", "not measured"])
            continue
        reached = ours / theirs if theirs is not None else ours
        is_met = {">=": reached >= limit, ">": reached > limit, "<=": reached <= limit}[sign]
        rows.append([what, f"{sign} {limit:g}{' ' + unit if theirs is None else '×'}", f"{results.number(ours)} {unit}",
                     f"{results.number(theirs)} {unit}" if theirs is not None else "-",
                     f"{reached:.2f}×" if theirs is not None else "-", "met" if is_met else "**missed**"])
    return results.markdown(["goal", "at least or most", "we", "it", "we / it", ""], rows)


def plain(found):
    """The results of a separate program: a list of flat objects, or an object with such a list as `results`."""
    rows = found.get("results", []) if isinstance(found, dict) else found
    names = list(dict.fromkeys(name for row in rows for name in row))

    def cell(value):
        return results.number(value) if isinstance(value, float) else str(value)

    return results.markdown(names, [[cell(row.get(name, "")) for name in names] for row in rows])
