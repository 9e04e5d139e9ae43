#!/usr/bin/env python3
"""Everything at once: one server under random faults of all groups, with writers, and readers that check all the time.

    scripts/torture [--minutes N] [--seed S] [--catalogue sqlite|postgres] [--report FILE] [--events FILE]
                    [-- SERVER-ARGUMENTS]

Groups of faults, each with a thread of its own: the process (kill -9, SIGTERM, kills of starts), failpoints (errors,
delays, kills) armed while the server runs, the object store (a proxy that misbehaves before an S3 server), the catalogue
(SQLite locked by somebody else; Postgres killed and started again), the disk (a small one that fills up). What the machine
cannot do is left out, and said.

Readers compare the rows with the writers' ledger without a pause: each acknowledged row is there exactly once, at every
moment. Retention removes old rows meanwhile, and streams whose rows were all checked are deleted. At the end the faults
are over, the server must be well again, and all rows are checked twice, with a restart between. On a violation the seed
and the log of events are printed and the data is kept.

The seed decides which faults come when; the threads of the server and the clients are not controlled by it.
"""
import argparse
import contextlib
import datetime
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import postgres_server  # noqa: E402
import private_mount  # noqa: E402
import promises  # noqa: E402
import s3_server  # noqa: E402
from clients import Clients  # noqa: E402
from fault_groups import CatalogueFaults, DiskFaults, Failpoints, StoreFaults, supervise  # noqa: E402
from faulty_proxy import FaultyProxy  # noqa: E402
from run import Run  # noqa: E402

DISK_MEGABYTES = 128
SETTINGS = {
    "ingester.flush_interval_secs": 1, "ingester.buffer_max_mb": 1, "wal.segment_size_mb": 1, "wal.total_mb": 32,
    "wal.reserve_mb": 4, "ingester.max_buffer_memory_mb": 64, "ingester.persist_timeout_ms": 500, "compactor.interval_secs": 1, "compactor.parts_min": 2, "compactor.cpu_percent": 100,
    "ingester.past_max_secs": 3153600000, "node.drain_timeout_secs": 10, "store.object.op_timeout_secs": 4,
    "store.object.health_probe_interval_secs": 2, "store.object.retry.base_backoff_ms": 20, "query.timeout_secs": 60,
}


def settings_of(store, proxy, database):
    settings = dict(SETTINGS)
    if store is not None:
        settings |= {f"store.object.{key}": value for key, value in {
            "backend": "s3", "endpoint": proxy.endpoint, "bucket": store.bucket, "access_key": store.access_key,
            "secret_key": store.secret_key, "prefix": "torture"}.items()}
    if database is not None:
        settings |= {"store.meta.backend": "postgres", "store.meta.dsn": database.url}
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def finish(run, clients, groups):
    """After the faults: the server gets well, and everything is there, before and after one more restart."""
    for group in groups:
        group.join()
    clients.join()
    if run.violations:
        return
    for moment in ("the end", "a last restart"):
        server = run.launch()
        if not server.wait_ready(120):
            run.violation(f"the server ended at {moment} with {server.process.returncode}, without a fault")
            return
        run.event("check", moment)
        if not run.wait(lambda: server.request("GET", "/healthz")[0] == 200, 60):
            run.violation(f"/healthz is not well 60 s after {moment}: {server.request('GET', '/healthz')[2][:2000]}")
        clients.check_everything(server)
        if server.terminate(60) != 0:
            run.violation(f"SIGTERM at {moment} ended with {server.process.returncode}")


def run_torture(options, scratch, stack):
    store = proxy = database = mount = None
    if s3_server.find_program():
        store = stack.enter_context(s3_server.S3Server())
        proxy = stack.enter_context(FaultyProxy(store.endpoint, options.seed))
    if options.catalogue == "postgres":
        database = stack.enter_context(postgres_server.PostgresServer())
    data = scratch / "disk"
    if private_mount.is_possible():
        mount = stack.enter_context(private_mount.PrivateMount(data, DISK_MEGABYTES))
    # The mount as seen from outside of its namespace.
    seen = pathlib.Path(f"/proc/{mount.holder.pid}/root{data}") if mount else data
    arguments = [*settings_of(store, proxy, database), *options.server]
    run = Run(options.seed, data / "data", scratch / "run", mount.prefix if mount else (), arguments)
    stack.callback(run.end_server)
    stack.callback(run.stopping.set)
    groups = [supervise(run), Failpoints(run).start(), CatalogueFaults(run, run.data / "meta.db", database).start()]
    if proxy is not None:
        groups.append(StoreFaults(run, proxy).start())
    if mount is not None:
        groups.append(DiskFaults(run, mount, data).start())
    clients = Clients(run)
    run.stopping.wait(options.minutes * 60)
    run.stopping.set()
    finish(run, clients, groups)
    if run.violations:
        run.end_server()
        if mount is not None:  # It goes with the mount.
            shutil.copytree(seen / "data", scratch / "data", symlinks=True, ignore_dangling_symlinks=True)
    left_out = [*([] if store else ["object store (no S3 server)"]), *([] if mount else ["disk (needs root)"])]
    return run, clients.figures(), left_out


def report_of(options, run, figures, left_out):
    lines = ["# Torture", "", "Written by `scripts/torture --report`: one server under random faults of all groups at once.", "",
             "| | |", "|---|---|",
             f"| date | {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d} |", f"| seed | {options.seed} |",
             f"| minutes | {options.minutes:g} |", f"| catalogue | {options.catalogue} |",
             f"| left out | {', '.join(left_out) or 'nothing'} |"]
    lines += [f"| {name} | {value} |" for name, value in figures.items()]
    lines += [f"| violations | {len(run.violations)} |", "", "| fault | times |", "|---|---|"]
    lines += [f"| {kind} | {count:,} |" for kind, count in sorted(run.counts.items())]
    return "\n".join(lines) + "\n"


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("MS_TEST_SEED", "0")) or int(time.time()))
    parser.add_argument("--catalogue", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--report", help="write what happened there, as Markdown")
    parser.add_argument("--events", help="write the log of events there")
    parser.add_argument("server", nargs="*", help="arguments for the server")
    return parser.parse_args()


def main():
    options = parse_options()
    if options.catalogue == "postgres" and postgres_server.find_programs() is None:
        print("skipped: Postgres is not installed (scripts/setup)", flush=True)
        return 77
    print(f"seed {options.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # A time-out leaves no server behind.
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="molesignal-torture-"))
    with contextlib.ExitStack() as stack:
        run, figures, left_out = run_torture(options, scratch, stack)
    report = report_of(options, run, figures, left_out)
    print(report, flush=True)
    if options.report:
        pathlib.Path(options.report).write_text(report)
    if options.events:
        pathlib.Path(options.events).write_text("\n".join(run.events) + "\n")
    if run.violations:
        print("events:", *run.events, "violations:", *run.violations, f"seed {options.seed}; the data is kept in {scratch}",
              sep="\n", flush=True)
        return 1
    shutil.rmtree(scratch)
    faults = sum(run.counts.values())
    promises.record("torture", "torture", f"0 violations in {options.minutes:g} minutes: {faults:,} faults of {len(run.counts)} "
                    f"kinds, {figures['rows acknowledged']} acknowledged rows, {figures['checks']} checks", options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
