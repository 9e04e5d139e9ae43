"""A real disk that is full: no false acknowledgement, reads go on, writes resume by themselves."""
import pathlib
import time

import private_mount
import pytest
from workload import Ledger, Writers

SETTINGS = ["--set", "wal.segment_size_mb=4", "--set", "wal.total_mb=4096", "--set", "wal.reserve_mb=8",
            "--set", "ingester.flush_interval_secs=1", "--set", "ingester.buffer_max_mb=1"]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.skipif(not private_mount.is_possible(), reason="needs root and mount namespaces")
def test_a_full_disk_refuses_writes_and_recovers(start, tmp_path):
    data = tmp_path / "small"
    with private_mount.PrivateMount(data, 64) as mount:
        options = {"data": "small", "prefix": mount.prefix, "run_dir": tmp_path / "run"}
        server = start(*SETTINGS, **options)
        ledger = Ledger("full")
        writers = Writers(ledger, server.addresses, sizes=(100,), gone_ok=False)
        deadline = time.monotonic() + 60
        while len(ledger.acknowledged) < 3000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        mount.run("sh", "-c", f"cat /dev/zero > {data}/filler || true")
        while ledger.answers[503] + ledger.answers[429] < 20:
            assert time.monotonic() < deadline, ledger.answers
            time.sleep(0.05)
        # Full: what was acknowledged can be read, nothing else is acknowledged, nothing spins.
        assert ledger.check(server) == []
        assert not (faulty := writers.stop()), faulty
        before = cpu_seconds(server.process.pid)
        time.sleep(5)
        share = (cpu_seconds(server.process.pid) - before) / 5
        print(f"{ledger.answers}, {share:.1%} CPU while full")
        assert share <= 0.05
        mount.run("rm", f"{data}/filler")
        resumed = time.monotonic() + 10
        while server.request("POST", "/api/v1/ingest/logs/probe", '{"n":1}')[0] != 200:
            assert time.monotonic() < resumed, "writes resume within 10 s"
            time.sleep(0.1)
        writers = Writers(ledger, server.addresses, sizes=(100,), seed=1, gone_ok=False)
        time.sleep(2)
        assert not (faulty := writers.stop()), faulty
        assert ledger.check(server) == []
        server.kill()
        server = start(*SETTINGS, **options)
        assert ledger.check(server) == []
        server.terminate()
