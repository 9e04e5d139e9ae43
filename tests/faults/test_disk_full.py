"""A real disk that is full: no false acknowledgement, reads go on, writes resume by themselves. Clients that keep sending
to a server that can only refuse cost it next to nothing: on a full disk, and when its log is read-only."""
import collections
import json
import pathlib
import time

import private_mount
import promises
import pytest
from workload import Ledger, Writers

SETTINGS = ["--set", "wal.segment_size_mb=4", "--set", "wal.total_mb=4096", "--set", "wal.reserve_mb=8",
            "--set", "ingester.flush_interval_secs=1", "--set", "ingester.buffer_max_mb=1"]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def refuse_a_load(server, requests_per_second=50, rows=1000, seconds=6):
    """Sends requests of 0.1 MB that the server can only refuse; the share of one processor that it takes for that, or
    None if it took one: a flush had made room."""
    body = "\n".join(json.dumps({"n": n, "text": "payload " * 10, f"field_{n % 11}": n}) for n in range(rows))
    connection, answers = server.connection(), collections.Counter()
    begin, before = time.monotonic(), cpu_seconds(server.process.pid)
    for number in range(requests_per_second * seconds):
        time.sleep(max(0, begin + number / requests_per_second - time.monotonic()))
        connection.request("POST", "/api/v1/ingest/logs/ballast", body)
        answer = connection.getresponse()
        answer.read()
        answers[answer.status] += 1
        if answer.status == 200:
            return None
        assert answer.getheader("Retry-After"), answer.status
    share = (cpu_seconds(server.process.pid) - before) / (time.monotonic() - begin)
    assert set(answers) <= {429, 503}, answers
    return share


@pytest.mark.skipif(not private_mount.is_possible(), reason="needs root and mount namespaces")
def test_a_full_disk_refuses_writes_and_recovers(start, tmp_path):
    data = tmp_path / "small"
    with private_mount.PrivateMount(data, 64) as mount:
        options = {"data": "small", "prefix": mount.prefix, "run_dir": tmp_path / "run"}
        server = start(*SETTINGS, **options)
        server.ingest("ballast", [{"n": 0}])
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
        for _ in range(20):
            if (share := refuse_a_load(server)) is not None:
                break
            mount.run("sh", "-c", f"cat /dev/zero >> {data}/filler || true")
        print(f"{ledger.answers}, {share:.1%} of a processor while full")
        assert share <= 0.05
        promises.record("disk-full", "faults/disk_full", f"{share:.1%} of a processor while 50 requests a second of 0.1 MB "
                        "are refused on a full disk")
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


def test_a_read_only_log_refuses_writes_cheaply_and_loses_nothing(start, tmp_path):
    """The sync of the log fails and the new segment cannot be written either: nothing is acknowledged from then on."""
    failpoints = tmp_path / "failpoints"
    failpoints.write_text("")
    options = [*SETTINGS, "--failpoints-file", str(failpoints)]
    server = start(*options)
    ledger = Ledger("read-only")
    writers = Writers(ledger, server.addresses, sizes=(100,), gone_ok=False)
    deadline = time.monotonic() + 60
    while len(ledger.acknowledged) < 3000:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    failpoints.write_text("wal_before_sync=error@1+,wal_before_mend=error@1+")
    while ledger.answers[503] < 20:
        assert time.monotonic() < deadline, ledger.answers
        time.sleep(0.05)
    assert not (faulty := writers.stop()), faulty
    assert ledger.check(server) == []
    while server.request("GET", "/healthz")[0] != 503:
        assert time.monotonic() < deadline, "health says that the log is read-only"
        time.sleep(0.05)
    share = refuse_a_load(server)
    print(f"{ledger.answers}, {share:.1%} of a processor while read-only")
    assert share <= 0.05
    promises.record("failed-sync", "faults/disk_full", f"{share:.1%} of a processor while 50 requests a second of 0.1 MB "
                    "are refused by a read-only log")
    assert ledger.check(server) == []
    server.kill()
    server = start(*SETTINGS)
    assert ledger.check(server) == []
    assert server.ingest("orders", [ledger.row_of(key) for key in ledger.take("orders", 99, 1)])["accepted"] == 1
    server.terminate()
