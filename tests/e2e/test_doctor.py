"""What `molesignal doctor` and the scrubber say of damage, and SIGHUP."""
import json
import pathlib
import re
import shutil
import signal
import subprocess
import time

from server_process import default_binary


def doctor(server, *arguments):
    done = subprocess.run([default_binary(), "doctor", "--data-dir", server.data_dir, "-o", "json", *arguments],
                          check=False, capture_output=True)
    assert done.returncode in (0, 3), (done.returncode, done.stderr)
    return done.returncode, json.loads(done.stdout)


def texts(report, level):
    return [f"{finding['area']}: {finding['text']}" for finding in report["findings"] if finding["level"] == level]


def parts_of(server):
    return sorted(path for path in (server.data_dir / "objects").rglob("*.parquet"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def fill(server):
    for number in range(3):
        server.ingest("app", [{"n": number, "text": "x" * 100}] * 50, "?commit=force")
    server.ingest("app", [{"n": 9}])


def wait_for(what, seconds=30):
    for _ in range(seconds * 20):
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_a_whole_server_has_no_findings_beside_it_and_without_it(start):
    server = start()
    fill(server)
    for _ in range(2):
        code, report = doctor(server)
        assert code == 0 and report["ok"] and report["warnings"] == 0, report
        assert any("6 objects" in text for text in texts(report, "ok")), report
        server.terminate()
    before = {path: path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file()}
    assert doctor(server)[0] == 0
    after = {path: path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file()}
    assert before.keys() <= after.keys()
    changed = [path.name for path in before if after[path] != before[path] and not path.name.endswith("-shm")]
    assert not changed, changed
    human = subprocess.run([default_binary(), "doctor", "--data-dir", server.data_dir], check=False,
                           capture_output=True, text=True)
    assert human.returncode == 0 and "0 failures" in human.stdout


def test_every_kind_of_damage_is_named(start):
    server = start()
    fill(server)
    assert server.terminate() == 0
    first, second, third = parts_of(server)
    flip(first)
    second.unlink()
    orphan = third.with_name("01arz3ndektsv4rrffq69g5fav.parquet")
    shutil.copy(third, orphan)
    segment = next(path for path in sorted((server.data_dir / "wal").glob("*.wal"))
                   if b"MSRC" in path.read_bytes())
    content = bytearray(segment.read_bytes())
    content[content.rfind(b"MSRC", 0, content.rfind(b"MSRC")) + 70] ^= 1
    segment.write_bytes(content)
    code, report = doctor(server)
    failures = texts(report, "fail")
    assert code == 3 and not report["ok"]
    assert any(first.name in text and "hash" in text for text in failures), failures
    assert any(second.name in text and "missing" in text for text in failures), failures
    assert any(str(segment) in text and "at offset" in text for text in failures), failures
    assert any(orphan.name in text for text in texts(report, "warn")), report
    code, report = doctor(server, "--quick")
    assert not any("hash" in text for text in texts(report, "fail")), "nothing was read"


def test_a_damaged_catalogue_is_named_by_doctor(start):
    server = start()
    fill(server)
    assert server.terminate() == 0
    catalogue = server.data_dir / "meta.db"
    assert not catalogue.with_name("meta.db-wal").exists(), "taken in when the server stops"
    good = catalogue.read_bytes()
    at = good.find(b".parquet")
    catalogue.write_bytes(good[:at] + b"X" + good[at + 1:])
    code, report = doctor(server)
    assert code == 3 and any("meta.db: the page at offset" in text for text in texts(report, "fail")), report
    catalogue.write_bytes(good)
    assert doctor(server)[0] == 0


def test_the_scrubber_finds_what_nobody_reads(start):
    server = start("--set", "scrub.bytes_per_second=100000000")
    fill(server)
    flip(parts_of(server)[1])
    # The first round may be over already: the next one begins with another start and no position.
    assert server.terminate() == 0
    (server.data_dir / "scrub_position").unlink(missing_ok=True)
    server = start("--set", "scrub.bytes_per_second=100000000")

    def damaged():
        component = json.loads(server.request("GET", "/healthz")[2])["components"].get("parts", {"ok": True})
        return not component["ok"] and component["message"]

    message = wait_for(damaged)
    assert parts_of(server)[1].name in message and "hash" in message, message
    metrics = server.request("GET", "/metrics")[2].decode()
    assert "\nscrub_damaged_objects 1\n" in metrics and re.search(r"^scrub_objects_total [3-9]", metrics, re.M)
    assert server.request("GET", "/healthz")[0] == 200, "a warning, not an outage"


def test_hangup_reloads_what_may_change(start, tmp_path):
    file = pathlib.Path(tmp_path) / "molesignal.toml"

    def write(text):
        file.write_text(text)

    write("[query]\nrows_max = 5\n[ingester]\nrow_bytes_max = 2048\n")
    server = start("--config", str(file))
    server.ingest("app", [{"n": n} for n in range(20)])
    assert len(server.query("SELECT n FROM logs.app")["rows"]) == 5

    def metric(name):
        return float(re.search(rf"^{name} (\S+)$", server.request("GET", "/metrics")[2].decode(), re.M)[1])

    def hang_up(expected):
        size = len(server.log_path.read_text())
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: expected in server.log_path.read_text()[size:])
        return server.log_path.read_text()[size:]

    write("[query]\nrows_max = 7\nthreads = 1\n[ingester]\nrow_bytes_max = 1024\n[telemetry]\nlog_level = \"debug\"\n")
    text = hang_up("at the next start only")
    assert "query.rows_max" in text and "ingester.row_bytes_max" in text and "settings=query.threads" in text, text
    assert len(server.query("SELECT n FROM logs.app")["rows"]) == 7
    long_row = {"text": "x" * 1500}
    assert server.ingest("app", [long_row, {"n": 1}])["errors"], "the new limit of a row"
    assert metric("config_reload_success") == 1
    before = metric("config_last_reload_timestamp_seconds")

    write("[query]\nrows_max = 0\n")
    text = hang_up("was not reloaded")
    assert "query.rows_max" in text
    assert metric("config_reload_success") == 0 and metric("config_last_reload_timestamp_seconds") == before
    assert len(server.query("SELECT n FROM logs.app")["rows"]) == 7, "the old configuration stays"

    file.unlink()
    hang_up("was not reloaded")
    assert metric("config_reload_success") == 0

    write("[query]\nrows_max = 9\n")
    hang_up("was reloaded")
    assert metric("config_reload_success") == 1
    assert len(server.query("SELECT n FROM logs.app")["rows"]) == 9
    assert server.terminate() == 0


def test_a_catalogue_from_an_older_backup_is_named(start):
    server = start()
    server.ingest("app", [{"n": n} for n in range(10)], "?commit=force")
    assert server.terminate() == 0
    older = (server.data_dir / "meta.db").read_bytes()
    server = start()
    server.ingest("app", [{"n": n} for n in range(5)], "?commit=force")
    mark = (server.data_dir / "meta.db").read_bytes()
    assert mark
    server.process.kill()
    server.process.wait()
    (server.data_dir / "meta.db-wal").unlink(missing_ok=True)
    (server.data_dir / "meta.db-shm").unlink(missing_ok=True)
    (server.data_dir / "meta.db").write_bytes(older)
    code, report = doctor(server)
    assert code == 3, report
    assert any("shard" in text for text in texts(report, "fail")), report
