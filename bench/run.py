#!/usr/bin/env python3
"""Loads generated logs into a real server over HTTP and measures the server: CPU, disk, memory, queries.

    bench/run.py [--rows N] [--writers W] [--batch-bytes B] [--json FILE] [--binary FILE] [--no-latency] [--profile]
                 [--s3] [--latency-ms N] [--set KEY=VALUE ...]

Queries run on a server that has just started: "first" is the first run of each, the others are medians of seven times three.
--s3 keeps the objects on a real S3 server on this machine (SeaweedFS), --latency-ms delays its answers.

CPU is the server process's own user and system time, from its start to the flushed end; wall time is not reported.
The latency stage compares the acknowledgement of small requests with a bare loop of write and fdatasync by as many
threads that share syncs, in the same run. Needs: scripts/build release molesignal ms_loggen ms_ack_latency
"""
import argparse
import collections
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/support"))
import s3_server  # noqa: E402
from faulty_proxy import FaultyProxy  # noqa: E402
from server_process import ServerProcess, scratch_directory  # noqa: E402

QUERIES = [
    ("count", "SELECT count(*) FROM logs.bench"),
    ("count by level", "SELECT level, count(*) FROM logs.bench GROUP BY level"),
    ("errors per 5 min", "SELECT histogram(_timestamp, '5m') AS t, count(*) FROM logs.bench WHERE level = 'error' GROUP BY t ORDER BY t"),
    ("p99 by service", "SELECT service, quantile_cont(duration_us, 0.99) FROM logs.bench GROUP BY service"),
    ("top 10 hosts", "SELECT host, count(*) AS n FROM logs.bench GROUP BY host ORDER BY n DESC LIMIT 10"),
    ("needle by trace id", "SELECT * FROM logs.bench WHERE trace_id = '{trace_id}'"),
    ("newest 100 errors", "SELECT * FROM logs.bench WHERE level = 'error' ORDER BY _timestamp DESC LIMIT 100"),
    ("match two words", "SELECT count(*) FROM logs.bench WHERE match(message, 'circuit breaker')"),
    ("LIKE", "SELECT count(*) FROM logs.bench WHERE message LIKE '%half open%'"),
]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_megabytes(pid, name="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


def directory_bytes(path):
    return sum(file.stat().st_size for file in pathlib.Path(path).rglob("*") if file.is_file())


def batches_of(path, batch_bytes):
    with open(path, "rb") as file:
        while chunk := file.read(batch_bytes):
            yield chunk + file.readline()


def load(server, path, writers, batch_bytes):
    """Sends the file over `writers` connections; returns rows accepted."""
    source, lock, accepted, failures = batches_of(path, batch_bytes), threading.Lock(), [0], []

    def run():
        host, port = server.addresses["http"].rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=120)
        while True:
            with lock:
                body = next(source, None)
            if body is None:
                return
            for _ in range(100):
                connection.request("POST", "/api/v1/ingest/logs/bench", body, {"Content-Type": "application/x-ndjson"})
                answer = connection.getresponse()
                content = answer.read()
                if answer.status not in (429, 503):
                    break
                time.sleep(0.1)
            if answer.status != 200:
                failures.append(content)
                return
            with lock:
                accepted[0] += json.loads(content)["accepted"]

    threads = [threading.Thread(target=run) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"load failed: {failures[0]!r}")
    return accepted[0]


def acknowledgement(options, server, scratch):
    """Times of small requests beside those of a bare group commit on the same disk (bench/ack_latency.cc)."""
    done = subprocess.run([options.ack_latency, "--http", server.addresses["http"], "--directory", str(scratch),
                           "--writers", "16", "--requests", "500"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


# Where a sample belongs, by what its function or file is called; the first that fits.
PARTS = [
    ("kernel: copies and pages", r"_copy_|clear_page|page_fault|memcg|folio|rmqueue|zap_pte|free_unref|get_page|madvise"),
    ("kernel: the rest", r"\[kernel"),
    ("allocator", r"jemalloc|operator new|operator delete"),
    ("part: compression", r"ZSTD|HUF_|FSE_|HIST_|XXH"),
    ("part: columns, sort, Parquet", r"Part|plan_parts|rows_by_time|TimedRow|libarrow|libparquet|arrow::|parquet::|Flush"),
    ("JSON to rows", r"Json|simdjson|Row|decode|parse_|Event|rapidhash|Field"),
    ("log", r"[Ww]al|crc32c|encode_batch|Batch"),
    ("memtable", r"Memtable|Hot|Shard"),
    ("HTTP", r"[Hh]ttp|boost|asio|Body|content_coding|inflate"),
    ("memcpy, memcmp, memset", r"__mem"),
]


class Profile:
    """Samples the server with `perf` while the block runs; `parts` is the share of each part in percent."""

    def __init__(self, pid, scratch):
        self.data = pathlib.Path(scratch) / "perf.data"
        self.perf = subprocess.Popen(["perf", "record", "-q", "-F", "499", "-o", str(self.data), "-p", str(pid)],
                                     stderr=subprocess.DEVNULL)
        time.sleep(1)

    def parts(self):
        self.perf.send_signal(signal.SIGINT)
        self.perf.wait()
        text = subprocess.run(["perf", "report", "-i", str(self.data), "--stdio", "-q", "--sort", "dso,sym", "-F",
                               "overhead,dso,sym"], capture_output=True, text=True, check=True).stdout
        shares = collections.Counter()
        for line in text.splitlines():
            if match := re.match(r"\s*([0-9.]+)%\s+(.*)", line):
                name = next((name for name, pattern in PARTS if re.search(pattern, match[2])), "other")
                shares[name] += float(match[1])
        return {name: round(share, 1) for name, share in shares.most_common()}


def measure_queries(server, pid, trace_id):
    results = []
    for name, statement in QUERIES:
        text = statement.replace("{trace_id}", trace_id)
        before, began = cpu_seconds(pid), time.monotonic()
        first = server.query(text)
        first_cpu, first_wall = cpu_seconds(pid) - before, time.monotonic() - began
        costs, walls, answer = [], [], None
        for _ in range(7):
            before, began = cpu_seconds(pid), time.monotonic()
            for _ in range(3):
                answer = server.query(text)
            costs.append((cpu_seconds(pid) - before) * 1000 / 3)
            walls.append((time.monotonic() - began) * 1000 / 3)
        results.append({"query": name, "cpu_ms": round(statistics.median(costs), 1), "wall_ms": round(statistics.median(walls), 1),
                        "rows": len(answer["rows"]), "gets": answer["stats"]["object_gets"],
                        "parts_skipped": answer["stats"]["parts_skipped"], "first_cpu_ms": round(first_cpu * 1000),
                        "first_wall_ms": round(first_wall * 1000), "first_gets": first["stats"]["object_gets"],
                        "first_mb": round(first["stats"]["scanned_bytes"] / 1e6, 1)})
    return results


@contextlib.contextmanager
def object_store(options):
    """The arguments of a server for its objects."""
    if not options.s3:
        yield []
        return
    with s3_server.S3Server() as store, FaultyProxy(store.endpoint, 1) as proxy:
        settings = {"backend": "s3", "endpoint": proxy.endpoint if options.latency_ms else store.endpoint, "bucket": store.bucket,
                    "access_key": store.access_key, "secret_key": store.secret_key}
        options.slow_down = lambda: setattr(proxy.faults, "latency_seconds", options.latency_ms / 1000)
        yield [word for key, value in settings.items() for word in ("--set", f"store.object.{key}={value}")]


def run(options, scratch, arguments):
    data = pathlib.Path(scratch) / "logs.ndjson"
    start_us = int((time.time() - 3600 * 2) * 1e6)
    with open(data, "wb") as out:
        subprocess.run([options.loggen, "--rows", str(options.rows), "--seed", str(options.seed), "--start-us", str(start_us)],
                       stdout=out, check=True)
    raw = data.stat().st_size
    trace_id = json.loads(data.open().readline())["trace_id"]
    arguments = [*arguments, *(word for setting in options.set for word in ("--set", setting))]
    server = ServerProcess(pathlib.Path(scratch) / "data", arguments, binary=options.binary)
    server.wait_ready()
    pid = server.process.pid
    report = {"rows": options.rows, "raw_mb": round(raw / 1e6, 1), "writers": options.writers, "seed": options.seed,
              "idle_rss_mb": round(rss_megabytes(pid), 1)}
    profile = Profile(pid, scratch) if options.profile else None
    before = cpu_seconds(pid)
    accepted = load(server, data, options.writers, options.batch_bytes)
    durable = cpu_seconds(pid)
    assert accepted == options.rows, (accepted, options.rows)
    server.ingest("bench", [{"level": "info", "service": "end", "message": "flush"}], "?commit=force")
    flushed = cpu_seconds(pid)
    if profile:
        report["profile"] = profile.parts()
    report["durable_cpu_s"] = round(durable - before, 2)
    report["total_cpu_s"] = round(flushed - before, 2)
    report["raw_mb_per_cpu_s"] = round(raw / 1e6 / (flushed - before), 1)
    if not options.s3:
        objects = directory_bytes(pathlib.Path(scratch) / "data/objects")
        report["disk_by_raw"] = round(objects / raw, 3)
    report["peak_rss_mb"] = round(rss_megabytes(pid, "VmHWM"), 1)
    counted = server.query("SELECT count(*) FROM logs.bench")["rows"][0][0]
    assert counted == options.rows + 1, counted
    server.terminate()
    if options.s3:
        options.slow_down()
    server = ServerProcess(pathlib.Path(scratch) / "data", arguments, binary=options.binary)
    server.wait_ready()
    report["queries"] = measure_queries(server, server.process.pid, trace_id)
    if not options.no_latency:
        times = acknowledgement(options, server, scratch)
        ours, bare = times["acknowledgement_us"], times["bare_commit_us"]
        report["ack_p50_us"], report["ack_p99_us"] = ours["p50"], ours["p99"]
        report["bare_p50_us"], report["bare_p99_us"] = bare["p50"], bare["p99"]
        report["ack_by_bare_p99"] = round(ours["p99"] / bare["p99"], 2)
    server.terminate()
    return report


def show(report):
    for key, value in report.items():
        if key not in ("queries", "profile"):
            print(f"{key:20} {value}")
    for part, share in report.get("profile", {}).items():
        print(f"  {part:30}{share:>6} %")
    print(f"{'query':22}{'cpu ms':>9}{'wall ms':>9}{'rows':>9}{'gets':>7}{'skipped':>9}  first: {'cpu ms':>7}{'wall ms':>9}{'gets':>6}{'MB':>7}")
    for entry in report["queries"]:
        print(f"{entry['query']:22}{entry['cpu_ms']:>9}{entry['wall_ms']:>9}{entry['rows']:>9}{entry['gets']:>7}"
              f"{entry['parts_skipped']:>9}         {entry['first_cpu_ms']:>7}{entry['first_wall_ms']:>9}{entry['first_gets']:>6}"
              f"{entry['first_mb']:>7}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--batch-bytes", type=int, default=1 << 20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="write the report there")
    parser.add_argument("--binary", default=str(ROOT / "build/release/molesignal"))
    parser.add_argument("--loggen", default=str(ROOT / "build/release/loggen"))
    parser.add_argument("--ack-latency", default=str(ROOT / "build/release/ack_latency"))
    parser.add_argument("--no-latency", action="store_true")
    parser.add_argument("--profile", action="store_true", help="sample the load with perf: shares of the server's parts")
    parser.add_argument("--s3", action="store_true", help="objects on an S3 server of this machine")
    parser.add_argument("--latency-ms", type=float, default=0, help="time that each answer of the S3 server is delayed while queries run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the server")
    options = parser.parse_args()
    with scratch_directory("bench") as scratch, object_store(options) as arguments:
        report = run(options, scratch, arguments)
    show(report)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
