"""A log of ten times the memory is replayed by flushing on the way: within its memory, with its progress in /readyz, and
not ready before it is done. MS_TEST_FULL=1: a log of 1 GiB."""
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request

import memory_cgroup
import promises
import pytest
from load_generator import make_rows, offer
from server_process import ServerProcess

FULL = bool(os.environ.get("MS_TEST_FULL"))
LOG_MB = 1024 if FULL else 160
CGROUP_MB = 512
# The server that writes the log flushes nothing of it.
WRITES = ["--set", "ingester.flush_interval_secs=3600", "--set", "ingester.buffer_max_mb=60000", "--set", "memory.limit_mb=100000",
          "--set", "ingester.max_buffer_memory_mb=100000"]
READS = ["--set", f"ingester.buffer_max_mb={LOG_MB // 10}", "--set", f"ingester.max_buffer_memory_mb={LOG_MB // 10}",
         "--set", "ingester.flush_interval_secs=3600"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Readiness:
    """Asks /readyz all the time: what it said until it was ready."""

    def __init__(self, port):
        self.url, self.not_ready, self.done = f"http://127.0.0.1:{port}/readyz", [], threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.done.wait(0.02):
            try:
                urllib.request.urlopen(self.url, timeout=10).close()
                self.done.set()
            except urllib.error.HTTPError as answer:
                self.not_ready.append(json.loads(answer.read()))
            except OSError:
                pass  # It does not listen yet.


def peak_megabytes(pid):
    return next(int(line.split()[1]) / 1024 for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM"))


@pytest.mark.skipif(not memory_cgroup.is_possible(), reason="needs root and a memory cgroup")
def test_a_log_of_ten_times_the_memory_is_replayed(start, tmp_path):
    server = start(*WRITES)
    body = make_rows(tmp_path / "rows.ndjson", 5000)
    acknowledged, logged = 0, 0
    while logged < LOG_MB:
        report = offer(server, body, 4, 1)
        assert set(report["answers"]) == {"200"}
        acknowledged += report["answers"]["200"] * 5000
        logged += report["acknowledged_bytes"] / (1 << 20)
    server.kill()
    port = free_port()
    with memory_cgroup.MemoryCgroup("replay", CGROUP_MB) as group:
        readiness = Readiness(port)
        begin = time.monotonic()
        server = ServerProcess(tmp_path / "data", READS, prefix=group.prefix, http_port=port)
        try:
            assert server.wait_ready(60 + LOG_MB), server.tail()
            seconds, peak = time.monotonic() - begin, peak_megabytes(server.process.pid)
            assert readiness.done.wait(30)
            figure = (f"a log of {logged:.0f} MiB of rows with {LOG_MB // 10} MB for rows in memory: ready in {seconds:.1f} s, "
                      f"peak {peak:.0f} MB")
            print(figure, readiness.not_ready[::20])
            promises.record("start", "faults/replay", figure)
            assert group.kills() == 0 and peak <= CGROUP_MB
            assert server.query("SELECT count(*) FROM logs.load")["rows"] == [[acknowledged]]
            progress = [answer.get("replayed_rows", 0) for answer in readiness.not_ready]
            assert progress == sorted(progress) and len(set(progress)) > 2, progress
            assert 0 < progress[-1] <= acknowledged
        finally:
            server.kill()
