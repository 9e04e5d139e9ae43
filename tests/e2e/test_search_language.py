"""The search language and what stands beside it: pages, histogram, rows around an event, facets."""
import collections
import json
import random
import subprocess
import threading

import pytest
from server_process import default_binary

BASE_US = 1_700_000_000_000_000
WORDS = ["payment", "failed", "timeout", "ok", "retry", "connection", "refused"]


def ask(server, path, expect=200, **body):
    status, _, answer = server.request("POST", path, {"stream": "app", **body})
    assert status == expect, answer[:2000].decode(errors="replace")
    return json.loads(answer)


def search(server, statement, expect=200, **body):
    return ask(server, "/api/v1/query", expect, language="search", statement=statement, **body)


def column(answer, name):
    index = answer["columns"].index(name)
    return [row[index] for row in answer["rows"]]


@pytest.fixture
def start_kept(start):
    """Servers that keep old rows."""
    return lambda *arguments: start("--set", "compactor.retention_days=36500", *arguments)


def make_rows(count, seed):
    choice = random.Random(seed)
    return [{"_timestamp": BASE_US + choice.randrange(3_600_000_000), "n": n,
             "level": choice.choice(["info", "info", "error", "warn"]),
             "service": choice.choice(["cart", "checkout", "it's \"quoted\""]),
             "status": choice.choice([200, 200, 404, 500]),
             "message": " ".join(choice.choices(WORDS, k=4)),
             **({"user": choice.choice("abc")} if choice.random() < 0.3 else {})} for n in range(count)]


@pytest.fixture
def filled(start_kept):
    """A server with the same rows in parts and in memory."""
    server, rows = start_kept(), make_rows(3_000, 7)
    server.ingest("app", rows[:1_500])
    server.flush("app")
    server.ingest("app", rows[1_500:])
    return server, rows


def has(row, word):
    return word in row["message"].split()


CASES = [
    ("", lambda r: True),
    ("failed", lambda r: has(r, "failed")),
    ("failed timeout", lambda r: has(r, "failed") and has(r, "timeout")),
    ("failed -timeout", lambda r: has(r, "failed") and not has(r, "timeout")),
    ("failed OR timeout", lambda r: has(r, "failed") or has(r, "timeout")),
    ("NOT (failed OR timeout)", lambda r: not has(r, "failed") and not has(r, "timeout")),
    ('"connection refused"', lambda r: "connection refused" in r["message"]),
    ("conn*", lambda r: has(r, "connection")),
    ("level:error", lambda r: r["level"] == "error"),
    ("level:(error OR warn) ok", lambda r: r["level"] in ("error", "warn") and has(r, "ok")),
    ("-level:info status:>=404", lambda r: r["level"] != "info" and r["status"] >= 404),
    ("status:[404 TO 500}", lambda r: r["status"] == 404),
    ("status:5*", lambda r: r["status"] == 500),
    ("message:retry -service:cart", lambda r: has(r, "retry") and r["service"] != "cart"),
    ('service:"it\'s \\"quoted\\""', lambda r: r["service"].startswith("it's")),
    ("service:/^c.*t$/", lambda r: r["service"] in ("cart", "checkout")),
    ("user:*", lambda r: "user" in r),
    ("-user:*", lambda r: "user" not in r),
    ("-user:a", lambda r: r.get("user") != "a"),
    ("user:[a TO b]", lambda r: r.get("user") in ("a", "b")),
    (f"_timestamp:>={BASE_US + 1_800_000_000}", lambda r: r["_timestamp"] >= BASE_US + 1_800_000_000),
]


def test_finds_what_python_finds(filled):
    server, rows = filled
    for statement, wanted in CASES:
        answer = search(server, statement, limit=5_000)
        expected = sorted(row["n"] for row in rows if wanted(row))
        assert expected, statement
        assert sorted(column(answer, "n")) == expected, statement
        times = column(answer, "_timestamp")
        assert times == sorted(times, reverse=True), statement
        assert answer["next_cursor"] is None
        assert ask(server, "/api/v1/query/histogram", statement=statement)["total"] == len(expected), statement
    assert len(search(server, "")["rows"]) == 100, "the default limit"


def test_other_forms_have_the_same_rows(filled):
    server, _ = filled
    wanted = column(search(server, "level:error", limit=7), "n")
    for accept in ("application/x-ndjson", "text/csv"):
        body = {"language": "search", "stream": "app", "statement": "level:error", "limit": 7}
        status, _, answer = server.request("POST", "/api/v1/query", body, {"Accept": accept})
        assert status == 200
        lines = answer.decode().splitlines()
        if accept == "text/csv":
            at = lines[0].split(",").index("n")
            assert [int(line.split(",")[at]) for line in lines[1:]] == wanted
        else:
            assert [json.loads(line)["n"] for line in lines] == wanted


@pytest.mark.parametrize("page_rows", [7, 100])
def test_pages_have_each_old_row_once_while_rows_arrive(start_kept, page_rows):
    server = start_kept()
    old = [{"_timestamp": BASE_US, "n": n, "message": "same time"} for n in range(1_000)]
    server.ingest("app", old[:400])
    server.flush("app")
    server.ingest("app", old[400:])
    stop, problems = threading.Event(), []

    def write():
        n = 1_000_000
        try:
            while not stop.is_set():
                server.ingest("app", [{"_timestamp": BASE_US + n % 2, "n": n + i, "message": "same time"}
                                      for i in range(5)])
                if n % 100 == 0:
                    server.request("POST", "/api/v1/flush")
                n += 5
        except Exception as error:  # noqa: BLE001
            problems.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen, cursor, pages = [], None, 0
        while True:
            answer = search(server, "same", limit=page_rows, time_range={"start": "-20000d"},
                            **({"cursor": cursor} if cursor else {}))
            seen += column(answer, "n")
            pages += 1
            cursor = answer["next_cursor"]
            if cursor is None:
                break
            assert len(answer["rows"]) == page_rows
    finally:
        stop.set()
        writer.join()
    assert not problems
    counts = collections.Counter(seen)
    assert max(counts.values()) == 1
    assert {n for n in seen if n < 1_000} == set(range(1_000))
    assert pages >= 1_000 // page_rows


def test_a_cursor_fits_only_its_search(filled):
    server, _ = filled
    cursor = search(server, "failed", limit=5)["next_cursor"]
    again = search(server, "failed  AND *", limit=5, expect=400, cursor=cursor)
    assert "of another search" in again["message"]
    assert search(server, " failed ", limit=3, cursor=cursor)["rows"], "the same search, written otherwise"
    for wrong in (cursor[:-2], cursor[:-1] + ("0" if cursor[-1] != "0" else "1"), "", "x", cursor + "00", "02" + cursor[2:]):
        assert "'cursor' is damaged" in search(server, "failed", expect=400, cursor=wrong)["message"]
    search(server, "failed", expect=400, cursor=cursor, time_range={"start": "-1h"})
    status, _, body = server.request("POST", "/api/v1/query", {"statement": "SELECT 1", "cursor": cursor})
    assert status == 400 and b"'cursor' is for the language 'search'" in body


def test_histogram_sums_equal_the_counts(filled):
    server, rows = filled
    bounds = {"start": BASE_US, "end": BASE_US + 3_600_000_000}
    answer = ask(server, "/api/v1/query/histogram", statement="failed", time_range=bounds)
    assert (answer["interval"], answer["by"]) == ("1m", "level")
    expected = collections.Counter()
    for row in rows:
        if has(row, "failed"):
            expected[row["_timestamp"] // 60_000_000 * 60_000_000, row["level"]] += 1
    found = {(bucket["start"], value["value"]): value["count"]
             for bucket in answer["buckets"] for value in bucket["values"]}
    assert found == dict(expected)
    for bucket in answer["buckets"]:
        assert bucket["count"] == sum(value["count"] for value in bucket["values"])
    count = server.query("SELECT count(*) FROM logs.app WHERE match_all('failed')")["rows"][0][0]
    assert answer["total"] == sum(bucket["count"] for bucket in answer["buckets"]) == count
    for interval, by in (("5m", "service"), ("1h", "user"), ("1d", ""), ("1s", None)):
        extra = {"interval": interval} if interval != "1s" else {}
        other = ask(server, "/api/v1/query/histogram", statement="failed", **({"by": by} if by is not None else {}), **extra)
        assert other["total"] == count, (interval, by)
    assert "values" not in ask(server, "/api/v1/query/histogram", by="", statement="")["buckets"][0]
    for wrong in ({"interval": "5x"}, {"interval": "1s"}, {"by": "nothing"}, {"by": 7}):
        ask(server, "/api/v1/query/histogram", 400, statement="", **wrong)
    assert "'by' has 3000 values" in ask(server, "/api/v1/query/histogram", 422, statement="", by="n")["message"]


def test_search_around(filled):
    server, rows = filled
    everything = search(server, "", limit=5_000)
    order = list(reversed(column(everything, "n")))
    ids = list(reversed(column(everything, "_event_id")))
    by_n = {row["n"]: row for row in rows}
    for at in (0, 1, 500, 1_499, 2_998, 2_999):
        answer = ask(server, "/api/v1/query/search_around", event_id=ids[at], before=3, after=4)
        assert column(answer, "n") == order[max(0, at - 3):at + 5]
        assert column(answer, "_event_id")[answer["anchor"]] == ids[at]
        narrowed = ask(server, "/api/v1/query/search_around", event_id=ids[at], before=3, after=4, statement="level:error")
        errors_before = [n for n in order[:at] if by_n[n]["level"] == "error"][-3:]
        errors_after = [n for n in order[at + 1:] if by_n[n]["level"] == "error"][:4]
        assert column(narrowed, "n") == errors_before + [order[at]] + errors_after
        assert column(narrowed, "_event_id")[narrowed["anchor"]] == ids[at]
    moment = by_n[order[1_000]]["_timestamp"]
    answer = ask(server, "/api/v1/query/search_around", event_timestamp_us=moment, before=2, after=2)
    assert [by_n[n]["_timestamp"] for n in column(answer, "n")] == [by_n[n]["_timestamp"] for n in order[998:1002]]
    assert answer["anchor"] == 2
    late = ask(server, "/api/v1/query/search_around", event_timestamp_us=BASE_US + 3_600_000_001, before=2, after=2)
    assert (len(late["rows"]), late["anchor"]) == (2, None)
    assert len(ask(server, "/api/v1/query/search_around", event_id=ids[1_500])["rows"]) == 101
    hinted = ask(server, "/api/v1/query/search_around", event_id=ids[9], event_timestamp_us=by_n[order[9]]["_timestamp"],
                 before=0, after=0)
    assert column(hinted, "_event_id") == [ids[9]]
    for wrong, status in (({"event_id": "99-1"}, 404), ({"event_id": "x"}, 400), ({}, 400),
                          ({"event_id": ids[0], "before": 1_001}, 400), ({"event_id": ids[0], "after": -1}, 400),
                          ({"event_timestamp_us": 2**63 - 1}, 400)):
        ask(server, "/api/v1/query/search_around", status, **wrong)


def test_facets_count_as_python_does(filled):
    server, rows = filled
    chosen = [row for row in rows if has(row, "failed")]
    answer = ask(server, "/api/v1/query/facets", statement="failed", top=2)
    assert (answer["rows"], answer["fields_total"]) == (len(chosen), 6)
    facets = {field["name"]: field for field in answer["fields"]}
    assert set(facets) == {"n", "level", "service", "status", "user"}, "all but the full-text field"
    for name, facet in facets.items():
        values = collections.Counter(row[name] for row in chosen if name in row)
        assert facet["rows"] == sum(values.values()), name
        assert abs(facet["distinct"] - len(values)) <= 0.1 * len(values), name
        expected = sorted(values.items(), key=lambda item: (-item[1], item[0]))[:2]
        assert [(top["value"], top["count"]) for top in facet["top"]] == expected, name
    assert (facets["status"]["type"], facets["level"]["type"]) == ("int64", "string")
    one = ask(server, "/api/v1/query/facets", fields=["message", "_timestamp"], top=1)
    assert [field["name"] for field in one["fields"]] == ["message", "_timestamp"]
    for wrong in ({"fields": ["nothing"]}, {"fields": ["n"] * 21}, {"top": 101}, {"fields": "n"}):
        ask(server, "/api/v1/query/facets", 400, **wrong)


NASTY = [
    ("' OR 1=1 --", "search"), ("level:'; DROP TABLE app; --", None), ("\x00", "control character"),
    ("a\x1eb", "control character"), ("\"open", "not closed"), ("(" * 5_000, "more than 24 levels"),
    ("-" + "-(" * 40 + "a", None), ("a " * 65, "more than 64 terms"), ("levle:error", "the nearest are level"),
    ("status:high", "is not a number"), ("status:1e999", "is not a number"), ("service:/(/", "missing )"),
    ("x" * 20_000, "the most is 16384"), ("\"" + "é" * 5_000 + "\"", "the limit is 1024"), ("x" * 200_000, "the most is 16384"),
    ("_timestamp:>soon", "is not a time"), ("a OR", "is missing"), ("http:x", "no field is called 'http'"), ("http://x", "put a text that begins with '/' in quotes"),
]


def test_nasty_texts_are_refused_with_a_reason(filled):
    server, rows = filled
    for statement, reason in NASTY:
        status, _, body = server.request("POST", "/api/v1/query", {"language": "search", "stream": "app", "statement": statement})
        answer = json.loads(body)
        if reason is None:
            assert status in (200, 400), statement[:100]
        elif reason == "search":
            assert status == 200 or "search" in answer["message"]
        else:
            assert status == 400 and reason in answer["message"], (statement[:100], answer)
    status, _, body = server.request("POST", "/api/v1/query", {"language": "search", "stream": "app", "statement": "x" * 1_000_000})
    assert status == 413 and b"at most 262144" in body
    for quote in ("'", "\\'", "''", "'--", "/*", "\u2028", "\U0001f600", "%s", "{}", "\\"):
        quoted = quote.replace("\\", "\\\\")
        assert search(server, f'service:"{quoted}"')["rows"] == [], quote
        assert search(server, f'-service:"{quoted}"', limit=5_000)["rows"], quote
    search(server, "x", 404, stream="nothing")
    assert "'stream' is missing" in search(server, "x", 400, stream=None)["message"]
    for limit in (0, -1, 10_001):
        search(server, "", 400, limit=limit)
    assert len(search(server, "", limit=5_000)["rows"]) == len(rows), "nothing was changed"


def test_deep_and_wide_searches_pass_the_guard(filled):
    server, _ = filled
    everything = len(search(server, "", limit=5_000)["rows"])
    deep = "-(" * 12 + "nothing OR (nowhere" + ")" * 13
    for statement in (deep.replace("(nowhere)", "nowhere"), "NOT " * 24 + "user:*", "(" * 24 + "level:*" + ")" * 24):
        search(server, statement)
    wide = " OR ".join(f"level:x{n}" for n in range(32)) + " OR " + " OR ".join(f"w{n}" for n in range(31)) + " OR level:*"
    assert len(search(server, wide, limit=5_000)["rows"]) == everything


def test_long_rows_make_shorter_pages(start_kept):
    server = start_kept()
    for n in range(30):
        server.ingest("app", [{"_timestamp": BASE_US + n, "n": n, "message": "x" * 900_000}])
    seen, cursor = [], None
    while True:
        answer = search(server, "", limit=100, **({"cursor": cursor} if cursor else {}))
        seen.append(column(answer, "n"))
        assert not answer["partial"]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == 2 and sum(seen, []) == list(range(29, -1, -1))


def test_from_the_command_line(filled):
    server, rows = filled
    done = subprocess.run([default_binary(), "query", "--url", f"http://{server.addresses['http']}", "--stream", "app",
                           "--search", "level:error failed", "--limit", "5000", "-o", "ndjson"],
                          capture_output=True, timeout=60, check=True)
    found = sorted(json.loads(line)["n"] for line in done.stdout.splitlines())
    assert found == [row["n"] for row in rows if row["level"] == "error" and has(row, "failed")]
    for arguments in (["--search", "x"], ["--search", "x", "--stream", "app", "SELECT 1"], []):
        wrong = subprocess.run([default_binary(), "query", *arguments], capture_output=True, timeout=60, check=False)
        assert wrong.returncode == 2, arguments
