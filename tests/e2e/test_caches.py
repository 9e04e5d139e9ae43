"""The caches of reading: a second query asks the object store for nothing, also after a restart; a disk cache that is
damaged, full, killed or somebody else's never changes an answer."""
import http.client
import os
import random
import threading
import time

import pytest
import s3_server

SEED = int(os.environ.get("MS_TEST_SEED") or time.time_ns() % 2**32)
FULL = bool(os.environ.get("MS_TEST_FULL"))
ALWAYS = ("--set", "cache.disk_cache.mode=always")
ROWS, PARTS = 6_000, 3
STATEMENTS = [
    "SELECT count(*), sum(n), sum(length(message)), count(DISTINCT trace_id) FROM logs.app",
    "SELECT level, count(*) FROM logs.app GROUP BY level ORDER BY level",
    "SELECT n, message FROM logs.app WHERE match(message, 'circuit') AND n % 7 = 0 ORDER BY n LIMIT 50",
    "SELECT * EXCLUDE (_timestamp) FROM logs.app WHERE level = 'error' ORDER BY n DESC LIMIT 20",
]


def fill(server):
    chance = random.Random(SEED)
    print(f"MS_TEST_SEED={SEED}")
    base = time.time_ns() // 1000 - 600_000_000
    words = "circuit breaker half open cache miss timeout connection refused user login ok".split()
    for part in range(PARTS):
        rows = [{"_timestamp": base + n * 1000, "n": n, "level": chance.choice(["info", "warn", "error"]),
                 "service": f"svc-{n % 5}", "trace_id": f"{chance.getrandbits(128):032x}",
                 "message": " ".join(chance.choices(words, k=8)) + f" {chance.getrandbits(64):x}"}
                for n in range(part * ROWS, (part + 1) * ROWS)]
        server.ingest("app", rows, "?commit=force")
    server.flush("app")


def answers(server):
    return [server.query(statement)["rows"] for statement in STATEMENTS]


def answers_until_killed(server):
    """The answers; None: the server died meanwhile."""
    try:
        return answers(server)
    except (OSError, http.client.HTTPException):
        return None


def stats(server):
    return [server.query(statement)["stats"] for statement in STATEMENTS]


def metric(server, series):
    for line in server.request("GET", "/metrics")[2].decode().splitlines():
        if line.startswith(series + " "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def cache_files(server):
    return sorted(path for path in (server.data_dir / "cache").glob("??/*") if path.parent.name != "tmp")


@pytest.fixture
def filled(start):
    """A server with rows in parts, and the answers; ended."""
    server = start("--set", "cache.memory_mb=0")
    fill(server)
    expected = answers(server)
    assert server.terminate() == 0
    return expected


def test_a_second_query_needs_no_request(start, filled):
    server = start(*ALWAYS)
    first = stats(server)
    assert sum(entry["object_gets"] for entry in first) > PARTS, first
    second = stats(server)
    assert [entry["object_gets"] for entry in second] == [0] * len(STATEMENTS), second
    assert all(entry["cache_hits"] > 0 for entry in second), second
    assert answers(server) == filled
    for series in ('cache_hits_total{cache="disk"}', 'cache_misses_total{cache="disk"}', 'cache_bytes{cache="disk"}',
                   'cache_entries{cache="disk"}', 'cache_hits_total{cache="parsed_footer"}', 'cache_hits_total{cache="index_head"}',
                   'cache_bytes{cache="footer"}'):
        assert metric(server, series) > 0, series
    assert server.terminate() == 0
    server = start(*ALWAYS)
    assert [entry["object_gets"] for entry in stats(server)] == [0] * len(STATEMENTS), "after a restart"
    assert answers(server) == filled


def test_memory_alone_keeps_footers_and_indexes(start, filled):
    server = start()
    stats(server)
    assert not (server.data_dir / "cache").exists(), "no disk cache for a local object store"
    again = server.query("SELECT count(*) FROM logs.app WHERE match(message, 'circuit')")
    assert again["stats"]["object_gets"] == 0 and again["stats"]["cache_hits"] > 0, again["stats"]
    assert answers(server) == filled


def test_queries_at_once_share_their_requests(start, filled):
    server = start(*ALWAYS, "--set", "query.concurrency=8")
    alone = server.query(STATEMENTS[0])["stats"]["scanned_bytes"]
    assert server.terminate() == 0
    for path in cache_files(server):
        path.unlink()
    server = start(*ALWAYS, "--set", "query.concurrency=8")
    found, threads = [], []
    for _ in range(8):
        threads.append(threading.Thread(target=lambda: found.append(server.query(STATEMENTS[0]))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["rows"] for answer in found] == [filled[0]] * 8
    # Each block came once. A request may have brought some of another's along to close a gap.
    assert alone <= sum(answer["stats"]["scanned_bytes"] for answer in found) < 2 * alone


def test_a_damaged_file_changes_no_answer(start, filled):
    server = start(*ALWAYS, "--set", "cache.memory_mb=0")
    stats(server)
    chance = random.Random(SEED)
    for path in cache_files(server):
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content[:chance.randrange(len(content))] if chance.random() < 0.2 else content)
    damaged = len(cache_files(server))
    assert answers(server) == filled
    assert 0 < metric(server, "cache_damaged_total") <= damaged
    assert answers(server) == filled
    assert sum(entry["object_gets"] for entry in stats(server)) == 0, "they were fetched again"


def test_a_disk_that_fails_costs_requests_only(start, filled):
    for code in ("resource_exhausted", "unavailable"):
        server = start(*ALWAYS, "--failpoints", f"disk_cache_before_rename=error({code})@1+", data="data")
        assert answers(server) == filled and answers(server) == filled
        assert metric(server, "cache_disk_failures_total") > 0 and cache_files(server) == []
        assert server.tail(400).count("the disk cache fails") == 1, server.tail()
        server.kill()
        server.log_path.unlink()


def test_the_size_is_bounded(start, filled):
    server = start(*ALWAYS, "--set", "cache.disk_cache.max_size_gb=0.0005", "--set", "cache.memory_mb=0")
    for _ in range(2):
        assert answers(server) == filled
        blocks = sum(-(-path.stat().st_size // 4096) * 4096 for path in cache_files(server))
        assert 0 < blocks <= 0.0005 * 2**30
    assert metric(server, 'cache_evictions_total{cache="disk"}') > 0


@pytest.mark.parametrize("place", ["disk_cache_before_rename", "disk_cache_after_rename", "disk_cache_before_remove", "random"])
def test_a_kill_while_it_fills_leaves_no_wrong_byte(start, filled, place):
    chance = random.Random(SEED)
    small = ("--set", "cache.disk_cache.max_size_gb=0.0005", "--set", "cache.memory_mb=0")
    for round_ in range(20 if FULL else 3):
        spec = () if place == "random" else ("--failpoints", f"{place}=kill@{1 + round_ * 2}")
        server = start(*ALWAYS, *small, *spec)
        if place == "random":
            threading.Timer(chance.uniform(0.005, 0.15), server.process.kill).start()
        for _ in range(50):
            seen = answers_until_killed(server)
            if seen is None:
                break
            assert seen == filled
        server.process.wait(10)
        server.log.close()
        server = start(*ALWAYS, *small)
        assert answers(server) == filled
        assert metric(server, "cache_damaged_total") == 0, "a kill tears no file"
        assert list((server.data_dir / "cache/tmp").iterdir()) == []
        server.kill()


def test_a_directory_of_another_server_is_left_alone(start, filled, tmp_path):
    shared = ("--set", f"cache.disk_cache.dir={tmp_path}/shared")
    first = start(*ALWAYS, *shared)
    assert answers(first) == filled
    second = start(*ALWAYS, *shared, data="other")
    second.ingest("app", [{"n": 1}], "?commit=force")
    assert second.query("SELECT n FROM logs.app")["rows"] == [[1]]
    health = second.request("GET", "/healthz")[2].decode()
    assert "disk cache" in health and "in use by another process" in health, health
    assert "disk cache" not in first.request("GET", "/healthz")[2].decode()


def test_on_s3_it_is_on_by_itself(start):
    if s3_server.find_program() is None:
        pytest.skip("no S3 server: `weed` is not installed (tests/e2e/requirements.txt)")
    with s3_server.S3Server() as store:
        arguments = [word for key, value in {
            "backend": "s3", "endpoint": store.endpoint, "bucket": store.bucket, "prefix": "caches",
            "access_key": store.access_key, "secret_key": store.secret_key}.items()
            for word in ("--set", f"store.object.{key}={value}")]
        server = start(*arguments, "--set", "cache.memory_mb=0", "--set", "cache.disk_cache.mode=never")
        fill(server)
        expected = answers(server)
        cold = sum(entry["object_gets"] for entry in stats(server))
        assert server.terminate() == 0
        server = start(*arguments)
        first = sum(entry["object_gets"] for entry in stats(server))
        assert 0 < first < cold, (first, cold)
        got = metric(server, 'object_store_operations_total{backend="s3",op="get"}')
        assert answers(server) == expected
        assert metric(server, 'object_store_operations_total{backend="s3",op="get"}') == got, "the store was not asked"
        server.kill()
        server = start(*arguments)
        assert sum(entry["object_gets"] for entry in stats(server)) == 0, "after a kill"
        assert answers(server) == expected
