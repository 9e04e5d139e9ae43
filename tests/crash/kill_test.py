#!/usr/bin/env python3
"""kill -9 in the middle of a load; after the restart every acknowledged row is there once and unaltered.

The writers (JSON and OTLP, four connections) and the list of acknowledgements live in processes of their own. Each
failpoint of the server kills it from inside, at its first passages (kill_plan.py says how each is reached); the other
kills come at random times, some during a start. Afterwards: acknowledged is a part of found, found is a part of sent,
each row once, each checksum right (kill_lane.py says what is checked when). A failpoint that no kill has reached is a
failure. Several lanes run side by side, each with a server and data of its own.

    kill_test.py [--backend local|s3|postgres] [--rounds N] [--failpoints all|none|NAME,...] [--hits N] [--lanes N]
                 [--seed S] [--full] [--report FILE.md|FILE.json] [-- SERVER-ARGUMENTS]

Exit code 77: the backend's server is not installed.
"""
import argparse
import collections
import contextlib
import datetime
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import postgres_server  # noqa: E402
import private_mount  # noqa: E402
import promises  # noqa: E402
import s3_server  # noqa: E402
from kill_lane import Lane  # noqa: E402
from kill_plan import ELSEWHERE, ON_A_FULL_DISK, Step, matches, steps_of  # noqa: E402
from server_process import default_binary  # noqa: E402

FULL_HITS, FULL_ROUNDS = 10, 500


def failpoints(wanted):
    names = subprocess.run([default_binary(), "--list-failpoints"], check=True, capture_output=True, text=True).stdout.split()
    if wanted == "none":
        return []
    if wanted == "all":
        return names
    chosen = [name for name in names if any(name == part or part.endswith("_") and name.startswith(part)
                                            for part in wanted.split(","))]
    if not chosen:
        raise SystemExit(f"no failpoint is named by --failpoints {wanted}")
    return chosen


@contextlib.contextmanager
def backend_of(name):
    """place(directory) -> (arguments of the server, how to reach the catalogue: None is SQLite, else a psql command)."""
    if name == "local":
        yield lambda directory: ([], None)
    elif name == "s3":
        with s3_server.S3Server() as store:
            yield lambda directory: ([word for key, value in {
                "backend": "s3", "endpoint": store.endpoint, "bucket": store.bucket, "access_key": store.access_key,
                "secret_key": store.secret_key, "prefix": f"{directory.parent.name}-{directory.name}",
                "op_timeout_secs": 10, "retry.base_backoff_ms": 20}.items()
                for word in ("--set", f"store.object.{key}={value}")], None)
    else:
        with postgres_server.PostgresServer(["max_connections=200"]) as database:
            def place(directory):
                own = f"{directory.parent.name}_{directory.name}"
                psql = [str(database.programs / "psql"), "-h", str(database.folder), "-U", "postgres"]
                subprocess.run([*psql, "-d", "postgres", "-c", f"CREATE DATABASE {own}"], check=True, capture_output=True)
                url = database.url.replace("/postgres?", f"/{own}?")
                return ["--set", "store.meta.backend=postgres", "--set", f"store.meta.dsn={url}"], [*psql, "-d", own]
            yield place


def run_lane(results, folder, seed, place, extra, steps):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # The lane's server ends with it.
    try:
        results.put(Lane(folder, seed, place, extra).run(steps))
    except BaseException as error:  # The main process must hear of it.
        results.put({"fault": f"lane {folder}: {error!r}"})
        raise


def run_lanes(options, scratch, place, steps):
    """The lanes' reports, added up."""
    results, lanes = multiprocessing.Queue(), []
    for number in range(options.lanes):
        arguments = (results, scratch / f"lane{number}", options.seed * 100 + number, place, options.server,
                     steps[number::options.lanes])
        lanes.append(multiprocessing.Process(target=run_lane, args=arguments, daemon=True))
        lanes[-1].start()
    total = {"reached": collections.Counter(), "found": collections.Counter(), "answers": collections.Counter(),
             "missed": [], "faults": []}
    for _ in lanes:
        report = results.get()
        if fault := report.pop("fault"):
            total["faults"].append(fault)
        for key, value in report.items():
            if isinstance(value, list):
                total[key] += value
            elif isinstance(value, dict):
                total[key].update(value)
            else:
                total[key] = total.get(key, 0) + value
    for lane in lanes:
        lane.join()
    return total


def summary_of(options, total, seconds):
    at_failpoints = sum(total["reached"].values())
    kills = at_failpoints + sum(total.get(key, 0) for key in ("random", "in_start", "beside"))
    found = total["found"]
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"), "backend": options.backend,
            "seed": options.seed, "seconds": round(seconds), "kills": kills, "at_failpoints": at_failpoints,
            "failpoints": len(total["reached"]), "random": total.get("random", 0), "random_in_start": total.get("in_start", 0),
            "while_preparing": total.get("beside", 0), "rows_sent": total.get("sent", 0),
            "rows_acknowledged": total.get("acknowledged", 0), "checks": total.get("checks", 0),
            "rows_checked": total.get("rows_checked", 0), "lost": found["lost"], "doubled": found["doubled"],
            "altered": found["altered"], "invented": found["invented"],
            "answers": {str(status): count for status, count in sorted(total["answers"].items())},
            "by_failpoint": dict(sorted(total["reached"].items())), "missed_passages": sorted(total["missed"]),
            "faults": total["faults"]}


def figure_of(summary):
    return (f"{summary['lost']} lost, {summary['doubled']} doubled, {summary['altered']} altered in "
            f"{summary['rows_acknowledged']:,} acknowledged rows over {summary['kills']:,} kills, "
            f"{summary['at_failpoints']:,} of them at {summary['failpoints']} failpoints ({summary['backend']})")


def markdown_of(summary):
    lines = ["# Kills of the real process", "", "Written by `tests/crash/kill_test.py`.", "", "| | |", "|---|---|"]
    for key, value in summary.items():
        if not isinstance(value, (dict, list)):
            lines.append(f"| {key.replace('_', ' ')} | {f'{value:,}' if isinstance(value, int) and key != 'seed' else value} |")
    lines.append("| answers by status | " + ", ".join(f"{k}: {v:,}" for k, v in summary["answers"].items()) + " |")
    lines += ["", "| failpoint | kills |", "|---|---|"]
    lines += [f"| `{name}` | {count} |" for name, count in summary["by_failpoint"].items()]
    if ELSEWHERE:
        elsewhere = "; ".join(f"`{name}` {why} ({test})" for name, (why, test) in ELSEWHERE.items())
        lines += ["", f"Not of this test: {elsewhere}."]
    lines += ["", *(f"- fault: {fault}" for fault in summary["faults"])] if summary["faults"] else []
    return "\n".join(lines) + "\n"


def write_report(path, summary):
    text = json.dumps(summary, indent=1) + "\n" if path.endswith(".json") else markdown_of(summary)
    pathlib.Path(path).write_text(text)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["local", "s3", "postgres"], default="local")
    parser.add_argument("--rounds", type=int, default=100, help="kills at random times")
    parser.add_argument("--failpoints", default="all", help="all, none, or names; NAME_ means all that begin so")
    parser.add_argument("--hits", type=int, default=3, help="passages of each failpoint to kill at")
    parser.add_argument("--lanes", type=int, default=3, help="servers side by side")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("MS_TEST_SEED", "0")) or int(time.time()))
    parser.add_argument("--full", action="store_true", help=f"--hits {FULL_HITS} --rounds {FULL_ROUNDS}")
    parser.add_argument("--report", help="write what happened there: Markdown, or JSON if the name ends so")
    parser.add_argument("server", nargs="*", help="arguments for the server")
    options = parser.parse_args()
    if options.full:
        options.hits, options.rounds = FULL_HITS, FULL_ROUNDS
    return options


def main():
    options = parse_options()
    missing = {"s3": s3_server.find_program, "postgres": postgres_server.find_programs}.get(options.backend, lambda: True)() is None
    if missing:
        print(f"skipped: no server for --backend {options.backend} is installed (scripts/setup)", flush=True)
        return 77
    for name, (_, test) in ELSEWHERE.items():
        if not (ROOT / test).exists():
            raise SystemExit(f"kill_plan.py: {name} is said to be covered by {test}, which does not exist")
    print(f"seed {options.seed}, backend {options.backend}, {options.lanes} lanes", flush=True)
    names = failpoints(options.failpoints)
    if any(matches(name, ON_A_FULL_DISK) for name in names) and not private_mount.is_possible():
        print(f"left out: {', '.join(ON_A_FULL_DISK)}: a small disk needs root and mount namespaces", flush=True)
        names = [name for name in names if not matches(name, ON_A_FULL_DISK)]
    steps = steps_of(names, options.hits, options.backend) + [Step()] * options.rounds
    random.Random(options.seed).shuffle(steps)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # A time-out leaves no server behind.
    scratch, began = pathlib.Path(tempfile.mkdtemp(prefix="molesignal-kill-")), time.monotonic()
    with backend_of(options.backend) as place:
        total = run_lanes(options, scratch, place, steps)
    missed = sorted({step.name for step in steps if step.name} - total["reached"].keys())
    if missed and not total["faults"]:
        total["faults"].append(f"failpoints that no kill reached: {', '.join(missed)}; kill_plan.py says how each is reached")
    summary = summary_of(options, total, time.monotonic() - began)
    if not summary["rows_acknowledged"] and not total["faults"]:
        total["faults"].append("nothing was acknowledged: the test proved nothing")
    if options.report:
        write_report(options.report, summary)
    print(f"passages that were not reached: {', '.join(summary['missed_passages']) or 'none'}", flush=True)
    print(f"{figure_of(summary)}; {summary['random']} at random times, {summary['random_in_start']} of starts, "
          f"{summary['checks']} checks of {summary['rows_checked']:,} rows, {summary['seconds']} s", flush=True)
    if total["faults"]:
        print(*total["faults"], f"the data is kept in {scratch}", sep="\n", flush=True)
        return 1
    shutil.rmtree(scratch)
    promises.record("kill", f"crash/kill {options.backend}", figure_of(summary), options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
