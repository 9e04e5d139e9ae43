#!/usr/bin/env python3
"""The power fails in the middle of a load; after it every acknowledged row is there once and unaltered.

The server's whole data directory (log, objects, SQLite) is on a file system that loses what was not synced
(lossy_fs.cc). A round starts the server, writes, cuts the power at a random moment, kills the server, brings the power
back, and the next round checks.

    power_cut_test.py [--rounds N] [--seed S] [-- SERVER-ARGUMENTS]

Exit code 77: there is no /dev/fuse, or no right to use it.
"""
import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import promises  # noqa: E402
from server_process import ServerProcess, scratch_directory  # noqa: E402
from workload import Ledger, Writers  # noqa: E402

SETTINGS = ["--set", "ingester.buffer_max_mb=1", "--set", "ingester.flush_interval_secs=1",
            "--set", "wal.segment_size_mb=1", "--set", "wal.reserve_mb=1", "--set", "wal.total_mb=256",
            "--set", "compactor.interval_secs=1", "--set", "compactor.parts_min=2", "--set", "compactor.cpu_percent=100",
            "--set", "query.rows_max=1000000000"]


class LossyDisk:
    def __init__(self, path, seed):
        self.path = path
        path.mkdir()
        program = os.environ.get("MS_TEST_LOSSY_FS", str(pathlib.Path(__file__).resolve().parents[2]
                                                    / "build/release/tests/power/ms_lossy_fs"))
        self.process = subprocess.Popen([program, str(path), "--seed", str(seed)], stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise OSError("lossy_fs did not mount")

    def _signal(self, number):
        self.process.send_signal(number)
        return self.process.stdout.readline().strip()

    def cut(self):
        self._signal(signal.SIGUSR1)

    def restore(self):
        return self._signal(signal.SIGUSR2)

    def close(self):
        subprocess.run(["fusermount3", "-u", "-z", str(self.path)], check=False)
        self.process.wait(10)


def run_round(disk, run_dir, ledger, seed, extra, checks_only):
    """Faults found. Checks what the last round left, then loads and cuts the power."""
    generator = random.Random(seed)
    server = ServerProcess(disk.path / "data", [*SETTINGS, *extra], run_dir=run_dir)
    try:
        if not server.wait_ready(120):
            return [f"the server did not start after a power cut:\n{server.tail()}"]
        faults = ledger.check(server)
        if faults or checks_only:
            return faults
        writers = Writers(ledger, server.addresses, seed=seed, modes=("", "", "", "", "?commit=force"))
        time.sleep(generator.uniform(0.1, 2.5))
        disk.cut()
        server.kill()
        faults = writers.stop()
        print(f"  {disk.restore()}; {len(ledger.acknowledged)} acknowledged", flush=True)
        return faults
    finally:
        server.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("MS_TEST_SEED", "0")) or int(time.time()))
    parser.add_argument("server", nargs="*", help="arguments for the server")
    options = parser.parse_args()
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        print("skipped: no access to /dev/fuse", flush=True)
        return 77
    print(f"seed {options.seed}", flush=True)
    ledger = Ledger(f"p{options.seed}")
    with scratch_directory("power") as scratch:
        disk = LossyDisk(pathlib.Path(scratch) / "disk", options.seed)
        try:
            for number in range(options.rounds + 1):
                faults = run_round(disk, pathlib.Path(scratch) / "run", ledger, options.seed * 1000 + number,
                                   options.server, number == options.rounds)
                if faults:
                    print(f"round {number}:", *faults, sep="\n", flush=True)
                    return 1
        finally:
            disk.close()
    print(f"{options.rounds} power cuts, {len(ledger.sent)} rows sent, {len(ledger.acknowledged)} acknowledged, "
          "0 faults", flush=True)
    if not ledger.acknowledged:
        return 1
    promises.record("power", "crash/power_cut", f"0 lost, 0 doubled in {len(ledger.acknowledged):,} acknowledged rows over "
                    f"{options.rounds} power cuts", options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
