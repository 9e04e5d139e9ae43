"""Rows in by HTTP JSON, out by SQL: visible at the acknowledgement, in every output form, hot and flushed."""
import csv
import gzip
import io
import json
import time

import pyarrow.ipc
import pytest
import zstandard


def now_us():
    return time.time_ns() // 1000


def count(server, stream, where="true"):
    return server.query(f"SELECT count(*) FROM logs.{stream} WHERE {where}")["rows"][0][0]


def test_a_row_is_visible_at_its_acknowledgement(server):
    for number in range(50):
        assert server.ingest("app", [{"n": number}]) == {"accepted": 1, "rejected": 0, "errors": []}
        assert count(server, "app") == number + 1


def test_object_array_and_ndjson(server):
    for body in ['{"a": 1}', '[{"a": 2}, {"a": 3}]', '{"a": 4}\n{"a": 5}\n', '\n{"a": 6}\n\n']:
        status, _, _ = server.request("POST", "/api/v1/ingest/logs/app", body)
        assert status == 200
    assert server.query("SELECT a FROM logs.app ORDER BY a")["rows"] == [[n] for n in range(1, 7)]


def test_bad_rows_do_not_spoil_good_ones(server):
    status, _, body = server.request("POST", "/api/v1/ingest/logs/app", '{"a":1}\n{"a":\n{"a":3}\n[1]\n')
    answer = json.loads(body)
    assert status == 200 and answer["accepted"] == 2, answer
    assert answer["rejected"] == len(answer["errors"]) > 0
    assert all(error["reason"] and isinstance(error["index"], int) for error in answer["errors"])
    assert server.query("SELECT a FROM logs.app ORDER BY a")["rows"] == [[1], [3]]


def test_compressed_bodies(server):
    body = b'{"a":1}\n' * 1000
    for encoding, data in [("gzip", gzip.compress(body)), ("zstd", zstandard.compress(body))]:
        status, _, answer = server.request("POST", "/api/v1/ingest/logs/app", data, {"Content-Encoding": encoding})
        assert status == 200 and json.loads(answer)["accepted"] == 1000
    assert count(server, "app") == 2000


@pytest.mark.parametrize("flushed", [False, True])
def test_types_and_output_forms(server, flushed):
    rows = [{"_timestamp": now_us(), "i": 2**53 + 1, "u": 2**64 - 1, "f": 0.1, "s": 'q"\\é\u0000x', "b": True,
             "nested": {"deep": {"x": 1}}, "list": [1, "two"], "nothing": None},
            {"_timestamp": now_us(), "i": -5}]
    server.ingest("app", rows, "?commit=force" if flushed else "")
    names = 'i, u, f, s, b, "nested.deep.x", list'
    answer = server.query(f"SELECT {names} FROM logs.app ORDER BY i DESC")
    assert answer["columns"] == ["i", "u", "f", "s", "b", "nested.deep.x", "list"]
    first = answer["rows"][0]
    assert first[:6] == [2**53 + 1, 2**64 - 1, 0.1, 'q"\\é\u0000x', True, 1]
    assert json.loads(first[6]) == [1, "two"]
    assert answer["rows"][1] == [-5] + [None] * 6
    assert answer["stats"]["hot_rows"] == (0 if flushed else 2)
    assert answer["stats"]["parts_total"] == (1 if flushed else 0)

    def ask(media):
        status, headers, body = server.request(
            "POST", "/api/v1/query", {"language": "sql", "statement": f"SELECT {names} FROM logs.app ORDER BY i DESC"},
            {"Accept": media})
        assert status == 200 and headers["Content-Type"].startswith(media), (headers, body)
        return body

    lines = [json.loads(line) for line in ask("application/x-ndjson").splitlines()]
    assert lines[0]["i"] == 2**53 + 1 and lines[1]["s"] is None
    table = list(csv.reader(io.StringIO(ask("text/csv").decode())))
    assert table[0] == ["i", "u", "f", "s", "b", "nested.deep.x", "list"] and table[1][0] == str(2**53 + 1)
    arrow = pyarrow.ipc.open_stream(ask("application/vnd.apache.arrow.stream")).read_all()
    assert arrow.column("i").to_pylist() == [2**53 + 1, -5] and arrow.column("u").to_pylist() == [2**64 - 1, None]


def test_time_keeps_its_nanoseconds(server):
    moment = time.time_ns() // 10**9 * 10**9 + 123456789
    server.ingest("app", [{"timestamp": moment, "a": 1}])
    row = server.query("SELECT epoch_us(_timestamp), _timestamp_nanos FROM logs.app")["rows"][0]
    assert row == [moment // 1000, 789]


def test_widening_does_not_depend_on_order_or_place(server):
    for stream, order in [("one", [1, 2.5, "x", True]), ("two", [True, "x", 2.5, 1])]:
        for number, value in enumerate(order):
            server.ingest(stream, [{"v": value}], "?commit=force" if number % 2 else "")
        rows = server.query(f"SELECT v FROM logs.{stream} ORDER BY v")
        assert rows["column_types"] == ["VARCHAR"]
        assert rows["rows"] == [["1"], ["2.5"], ["true"], ["x"]]


def test_a_new_field_is_there_in_the_next_query(server):
    server.ingest("app", [{"a": 1}], "?commit=force")
    server.ingest("app", [{"a": 2, "fresh": "yes"}])
    assert server.query("SELECT a, fresh FROM logs.app ORDER BY a")["rows"] == [[1, None], [2, "yes"]]
    status, _, body = server.request("POST", "/api/v1/query",
                                     {"language": "sql", "statement": "SELECT frsh FROM logs.app"})
    assert status == 400 and "fresh" in json.loads(body)["message"]


def test_rows_survive_a_kill(start):
    server = start()
    for number in range(20):
        server.ingest("app", [{"n": number}], "?commit=force" if number == 10 else "")
    server.kill()
    server = start()
    assert server.query("SELECT n FROM logs.app ORDER BY n")["rows"] == [[n] for n in range(20)]
    server.terminate()
    server = start()
    assert count(server, "app") == 20


def test_histogram_and_match(server):
    base = now_us() // 300_000_000 * 300_000_000
    server.ingest("app", [{"_timestamp": base + n * 60_000_000, "message": f"Error code-{n} in Module_{n % 2}"}
                          for n in range(10)])
    rows = server.query("SELECT histogram(_timestamp, '5m') AS t, count(*) FROM logs.app GROUP BY t ORDER BY t")["rows"]
    assert [row[1] for row in rows] == [5, 5]
    assert count(server, "app", "match(message, 'error module_1')") == 5
    assert count(server, "app", "match_all('\"code 3\"')") == 1
    assert count(server, "app", "match(message, 'error -module_1')") == 5
    assert count(server, "app", "match(message, 'cod*')") == 10
    assert count(server, "app", "match(message, 'cod')") == 0


def test_time_range_and_newest_first(server):
    base = now_us()
    server.ingest("app", [{"_timestamp": base - n * 1_000_000, "n": n} for n in range(100)], "?commit=force")
    server.ingest("app", [{"_timestamp": base + 1_000_000, "n": -1}])
    answer = server.query("SELECT n FROM logs.app ORDER BY _timestamp DESC LIMIT 3")
    assert answer["rows"] == [[-1], [0], [1]]
    answer = server.query("SELECT count(*) FROM logs.app",
                          time_range={"start": base - 10_000_000, "end": base})
    assert answer["rows"] == [[10]]


def test_streams_and_settings(server):
    server.ingest("app", [{"a": 1}, {"a": 2}], "?commit=force")
    server.ingest("app", [{"a": 3}])
    streams = json.loads(server.request("GET", "/api/v1/streams")[2])["streams"]
    assert [(s["name"], s["rows"], s["hot_rows"], s["parts"]) for s in streams] == [("app", 3, 1, 1)]
    identifier = streams[0]["id"]
    status, _, body = server.request("PUT", f"/api/v1/streams/{identifier}/settings", {"retention_days": 7})
    assert status == 200 and json.loads(body)["effective_retention"] == {"days": 7}
    status, _, body = server.request("PUT", f"/api/v1/streams/{identifier}/settings", {"retention": 7})
    assert status == 400 and "retention_days" in json.loads(body)["message"]
    assert server.request("DELETE", f"/api/v1/streams/{identifier}")[0] == 200
    assert server.request("GET", f"/api/v1/streams/{identifier}")[0] == 404
    server.ingest("app", [{"b": 1}])
    assert count(server, "app") == 1


def test_errors_say_what_to_do(server):
    cases = [("POST", "/api/v1/ingest/logs/bad%20name", '{"a":1}', 400, "[A-Za-z0-9_.-]"),
             ("POST", "/api/v1/query", '{"statement": 1}', 400, "statement"),
             ("POST", "/api/v1/query", '{"statement": "SELECT 1", "limt": 2}', 400, "limit"),
             ("POST", "/api/v1/query", '{"statement": "SELECT * FROM logs.nope"}', 404, "nope"),
             ("POST", "/api/v1/query", '{"statement": "COPY logs.app TO \'/tmp/x\'"}', 403, ""),
             ("GET", "/api/v1/nothing", None, 404, "openapi"),
             ("DELETE", "/api/v1/query", None, 405, "POST"),
             ("POST", "/api/v1/ingest/logs/app?commit=now", '{"a":1}', 400, "wait_for")]
    server.ingest("app", [{"a": 1}])
    for method, path, body, wanted, hint in cases:
        status, headers, answer = server.request(method, path, body)
        assert status == wanted, (path, body, answer)
        envelope = json.loads(answer)
        assert hint in envelope["message"] and envelope["error"], envelope
        assert headers["X-Request-Id"] == envelope["request_id"]


def test_body_limit_names_itself(start):
    server = start("--set", "http.body_bytes_max=100000", "--set", "ingester.row_bytes_max=50000")
    status, _, answer = server.request("POST", "/api/v1/ingest/logs/app", gzip.compress(b'{"a":"' + b"x" * 10**7),
                                       {"Content-Encoding": "gzip"})
    assert status == 413 and "http.body_bytes_max" in json.loads(answer)["message"], answer


def test_commit_modes(start):
    server = start()
    # On a quiet server a flush by age is due in minutes only.
    assert server.ingest("app", [{"a": 1}], "?commit=wait_for")["flushed"] is True
    stats = server.query("SELECT a FROM logs.app")["stats"]
    assert stats["hot_rows"] == 0 and stats["parts_total"] == 1


def test_newest_rows_are_found_without_reading_the_rest(start):
    server = start("--set", "ingester.row_group_rows=2000")
    now = now_us()
    for minutes in range(4, -1, -1):
        begin = now - minutes * 60_000_000
        server.ingest("app", [{"_timestamp": begin - 5000 * n, "n": minutes * 10_000 + n} for n in range(10_000)])
        server.request("POST", "/api/v1/flush", "{}")
    everything = server.query("SELECT sum(n) FROM logs.app")["stats"]
    assert everything["row_groups_total"] >= 25 and everything["row_groups_skipped"] == 0
    assert everything["scanned_rows"] == 50_000
    newest = server.query("SELECT * FROM logs.app ORDER BY _timestamp DESC LIMIT 10")
    assert [row[newest["columns"].index("n")] for row in newest["rows"]] == list(range(10))
    stats = newest["stats"]
    assert stats["row_groups_total"] - stats["row_groups_skipped"] <= 2, stats
