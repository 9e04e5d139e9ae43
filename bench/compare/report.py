"""The report as text for a terminal and as Markdown tables."""
import pathlib

from queries import QUERIES

BEGIN, END = "<!-- compare:begin -->", "<!-- compare:end -->"
QUIET_CORES, QUIET_LOAD = 0.2, 2.0


def tables(report):
    """Sections (title, heads, rows) of the report."""
    engines = [entry for entry in report["engines"] if "queries" in entry]
    yield "Loading", ["engine", "raw MB per CPU-second", "CPU s", "disk MB", "disk / raw", "peak memory MB, loading",
                      "peak memory MB, querying"], [loading_row(entry, report) for entry in engines]
    heads = ["query", *(entry["title"] for entry in engines)]
    with_gets = [entry for entry in engines if any(answer.get("gets") is not None for answer in entry["queries"].values())]
    yield "Queries: CPU ms / wall ms, median", [*heads, *(f"GETs first / later, {entry['title']}" for entry in with_gets)], [
        [query.title, *(cell(entry, query, "cpu_ms", "wall_ms") for entry in engines),
         *(gets_of(entry, query) for entry in with_gets)] for query in QUERIES]
    yield "First run of each query: CPU ms / wall ms", heads, [
        [query.title, *(cell(entry, query, "first_cpu_ms", "first_wall_ms") for entry in engines)] for query in QUERIES]


def loading_row(entry, report):
    disk = entry["disk_mb"]
    shown = [f"{disk:.1f}", f"{disk / report['raw_mb']:.3f}"]
    if "load_cpu_s" not in entry:
        return [entry["title"], "–", "–", *shown, "–", f"{entry['query_rss_mb']:.0f}"]
    speed = f"{report['raw_mb'] / entry['load_cpu_s']:.1f}"
    return [entry["title"], speed, f"{entry['load_cpu_s']:.2f}", *shown, f"{entry['load_rss_mb']:.0f}", f"{entry['query_rss_mb']:.0f}"]


def cell(entry, query, cpu, wall):
    answer = entry["queries"].get(query.name)
    if answer is None:
        return "–"
    if "error" in answer:
        return "FAILED"
    numbers = f"{number(answer[cpu])} / {number(answer[wall])}"
    if "wrong" in answer:
        return f"WRONG {numbers}"
    return f"≈ {numbers}" if answer.get("estimate") else numbers


def gets_of(entry, query):
    answer = entry["queries"].get(query.name, {})
    return "–" if answer.get("gets") is None else f"{answer['first_gets']} / {answer['gets']}"


def number(value):
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def notes(report):
    lines = [f"{report['rows']} rows, {report['raw_mb']:.1f} MB of JSON, seed {report['seed']}; {report['date']}; "
             f"{report['machine']['cores']} cores of {report['machine']['cpu']}, {report['machine']['memory_gb']} GB, "
             f"Linux {report['machine']['kernel']}; median of {report['runs']} runs after the first; "
             f"load average at the begin {report['load_average']:.1f}."]
    busy = max((entry["other_cores"] for entry in report["engines"] if "other_cores" in entry), default=0.0)
    if busy > QUIET_CORES or report["load_average"] > QUIET_LOAD:
        lines.append(f"The machine was not quiet: other processes kept up to {busy} cores busy. CPU is an upper bound, wall time means little.")
    for entry in report["engines"]:
        if "skipped" in entry:
            lines.append(f"{entry['title']}: skipped: {entry['skipped']}")
        elif "failed" in entry:
            lines.append(f"{entry['title']}: FAILED: {entry['failed']}")
        else:
            idle = "" if entry["idle"] else "; was never idle, measured all the same"
            lines.append(f"{entry['title']} ({entry['version']}): {entry['note']}; other processes kept {entry['other_cores']} cores busy{idle}")
    for entry in report["engines"]:
        for name, answer in entry.get("queries", {}).items():
            if "wrong" in answer or "error" in answer:
                lines.append(f"{entry['title']}, {name}: {'WRONG' if 'wrong' in answer else 'FAILED'}: {answer.get('wrong') or answer.get('error')}"[:500])
    return lines


def text(report):
    out = []
    for title, heads, rows in tables(report):
        widths = [max(len(str(line[at])) for line in [heads, *rows]) for at in range(len(heads))]
        out.append(f"\n{title}\n")
        for line in [heads, *rows]:
            out.append("  ".join(value.ljust(width) if at == 0 else value.rjust(width)
                                 for at, (value, width) in enumerate(zip(line, widths, strict=True))))
    return "\n".join([*out, "", *notes(report)])


def markdown(report):
    out = []
    for title, heads, rows in tables(report):
        out += [f"### {title}", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        out += ["| " + " | ".join(row) + " |" for row in rows] + [""]
    first, *others = notes(report)
    return "\n".join([first, "", *(f"- {line}" for line in others), "", *out])


def rewrite(path, report):
    """Puts the tables between the markers of the page."""
    page = pathlib.Path(path).read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"compare: {path} has no lines '{BEGIN}' and '{END}'")
    pathlib.Path(path).write_text(f"{before}{BEGIN}\n{markdown(report)}{END}{after}", encoding="utf-8")
