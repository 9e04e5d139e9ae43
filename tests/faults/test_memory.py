"""More load than the server can take, under a hard memory limit: no kill, bounded memory, refusals that say "later",
and the work that is done is not less. MS_TEST_FULL=1: ten minutes."""
import json
import os
import time

import memory_cgroup
import promises
import pytest
from load_generator import make_rows, offer

FULL = bool(os.environ.get("MS_TEST_FULL"))
LIMIT_MB = 400


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid):
    return next(int(line.split()[1]) / 1024 for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS"))


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """One request: 5,000 generated rows."""
    return make_rows(tmp_path_factory.mktemp("load") / "rows.ndjson", 5000)


@pytest.mark.skipif(not memory_cgroup.is_possible(), reason="needs root and a memory cgroup")
def test_four_times_the_load_under_a_memory_limit(start, body):
    seconds = 600 if FULL else 25
    settings = ["--set", f"memory.limit_mb={LIMIT_MB}"]
    with memory_cgroup.MemoryCgroup("overload", LIMIT_MB * 12 // 10) as group:
        server = start(*settings, prefix=group.prefix)
        warm = offer(server, body, 4, 2)
        before = cpu_seconds(server.process.pid)
        capacity = offer(server, body, 4, 10)
        between = cpu_seconds(server.process.pid)
        load = offer(server, body, 64, seconds, background=True)
        peak = 0.0
        while load.poll() is None:
            peak = max(peak, resident_megabytes(server.process.pid))
            time.sleep(0.1)
        report = json.loads(load.stdout.read())
        work = [entry["acknowledged_bytes"] / 1e6 / cpu for entry, cpu in
                ((capacity, between - before), (report, cpu_seconds(server.process.pid) - between))]
        rate = [entry["acknowledged_bytes"] / entry["seconds"] / 1e6 for entry in (capacity, report)]
        print(f"capacity {rate[0]:.0f} MB/s, under 16 times the writers {rate[1]:.0f} MB/s, RSS {peak:.0f} MB, "
              f"cgroup {group.peak_megabytes():.0f} MB; {report}")
        promises.record("overload", "faults/memory", f"64 writers of 1.9 MB bodies for {seconds} s, memory.limit_mb = {LIMIT_MB}, "
                        f"memory cgroup of {LIMIT_MB * 12 // 10} MB: {group.kills()} kills, at most {peak:.0f} MB, "
                        f"{rate[1]:.0f} MB/s ({rate[1] / rate[0]:.2f} of what 4 writers get through, {work[1] / work[0]:.2f} "
                        f"for each second of processor time), "
                        f"{report['broken']} broken connections")
        assert group.kills() == 0 and server.process.poll() is None
        assert peak <= LIMIT_MB * 1.1
        assert set(report["answers"]) <= {"200", "429", "503"} and report["broken"] == 0
        # Of the time that the processor had for us: on a machine with other work the rate itself says little.
        assert work[1] >= (0.8 if FULL else 0.6) * work[0], f"overload must not cost the work: {work} MB a second of processor time"
        assert rate[1] >= 0.5 * rate[0], "overload must not stop the work"
        rows = sum(entry["answers"]["200"] for entry in (warm, capacity, report)) * 5000
        server.request("POST", "/api/v1/flush", timeout=300)
        assert server.query("SELECT count(*) FROM logs.load")["rows"] == [[rows]]


def test_a_busy_stream_does_not_starve_another(start, body, tmp_path):
    """One stream at 100 times the load of another, first at a tenth and then at most of what two processors can take: no
    request of the other is refused, and it gets as many through. How much longer its requests take is recorded."""
    lines = open(body, "rb").readlines()
    requests = {rows: tmp_path / f"{rows}.ndjson" for rows in (5, 50, 500, 5000)}
    for rows, path in requests.items():
        path.write_bytes(b"".join(lines[:rows]))
    server = start()
    seconds = 60 if FULL else 8
    figures = []
    for rows in (5, 50):
        quiet = {"writers": 2, "seconds": seconds, "stream": "quiet", "pause_ms": 50}
        offer(server, requests[rows], **{**quiet, "seconds": 2})  # Warm.
        alone = offer(server, requests[rows], **quiet)
        busy = offer(server, requests[rows * 100], 4, seconds + 4, stream="busy", background=True, pause_ms=100)
        time.sleep(1)
        beside = offer(server, requests[rows], **quiet)
        busy_report = json.loads(busy.communicate()[0])
        rate = [report["acknowledged_bytes"] / report["seconds"] / 1e6 for report in (busy_report, beside)]
        figures.append(f"p99 {alone['us']['p99'] / 1000:.1f} ms alone, {beside['us']['p99'] / 1000:.1f} ms beside "
                       f"{rate[0] / rate[1]:.0f} times its load ({rate[0]:.1f} MB/s)")
        print(figures[-1], beside, busy_report)
        assert rate[0] > 20 * rate[1], "the other stream was not busy"
        assert set(beside["answers"]) == {"200"} and beside["broken"] == 0
        assert beside["answers"]["200"] >= 0.5 * alone["answers"]["200"]
    promises.record("fair", "faults/memory", "; ".join(figures))
