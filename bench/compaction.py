#!/usr/bin/env python3
"""Loads generated logs, lets the compactor merge their parts, and measures the merge and the queries before and after.

    bench/compaction.py [--rows N] [--target-mb N] [--no-queries] [--json FILE] [--binary FILE]

The rows are of a day that is over; merging runs unthrottled in a server of its own, so that its CPU and memory are those of
the merge (and of an idle server). Needs: scripts/build release molesignal ms_loggen
"""
import argparse
import json
import pathlib
import subprocess
import time

from run import ROOT, cpu_seconds, directory_bytes, load, measure_queries, rss_megabytes
from server_process import ServerProcess, scratch_directory

FLUSHES = ("--set", "ingester.past_max_secs=31536000")
MERGING = (*FLUSHES, "--set", "compactor.interval_secs=1", "--set", "compactor.cpu_percent=100", "--set", "compactor.bytes_per_second=0")


def counter(server, name):
    text = server.request("GET", "/metrics")[2].decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)


def parts(server):
    return server.query("SELECT count(*) FROM logs.bench")["stats"]["parts_total"]


def start(options, scratch, arguments):
    server = ServerProcess(pathlib.Path(scratch) / "data", arguments, binary=options.binary)
    assert server.wait_ready(300), server.tail()
    return server


def run(options, scratch):
    path = pathlib.Path(scratch) / "logs.ndjson"
    yesterday_us = (time.time_ns() // 86_400_000_000_000 - 1) * 86_400_000_000
    with open(path, "wb") as out:
        subprocess.run([options.loggen, "--rows", str(options.rows), "--seed", "1", "--start-us", str(yesterday_us)],
                       stdout=out, check=True)
    raw = path.stat().st_size
    trace_id = json.loads(path.open().readline())["trace_id"]
    server = start(options, scratch, (*FLUSHES, "--set", "compactor.merge=false"))
    assert load(server, path, 4, 1 << 20) == options.rows
    server.ingest("bench", [{"_timestamp": yesterday_us, "level": "info", "service": "end", "message": "flush"}], "?commit=force")
    path.unlink()
    report = {"rows": options.rows, "raw_mb": round(raw / 1e6, 1), "parts_before": parts(server),
              "mb_before": round(directory_bytes(pathlib.Path(scratch) / "data/objects") / 1e6, 1),
              "queries_before": [] if options.no_queries else measure_queries(server, server.process.pid, trace_id)}
    assert server.terminate(120) == 0

    server = start(options, scratch, (*MERGING, "--set", f"compactor.target_mb={options.target_mb}"))
    pid = server.process.pid
    begun, idle = cpu_seconds(pid), rss_megabytes(pid)
    merges, still = 0, time.monotonic()
    while time.monotonic() - still < 10:  # No merge has ended for so long, and none is under way.
        time.sleep(0.5)
        ended = counter(server, "compactor_merged_groups_total")
        busy = any((pathlib.Path(scratch) / "data/compaction").iterdir())
        if ended != merges or busy:
            merges, still = ended, time.monotonic()
    report |= {"merges": int(merges), "merge_cpu_s": round(counter(server, "compactor_cpu_seconds_total"), 2),
               "process_cpu_s": round(cpu_seconds(pid) - begun, 2), "idle_rss_mb": round(idle),
               "peak_rss_mb": round(rss_megabytes(pid, "VmHWM")), "failures": int(counter(server, "compactor_failures_total")),
               "merged_mb": round(counter(server, "compactor_merged_bytes_total") / 1e6, 1), "parts_after": parts(server)}
    report["raw_mb_per_cpu_s"] = round(raw / 1e6 / report["merge_cpu_s"], 1) if report["merge_cpu_s"] else None
    assert server.terminate(120) == 0
    server = start(options, scratch, (*FLUSHES, "--set", "compactor.merge=false"))
    assert server.query("SELECT count(*) FROM logs.bench")["rows"] == [[options.rows + 1]]
    report["queries_after"] = [] if options.no_queries else measure_queries(server, server.process.pid, trace_id)
    server.terminate()
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--target-mb", type=int, default=512, help="compactor.target_mb; 42 M rows make a part of 2 GB")
    parser.add_argument("--no-queries", action="store_true", help="only merge: the 99th percentile of 40 M rows needs more query.memory_mb")
    parser.add_argument("--json", help="write the report there")
    parser.add_argument("--binary", default=str(ROOT / "build/release/molesignal"))
    parser.add_argument("--loggen", default=str(ROOT / "build/release/loggen"))
    options = parser.parse_args()
    with scratch_directory("compaction") as scratch:
        report = run(options, scratch)
    for key, value in report.items():
        if not key.startswith("queries"):
            print(f"{key:20} {value}")
    print(f"{'query':22}{'cpu ms before':>15}{'after':>9}{'gets before':>13}{'after':>7}")
    for before, after in zip(report["queries_before"], report["queries_after"]):
        print(f"{before['query']:22}{before['cpu_ms']:>15}{after['cpu_ms']:>9}{before['gets']:>13}{after['gets']:>7}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
