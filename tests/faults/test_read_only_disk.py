"""A real file system that turns read-only under a load, as ext4 does after an error of its disk: nothing is acknowledged
from then on, the answers and the health say why, queries go on, and a restart on the repaired disk loses and doubles
nothing. Only then: the log never trusts a disk again that has refused a write."""
import json
import pathlib
import signal
import subprocess
import time

import private_mount
import promises
import pytest
from server_process import ServerProcess
from workload import Ledger, Writers, json_request, otlp_request

SETTINGS = ["--set", "wal.segment_size_mb=4", "--set", "wal.total_mb=4096", "--set", "wal.reserve_mb=8",
            "--set", "ingester.flush_interval_secs=1", "--set", "ingester.buffer_max_mb=1",
            "--set", "store.object.health_probe_interval_secs=1"]
WHY = "Read-only file system"


@pytest.fixture
def disk(tmp_path):
    if not private_mount.PrivateExt4.is_possible():
        pytest.skip("needs root, mount namespaces, loop devices and mkfs.ext4")
    disk = private_mount.PrivateExt4(tmp_path / "disk", 256)
    try:
        disk.__enter__()
    except RuntimeError as error:
        pytest.skip(f"no ext4 of our own: {error}")
    yield disk
    disk.__exit__()


def wait_until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def states_of_threads(server):
    """As the kernel names them: a thread in a sync is "D" until that has ended, whatever signal it has."""
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task")
    return {task.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] for task in tasks.iterdir()}


def component(server, name):
    return json.loads(server.request("GET", "/healthz")[2])["components"][name]


def test_a_disk_that_turns_read_only_loses_and_doubles_nothing(start, disk, tmp_path):
    options = {"data": "disk/data", "prefix": disk.prefix, "run_dir": tmp_path / "run"}
    server = start(*SETTINGS, **options)
    ledger = Ledger("read-only")
    writers = Writers(ledger, server.addresses, sizes=(1, 100), gone_ok=False, protocols=(json_request, otlp_request))
    wait_until(lambda: len(ledger.acknowledged) >= 5000, "rows in parts and in the log")
    # What the kernel holds of mapped files is clean: the next change of it meets the read-only file system.
    subprocess.run([*disk.prefix, "sync", "-f", str(disk.path)], check=True)
    # No sync is under way at that moment: ext4 answers such a one with success though its blocks are lost, and nothing that
    # a program can ask says so before the kernel has set its mark (docs/how-data-can-be-lost.md).
    server.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: states_of_threads(server) == {"T"}, "all threads have ended their calls and are stopped")
    disk.turn_read_only()
    server.process.send_signal(signal.SIGCONT)

    # Refused with "later" by both protocols, never with an answer for which a client drops its rows.
    wait_until(lambda: ledger.answers[503] >= 20, "rows are refused")
    acknowledged = ledger.answers[200]
    wait_until(lambda: ledger.answers[503] >= 60, "and go on being refused")
    assert ledger.answers[200] == acknowledged
    assert not (faulty := writers.stop()), faulty
    status, headers, body = server.request("POST", "/api/v1/ingest/logs/orders", '{"n":1}')
    assert status == 503 and "Retry-After" in headers and WHY in body.decode(), (status, headers, body)
    wait_until(lambda: not component(server, "wal")["ok"], "health names the log")
    assert WHY in component(server, "wal")["message"] and "restart" in component(server, "wal")["message"]
    assert server.request("GET", "/healthz")[0] == 503 and server.request("GET", "/livez")[0] == 200
    for _ in range(5):
        assert ledger.check(server) == []
    assert server.query("SELECT count(*), sum(crc) FROM logs.orders GROUP BY writer")["rows"]

    server.terminate()
    refused = ServerProcess(tmp_path / "disk/data", SETTINGS, prefix=disk.prefix, run_dir=tmp_path / "refused")
    assert not refused.wait_ready(), "it cannot start there"
    assert WHY in refused.tail(), refused.tail()
    refused.kill()

    disk.turn_writable()
    server = start(*SETTINGS, **options)
    assert ledger.check(server) == []
    writers = Writers(ledger, server.addresses, sizes=(100,), seed=1, gone_ok=False)
    more = len(ledger.acknowledged) + 1000
    wait_until(lambda: len(ledger.acknowledged) >= more, "rows are taken again")
    assert not (faulty := writers.stop()), faulty
    server.flush("orders")
    assert ledger.check(server) == []
    assert server.terminate() == 0
    print(dict(ledger.answers))
    promises.record("failing-calls", "faults/read_only_disk", "0 acknowledged, 0 lost, 0 doubled, queries go on, while an ext4 "
                    f"is read-only; rows are taken again after its repair: {len(ledger.acknowledged):,} acknowledged rows, "
                    f"{ledger.answers[503]} refusals")
