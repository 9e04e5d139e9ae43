#!/usr/bin/env python3
"""How long a start replays a log, and with how much memory (promise D10).

    replay.py [--mib 1024] [--rows-per-batch 1] [--streams 1] [--build build/release] [-- SERVER-ARGUMENTS]

Makes a data directory with such a log (make_log), drops nothing from the page cache, starts the server on it
and prints one JSON object: seconds and CPU seconds until it is ready, the peak of resident memory then.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/support"))
from server_process import ServerProcess, scratch_directory  # noqa: E402


def peak_resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rows-per-batch", type=int, default=1)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("server", nargs="*")
    options = parser.parse_args()
    build = ROOT / options.build
    with scratch_directory("replay") as scratch:
        data = pathlib.Path(scratch) / "data"
        made = json.loads(subprocess.run(
            [build / "make_log", "--data-dir", data, "--mib", str(options.mib), "--rows-per-batch",
             str(options.rows_per_batch), "--streams", str(options.streams)], check=True, capture_output=True).stdout)
        begin = time.monotonic()
        server = ServerProcess(data, options.server, binary=str(build / "molesignal"))
        try:
            if not server.wait_ready(600):
                raise SystemExit(server.tail())
            pid = server.process.pid
            print(json.dumps({**made, "seconds": round(time.monotonic() - begin, 2), "cpu_seconds": cpu_seconds(pid),
                              "peak_resident_mib": peak_resident_mib(pid)}))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
