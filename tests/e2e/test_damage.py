"""Damage of the write-ahead log: only what is hit is lost, and nobody is left in doubt about it."""
import json
import shutil
import subprocess

from server_process import default_binary


def component(server, name):
    return json.loads(server.request("GET", "/healthz")[2])["components"].get(name, {"ok": True, "message": ""})


def test_damage_is_named_until_somebody_has_looked(start):
    server = start()
    for number in range(20):
        server.ingest("app", [{"n": number, "text": f"row number {number:02}"}])
    assert component(server, "wal_damage")["ok"]
    assert server.terminate() == 0
    wal = server.data_dir / "wal"
    segment = next(path for path in sorted(wal.glob("*.wal")) if b"row number 19" in path.read_bytes())
    content = bytearray(segment.read_bytes())
    # The last row of all: the log was closed, so it knows that this one is no torn tail.
    content[content.find(b"row number 19")] ^= 1
    segment.write_bytes(content)
    assert subprocess.run([default_binary(), "wal", "verify", wal], check=False, capture_output=True).returncode == 3

    server = start()
    assert server.query("SELECT n FROM logs.app ORDER BY n")["rows"] == [[n] for n in range(19)]
    health = component(server, "wal_damage")
    assert not health["ok"] and "1 durable records are lost" in health["message"], health
    assert server.request("GET", "/healthz")[0] == 200, "a warning, not an outage"
    metrics = server.request("GET", "/metrics")[2].decode()
    assert "wal_damaged_records_total 1" in metrics and "wal_quarantined_segments 1" in metrics
    assert server.terminate() == 0

    server = start()
    assert "quarantine" in component(server, "wal_damage")["message"], "not forgotten at the next start"
    assert server.terminate() == 0
    shutil.rmtree(wal / "quarantine")
    server = start()
    assert component(server, "wal_damage")["ok"]
    assert server.query("SELECT count(*) AS c FROM logs.app")["rows"] == [[19]]
