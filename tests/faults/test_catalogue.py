"""Postgres is killed and started again while flushes commit; the outcome of a flush's COMMIT is unknown to the server.
MS_TEST_FULL=1: 200 times each."""
import os
import random
import time

import postgres_server
import promises
import pytest
from ambiguous_commits import AmbiguousCommits
from workload import Ledger, Writers

FULL = bool(os.environ.get("MS_TEST_FULL"))
SEED = int(os.environ.get("MS_TEST_SEED", "20261126"))


pytestmark = pytest.mark.skipif(postgres_server.find_programs() is None,
                                reason="no Postgres server is installed (scripts/setup)")


def test_postgres_is_killed_during_commits(start):
    print(f"MS_TEST_SEED={SEED}")
    generator = random.Random(SEED)
    with postgres_server.PostgresServer() as database:
        arguments = ["--set", "store.meta.backend=postgres", "--set", f"store.meta.dsn={database.url}",
                     "--set", "ingester.flush_interval_secs=1", "--set", "ingester.buffer_max_mb=1"]
        server = start(*arguments)
        ledger = Ledger("pg")
        server.ingest("orders", [ledger.row_of(key) for key in ledger.take("orders", 9, 1)])
        server.ingest("billing", [ledger.row_of(key) for key in ledger.take("billing", 9, 1)])
        ledger.acknowledge(ledger.sent)
        writers = Writers(ledger, server.addresses, seed=SEED, modes=("", "", "", "?commit=force"), gone_ok=False, count=8)
        for _ in range(200 if FULL else 12):
            time.sleep(generator.uniform(0.02, 0.6))
            database.stop("immediate")
            time.sleep(generator.uniform(0.0, 0.3))
            database.start()
        assert not (faulty := writers.stop()), faulty
        print(ledger.answers)
        deadline = time.monotonic() + 30
        while server.request("POST", "/api/v1/flush")[0] != 200:
            assert time.monotonic() < deadline, "flushes do not resume"
            time.sleep(0.1)
        assert ledger.check(server) == []
        server.kill()
        assert ledger.check(start(*arguments)) == []


def test_commits_whose_outcome_is_unknown_double_nothing(start):
    """The connection breaks between a flush's COMMIT and its answer, or before the COMMIT arrives: the retry must find
    out which, for the same parts twice are doubled rows and none are lost ones."""
    print(f"MS_TEST_SEED={SEED}")
    wanted = 200 if FULL else 16
    with postgres_server.PostgresServer() as database, AmbiguousCommits(database, SEED) as proxy:
        arguments = ["--set", "store.meta.backend=postgres", "--set", f"store.meta.dsn={proxy.url}",
                     "--set", "ingester.flush_interval_secs=1", "--set", "ingester.buffer_max_mb=1"]
        server = start(*arguments)
        ledger = Ledger("commit")
        proxy.rate = 0.5
        writers = Writers(ledger, server.addresses, seed=SEED, sizes=(1, 10), modes=("?commit=force",), gone_ok=False)
        deadline = time.monotonic() + (900 if FULL else 120)
        while proxy.ambiguous() < wanted:
            assert time.monotonic() < deadline, proxy.counts
            time.sleep(0.05)
        proxy.rate = 0.0
        assert not (faulty := writers.stop()), faulty
        print(ledger.answers, dict(proxy.counts))
        assert proxy.counts["done, answer lost"] >= wanted / 4 and proxy.counts["never arrived"] >= wanted / 4
        assert server.request("POST", "/api/v1/flush")[0] == 200
        assert ledger.check(server) == []
        server.kill()
        assert ledger.check(start(*arguments)) == []
        promises.record("once", "faults/catalogue", f"0 doubled, 0 lost in {len(ledger.acknowledged)} acknowledged rows over "
                        f"{proxy.counts['done, answer lost']} commits whose answer was lost and "
                        f"{proxy.counts['never arrived']} that never arrived (postgres)", SEED)
