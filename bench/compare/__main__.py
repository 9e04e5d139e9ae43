#!/usr/bin/env python3
"""Compares our server with its peers: same rows, one machine, one engine after the other, answers checked.

    python3 bench/compare [--rows N] [--engines A,B] [--json FILE] [--markdown FILE] [--keep]

Generates rows, computes the right answers from them, then for each engine: loads the rows over its own protocol, waits
until it is idle, and runs each query eight times. CPU is the engine's process, user and system. A wrong answer is
printed as WRONG and makes the exit code 1. Engines that are not installed are skipped (bench/install_peers).
Needs the server and the generator: scripts/build release molesignal ms_loggen
"""
import argparse
import datetime
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import measure
import report as reports
from engines import ENGINES, ROOT
from oracle import Oracle
from queries import QUERIES

DAY_SECONDS = 86400
MIN_ROWS = 10_000
FAILURES = (RuntimeError, OSError, ValueError, http.client.HTTPException)  # Of an engine; the others are still measured.


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog="compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help=f"at least {MIN_ROWS} (default: 2000000, about 750 MB)")
    parser.add_argument("--engines", default="all", help="comma-separated, of: " + ", ".join(engine.key for engine in ENGINES))
    parser.add_argument("--json", help="write the whole report there")
    parser.add_argument("--markdown", help="put the tables between the markers of this page, such as docs/benchmarks.md")
    parser.add_argument("--keep", action="store_true", help="keep the data and the engines' directories, and say where")
    parser.add_argument("--scratch", help="directory to work below (default: the system's for temporary files)")
    parser.add_argument("--runs", type=int, default=7, help="runs of a query after the first")
    parser.add_argument("--writers", type=int, default=4, help="connections that load")
    parser.add_argument("--batch-bytes", type=int, default=1 << 20, help="size of one request of the load")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="a setting of our server, besides its defaults")
    parser.add_argument("--binary", default=str(ROOT / "build/release/molesignal"), help="our server")
    parser.add_argument("--loggen", default=str(ROOT / "build/release/loggen"), help="the generator")
    options = parser.parse_args(arguments)
    keys = [engine.key for engine in ENGINES]
    chosen = keys if options.engines == "all" else [name.strip() for name in options.engines.split(",")]
    if unknown := [name for name in chosen if name not in keys]:
        parser.error(f"no engine '{unknown[0]}'; there are: {', '.join(keys)}")
    if options.rows < MIN_ROWS or options.runs < 1 or options.writers < 1:
        parser.error(f"--rows must be at least {MIN_ROWS}, --runs and --writers at least 1")
    if not pathlib.Path(options.loggen).is_file():
        parser.error(f"no generator at {options.loggen}; build it (scripts/build release ms_loggen) or name it with --loggen")
    if options.markdown and reports.END not in pathlib.Path(options.markdown).read_text(encoding="utf-8"):
        parser.error(f"{options.markdown} has no line '{reports.END}'")
    options.chosen = [engine for engine in ENGINES if engine.key in chosen]
    return options


def say(message):
    print(f"compare: {message}", file=sys.stderr, flush=True)


def generate(options, path):
    """Yesterday's 24 hours (UTC): one day for every engine that keeps days apart, and within every retention."""
    start = int(time.time()) // DAY_SECONDS * DAY_SECONDS - DAY_SECONDS
    step_us = DAY_SECONDS * 1_000_000 * 98 // 100 // options.rows
    say(f"generating {options.rows} rows")
    with open(path, "wb") as out:
        subprocess.run([options.loggen, "--rows", str(options.rows), "--seed", str(options.seed), "--start-us",
                        str(start * 1_000_000), "--step-us", str(step_us)], stdout=out, check=True)


def load(engine, path):
    """The load's figures. CPU is from the first byte until the engine has settled and is idle."""
    before = measure.cpu_seconds(engine.pid)
    begin = time.monotonic()
    engine.load(path)
    loaded = time.monotonic() - begin
    engine.settle()
    idle = measure.wait_idle(engine.pid)
    figures = {"disk_mb": engine.disk_bytes() / 1e6, "idle": idle}
    if engine.loads:
        figures |= {"load_cpu_s": measure.cpu_seconds(engine.pid) - before, "load_wall_s": round(loaded, 2),
                    "load_rss_mb": measure.peak_rss_megabytes(engine.pid)}
    return figures


def measure_query(engine, oracle, query, statement, runs):
    """Every run's answer is compared; CPU and wall are the median of those after the first."""
    costs, gets, wrong = [], [], None
    try:
        for _ in range(runs + 1):
            (rows, reads), cpu, wall = measure.timed(engine.pid, lambda: engine.query(statement))
            costs.append((cpu, wall))
            gets.append(reads)
            wrong = wrong or oracle.compare(query, rows, engine.rank_tolerance)
    except FAILURES as error:
        return {"error": str(error)[:500]}
    result = {"cpu_ms": measure.median([cpu for cpu, _ in costs[1:]]), "wall_ms": measure.median([wall for _, wall in costs[1:]]),
              "first_cpu_ms": round(costs[0][0], 2), "first_wall_ms": round(costs[0][1], 2),
              "first_gets": gets[0], "gets": gets[-1],
              "estimate": query.shape == "percentile" and engine.rank_tolerance > 0}
    return {**result, "wrong": wrong} if wrong else result


def measure_engine(engine, oracle, path, options):
    entry = {"engine": engine.key, "title": engine.title, "note": engine.note}
    if reason := engine.unavailable():
        say(f"{engine.title}: skipped: {reason}")
        return {**entry, "skipped": reason}
    say(f"{engine.title}: loading")
    try:
        others = measure.OtherWork()
        engine.start()
        entry["version"] = engine.version
        figures = load(engine, path)
        say(f"{engine.title}: querying")
        measure.reset_peak_rss(engine.pid)
        statements = engine.statements(oracle)
        answers = {query.name: measure_query(engine, oracle, query, statements[query.name], options.runs)
                   for query in QUERIES if query.name in statements}
        figures["query_rss_mb"] = measure.peak_rss_megabytes(engine.pid)
        figures["other_cores"] = others.cores(measure.cpu_seconds(engine.pid))
        return {**entry, **figures, "queries": answers}
    except FAILURES as error:
        say(f"{engine.title}: failed: {error}")
        return {**entry, "failed": str(error)[:1000]}
    finally:
        if engine.pid is not None:
            engine.stop()


def is_right(report):
    """Something was measured, nothing failed and no answer is wrong."""
    engines = report["engines"]
    answers = [answer for entry in engines for answer in entry.get("queries", {}).values()]
    return bool(answers) and not any("failed" in entry for entry in engines) and not any(
        "wrong" in answer or "error" in answer for answer in answers)


def compare(options, scratch):
    path = pathlib.Path(scratch) / "logs.ndjson"
    load_average = os.getloadavg()[0]
    generate(options, path)
    say("computing the right answers")
    oracle = Oracle(path, options.rows)
    if oracle.count != options.rows:
        raise SystemExit(f"compare: the generator made {oracle.count} rows, not {options.rows}")
    report = {"rows": options.rows, "raw_mb": path.stat().st_size / 1e6, "seed": options.seed, "runs": options.runs,
              "writers": options.writers, "batch_bytes": options.batch_bytes, "date": datetime.date.today().isoformat(),
              "machine": measure.machine(), "load_average": load_average, "engines": []}
    for kind in options.chosen:
        engine = kind(options, scratch)
        report["engines"].append(measure_engine(engine, oracle, path, options))
    report["right"] = is_right(report)
    return report


def main(arguments):
    # A request to end runs the `finally` of the engine that is measured: no process is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse_arguments(arguments)
    scratch = tempfile.mkdtemp(prefix="molesignal-compare-", dir=options.scratch)
    try:
        report = compare(options, scratch)
    finally:
        if options.keep:
            say(f"kept {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    if not any("queries" in entry for entry in report["engines"]):
        say("nothing was measured")
    print(reports.text(report))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        reports.rewrite(options.markdown, report)
    return 0 if report["right"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
