"""Parts that objects list instead of the catalogue (storage.parquet_file_meta_dump.*): every answer is as before."""
import contextlib
import json
import pathlib
import sqlite3
import subprocess
import time

import pyarrow.parquet

import promises
from server_process import default_binary

DAY = 86_400_000_000
SETTINGS = ("--set", "compactor.interval_secs=1", "--set", "compactor.retention_days=0", "--set", "compactor.cpu_percent=100",
            "--set", "ingester.flush_interval_secs=1", "--set", "ingester.past_max_secs=315360000")
DUMPING = ("--set", "storage.parquet_file_meta_dump.cold_after_days=0", "--set", "storage.parquet_file_meta_dump.interval_secs=1")
NOT_DUMPING = ("--set", "storage.parquet_file_meta_dump.enabled=false")
DAYS = range(3, 11)
STATEMENTS = ("SELECT count(*), sum(n), count(DISTINCT n), min(_timestamp), max(_timestamp) FROM logs.app",
              "SELECT service, count(*), sum(n) FROM logs.app GROUP BY service ORDER BY service",
              "SELECT n, message FROM logs.app WHERE match(message, 'row77')",
              "SELECT n FROM logs.app ORDER BY _timestamp DESC, n LIMIT 25",
              "SELECT n, message FROM logs.app WHERE service = 's3' ORDER BY n LIMIT 40")


def metric(server, name):
    status, _, body = server.request("GET", "/metrics")
    assert status == 200
    return sum(float(line.rsplit(" ", 1)[1]) for line in body.decode().splitlines()
               if line.startswith(name) and line[len(name)] in " {")


def wait_for(what, server, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain:\n{server.tail()}"
        time.sleep(0.1)


def live_rows(server):
    """Parts that the catalogue's table has."""
    with contextlib.closing(sqlite3.connect(f"file:{server.data_dir}/meta.db?mode=ro", uri=True, timeout=20)) as connection:
        return connection.execute("SELECT count(*) FROM parquet_file_meta WHERE NOT deleted").fetchone()[0]


def fill(server, now):
    number = 0
    for age in (*DAYS, 0):
        rows = []
        for _ in range(60):
            rows.append({"_timestamp": now - age * DAY - number, "n": number, "service": f"s{number % 5}",
                         "message": f"this is row{number} of many"})
            number += 1
        server.ingest("app", rows, "?commit=force")


def answers(server, now):
    """Of all time, and of single days."""
    found = [server.query(statement) for statement in STATEMENTS]
    for age in (*DAYS, 0):
        found += [server.query(statement, time_range={"start": now - age * DAY - 1_000_000, "end": now - age * DAY + 1})
                  for statement in STATEMENTS[:3]]
    return [(answer["rows"], answer["stats"]["parts_total"]) for answer in found]


def stream_of(server, name="app"):
    streams = json.loads(server.request("GET", "/api/v1/streams?limit=1000")[2])["streams"]
    return next(entry for entry in streams if entry["name"] == name)


def doctor(server):
    done = subprocess.run([default_binary(), "doctor", "--data-dir", server.data_dir, "-o", "json"], check=False,
                          capture_output=True)
    assert done.returncode in (0, 3), (done.returncode, done.stderr)
    return json.loads(done.stdout)


def lists(server):
    return sorted(pathlib.Path(server.data_dir, "objects").rglob("_parquet_file_meta_dump/**/*.parquet"))


def test_answers_are_the_same(start):
    now = time.time_ns() // 1000
    server = start(*SETTINGS, *NOT_DUMPING)
    fill(server, now)
    wait_for(lambda: live_rows(server) == len(DAYS) + 1, server)
    before, stream = answers(server, now), stream_of(server)
    assert before[0][0][0][:3] == [540, 540 * 539 // 2, 540] and before[0][1] == len(DAYS) + 1
    assert metric(server, "parquet_file_meta_dump_partitions_written_total") == 0
    server.terminate()

    server = start(*SETTINGS, *DUMPING)
    wait_for(lambda: live_rows(server) == 1, server)
    assert answers(server, now) == before
    assert stream_of(server) == stream
    assert metric(server, "parquet_file_meta_dump_rows_written_total") == len(DAYS)
    promises.record("old-parts", "e2e/part_dump", f"{len(before)} answers over {len(DAYS)} days whose parts an object lists are those of before")
    report = doctor(server)
    assert report["ok"] and report["warnings"] == 0, report

    # Any reader can have the lists.
    assert len(lists(server)) == len(DAYS)
    table = pyarrow.parquet.read_table(lists(server)[0])
    assert table.num_rows == 1 and table["rows"][0].as_py() == 60
    assert [entry["kind"] for entry in table["objects"][0].as_py()] == ["parquet", "index"]

    # Late rows join the list of their day.
    server.ingest("app", [{"_timestamp": now - 5 * DAY, "n": 1_000_000, "service": "late", "message": "late"}], "?commit=force")
    wait_for(lambda: live_rows(server) == 1, server)
    assert server.query("SELECT count(*), max(n) FROM logs.app")["rows"] == [[541, 1_000_000]]
    assert len(lists(server)) == len(DAYS) + 1, "the old list stays for queries that run"
    server.terminate()
    report = doctor(server)
    assert report["ok"] and report["warnings"] == 0, report

    # Without dumping, and after a restart, what is dumped is read.
    server = start(*SETTINGS, *NOT_DUMPING)
    assert live_rows(server) == 1
    assert server.query("SELECT count(*), max(n) FROM logs.app")["rows"] == [[541, 1_000_000]]


def test_an_index_that_is_rebuilt_brings_its_day_back(start):
    now = time.time_ns() // 1000
    server = start(*SETTINGS, *DUMPING, "--set", "ingester.index=false")
    fill(server, now)
    wait_for(lambda: live_rows(server) == 1, server)
    before = answers(server, now)
    server.terminate()
    done = subprocess.run([default_binary(), "index", "rebuild", "--data-dir", str(server.data_dir)], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    server = start(*SETTINGS, *NOT_DUMPING)
    assert live_rows(server) == len(DAYS) + 1
    assert answers(server, now) == before
    server.terminate()
    server = start(*SETTINGS, *DUMPING)
    wait_for(lambda: live_rows(server) == 1, server)
    assert answers(server, now) == before


def test_retention_takes_parts_of_lists(start):
    now = time.time_ns() // 1000
    server = start(*SETTINGS, *DUMPING)
    fill(server, now)
    wait_for(lambda: live_rows(server) == 1, server)
    server.terminate()
    server = start(*SETTINGS, *DUMPING, "--set", "compactor.retention_days=8")
    rows = 60 * (len([age for age in DAYS if age < 8]) + 1)
    wait_for(lambda: server.query("SELECT count(*) FROM logs.app")["rows"][0][0] <= rows, server)
    assert server.query("SELECT count(*) FROM logs.app")["rows"] == [[rows]]
    assert doctor(server)["ok"]
    # A stream that is deleted takes its lists along.
    status, _, _ = server.request("DELETE", f"/api/v1/streams/{stream_of(server)['id']}")
    assert status in (200, 204)
    wait_for(lambda: live_rows(server) == 0 and metric(server, "parquet_file_meta_dump_delete_partitions_dropped_total") >= len(DAYS),
             server)
    assert doctor(server)["ok"]


def test_a_damaged_list_is_named(start):
    now = time.time_ns() // 1000
    server = start(*SETTINGS, *DUMPING)
    fill(server, now)
    wait_for(lambda: live_rows(server) == 1, server)
    server.terminate()
    path = lists(server)[0]
    good = path.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 4
    path.write_bytes(bad)
    report = doctor(server)
    assert not report["ok"]
    assert any(path.name in finding["text"] and "list of 1 parts" in finding["text"] for finding in report["findings"]), report
    assert not any(finding["area"] == "orphans" for finding in report["findings"]), report

    server = start(*SETTINGS, *DUMPING)
    status, _, body = server.request("POST", "/api/v1/query", {"language": "sql", "statement": STATEMENTS[0]})
    assert status == 500 and json.loads(body)["error"] == "corruption", (status, body)
    assert f"the list of the parts of {path.parent.name}: object" in server.tail(), server.tail()
    # Other times go on, and new rows are taken.
    server.ingest("app", [{"n": 5_000_000}])
    assert server.query("SELECT count(*), max(n) FROM logs.app", time_range={"start": now - DAY, "end": now + DAY})["rows"] == [[61, 5_000_000]]
    path.write_bytes(good)
    assert server.query("SELECT count(*) FROM logs.app")["rows"] == [[541]]
