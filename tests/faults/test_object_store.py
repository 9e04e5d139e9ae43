"""The object store fails in every way it can, behind a proxy that misbehaves, in front of a real S3 server. No row is
lost or doubled, no answer is wrong, and what can be retried says so. MS_TEST_FULL=1: the full counts."""
import collections
import contextlib
import json
import os
import time

import promises
import pytest
import s3_server
from faulty_proxy import FaultyProxy
from workload import Ledger, Writers

FULL = bool(os.environ.get("MS_TEST_FULL"))
SEED = int(os.environ.get("MS_TEST_SEED", "20261126"))
pytestmark = pytest.mark.skipif(s3_server.find_program() is None,
                                reason="no S3 server: `weed` is not installed (tests/e2e/requirements.txt)")


@pytest.fixture(scope="module")
def store():
    with s3_server.S3Server() as server:
        yield server


@pytest.fixture
def proxy(store):
    print(f"MS_TEST_SEED={SEED}")
    with FaultyProxy(store.endpoint, SEED) as proxy:
        yield proxy


def arguments(store, proxy, prefix, *more):
    settings = {"backend": "s3", "endpoint": proxy.endpoint, "bucket": store.bucket, "prefix": prefix,
                "access_key": store.access_key, "secret_key": store.secret_key, "op_timeout_secs": 10,
                "retry.base_backoff_ms": 20}
    flags = [word for key, value in settings.items() for word in ("--set", f"store.object.{key}={value}")]
    return [*flags, "--set", "ingester.flush_interval_secs=1", "--set", "ingester.buffer_max_mb=1", *more]


@contextlib.contextmanager
def healed(proxy):
    """Faults are over when the block is left, whatever happened."""
    try:
        yield proxy.faults
    finally:
        proxy.faults = type(proxy.faults)()


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def hot_rows(server):
    return sum(entry["hot_rows"] for entry in json.loads(server.request("GET", "/api/v1/streams")[2])["streams"])


def test_writes_go_on_while_the_store_is_down_and_drain_after_it(start, store, proxy, request):
    server = start(*arguments(store, proxy, request.node.name, "--set", "wal.total_mb=24", "--set", "wal.segment_size_mb=4",
                              "--set", "wal.reserve_mb=4",
                              "--set", "ingester.max_buffer_memory_mb=64", "--set", "ingester.persist_timeout_ms=200",
                              "--set", "store.object.health_probe_interval_secs=1"))
    ledger = Ledger("down")
    with healed(proxy) as faults:
        faults.is_down = True
        writers = Writers(ledger, server.addresses, sizes=(400,), seed=SEED, gone_ok=False)
        wait_until(lambda: ledger.answers[429] + ledger.answers[503] > 0, 60, "the log's budget is used up")
        bridged = len(ledger.acknowledged)
        assert bridged > 1000, "the outage is bridged by the log"
        assert not (faulty := writers.stop()), faulty
        # Everything acknowledged can be read while the store is down: it is in memory.
        assert ledger.check(server) == []
        wait_until(lambda: server.request("GET", "/healthz")[0] == 503, 30, "/healthz says that the store is lost")
        assert server.request("GET", "/livez")[0] == 200
    wait_until(lambda: hot_rows(server) == 0, 60, "the backlog drains")
    wait_until(lambda: server.request("GET", "/healthz")[0] == 200, 30, "/healthz recovers")
    assert ledger.check(server) == []
    server.kill()
    server = start(*arguments(store, proxy, request.node.name))
    assert ledger.check(server) == []
    promises.record("store", "faults/object_store down", f"0 lost, 0 doubled in {bridged:,} rows taken while the store was down, "
                    "all of them in it within 60 s of its return", SEED)


def test_a_third_of_all_requests_fails(start, store, proxy, request):
    server = start(*arguments(store, proxy, request.node.name))
    ledger = Ledger("third")
    with healed(proxy) as faults:
        faults.error_rate = 0.3
        writers = Writers(ledger, server.addresses, sizes=(100, 400), seed=SEED, gone_ok=False)
        time.sleep(30 if FULL else 8)
        assert not (faulty := writers.stop()), faulty
        refused = ledger.answers[429] + ledger.answers[503]
        assert refused < ledger.answers[200], ledger.answers
        print(f"{ledger.answers}, {dict(proxy.counts)}")
    wait_until(lambda: hot_rows(server) == 0, 60, "the backlog drains")
    assert ledger.check(server) == []


def test_answers_that_never_come(start, store, proxy, request):
    server = start(*arguments(store, proxy, request.node.name, "--set", "store.object.op_timeout_secs=2"))
    ledger = Ledger("hang")
    with healed(proxy) as faults:
        faults.hangs = True
        writers = Writers(ledger, server.addresses, seed=SEED, gone_ok=False)
        time.sleep(5)
        assert not (faulty := writers.stop()), faulty
        assert ledger.answers[200] > 0
        assert server.request("GET", "/livez")[0] == 200
    wait_until(lambda: hot_rows(server) == 0, 60, "the backlog drains")
    assert ledger.check(server) == []


def test_answers_that_take_seconds(start, store, proxy, request):
    """Every call of the store takes 5 s: flushes do too, and nobody but those who ask for one waits for it."""
    server = start(*arguments(store, proxy, request.node.name))
    ledger = Ledger("slow")
    with healed(proxy) as faults:
        faults.latency_seconds = 5
        writers = Writers(ledger, server.addresses, sizes=(10, 100), seed=SEED, gone_ok=False, pause=0.05)
        time.sleep(60 if FULL else 12)
        assert ledger.check(server) == []
        assert not (faulty := writers.stop()), faulty
        print(f"{ledger.answers}, {dict(proxy.counts)}")
        assert proxy.counts["requests"] > 0 and ledger.answers[200] > 100
        assert ledger.answers[429] + ledger.answers[503] == 0, ledger.answers
    wait_until(lambda: hot_rows(server) == 0, 90, "the backlog drains")
    assert ledger.check(server) == []


def test_lost_answers_double_nothing(start, store, proxy, request):
    """An upload that was stored and whose answer was lost: the retry must not make a second copy."""
    wanted = 1000 if FULL else 150
    server = start(*arguments(store, proxy, request.node.name, "--set", "store.object.retry.max_attempts=8",
                              "--set", "ingester.flush_parallelism=4"))
    ledger = Ledger("lost")
    with healed(proxy) as faults:
        faults.lost_answer_rate = 0.3
        writers = Writers(ledger, server.addresses, sizes=(1, 10), seed=SEED, modes=("?commit=force",), gone_ok=False,
                          count=8, streams=[f"stream{number}" for number in range(8)])
        wait_until(lambda: proxy.counts["lost_answer"] >= wanted, 600 if FULL else 120, f"{wanted} lost answers")
        assert not (faulty := writers.stop()), faulty
        print(f"{ledger.answers}, {dict(proxy.counts)}")
    wait_until(lambda: hot_rows(server) == 0, 60, "the backlog drains")
    assert ledger.check(server) == []
    server.kill()
    assert ledger.check(start(*arguments(store, proxy, request.node.name))) == []
    promises.record("once", "faults/object_store", f"0 doubled, 0 lost in {len(ledger.acknowledged)} acknowledged rows over "
                    f"{proxy.counts['lost_answer']} uploads and deletions whose answer was lost (s3)", SEED)


BAD_READS = collections.Counter()  # Of all faults together.


@pytest.mark.parametrize("fault, cache", [("truncate_rate", "never"), ("reset_rate", "never"), ("error_rate", "never"),
                                          ("corrupt_rate", "never"), ("corrupt_rate", "always")])
def test_bad_reads_are_errors_or_right_answers(start, store, proxy, request, fault, cache):
    # Otherwise the caches would answer without one request; the disk cache loses its files before each query.
    server = start(*arguments(store, proxy, request.node.name.replace("[", "-").replace("]", ""), "--set", "cache.memory_mb=0",
                              "--set", f"cache.disk_cache.mode={cache}"))
    ledger = Ledger("reads")
    writers = Writers(ledger, server.addresses, sizes=(100,), seed=SEED, gone_ok=False)
    wait_until(lambda: len(ledger.acknowledged) > 3000, 60, "rows to read")
    assert not (faulty := writers.stop()), faulty
    wait_until(lambda: hot_rows(server) == 0, 60, "all rows are in parts")
    expected = server.query("SELECT count(*), sum(crc), sum(length(text)), count(DISTINCT text) FROM logs.orders")["rows"]
    answers = {"right": 0, "error": 0}
    with healed(proxy) as faults:
        setattr(faults, fault, 0.3)
        faults.methods = ("GET",)
        for _ in range(100 if FULL else 25):
            for path in (server.data_dir / "cache").glob("??/*-*"):
                path.unlink()
            status, _, body = server.request("POST", "/api/v1/query", {
                "statement": "SELECT count(*), sum(crc), sum(length(text)), count(DISTINCT text) FROM logs.orders"})
            if status == 200:
                assert json.loads(body)["rows"] == expected, "a wrong answer"
                answers["right"] += 1
            else:
                assert status in (500, 503), (status, body)
                answers["error"] += 1
        print(f"{answers}, {dict(proxy.counts)}")
        assert proxy.counts[fault.removesuffix("_rate")] > 0, "nothing was injected"
        BAD_READS.update(answers, injected=proxy.counts[fault.removesuffix("_rate")])
        promises.record("store", "faults/object_store reads", f"{BAD_READS['injected']:,} damaged, cut or refused reads: "
                        f"{BAD_READS['right']} right answers, {BAD_READS['error']} errors, 0 wrong answers", SEED)
    assert server.query("SELECT count(*), sum(crc), sum(length(text)), count(DISTINCT text) FROM logs.orders")["rows"] == expected


def test_an_empty_listing_deletes_nothing(start, store, proxy, request):
    server = start(*arguments(store, proxy, request.node.name))
    ledger = Ledger("list")
    writers = Writers(ledger, server.addresses, sizes=(100,), seed=SEED, modes=("?commit=force",), gone_ok=False)
    wait_until(lambda: len(ledger.acknowledged) > 500, 60, "rows in parts")
    assert not (faulty := writers.stop()), faulty
    with healed(proxy) as faults:
        faults.lists_are_empty = True
        assert server.terminate() == 0
        server = start(*arguments(store, proxy, request.node.name, "--set", "compactor.interval_secs=1"))
        time.sleep(3)
        assert ledger.check(server) == []
