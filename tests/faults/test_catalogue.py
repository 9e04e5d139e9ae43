"""Postgres is killed and started again while flushes commit. MS_TEST_FULL=1: 200 times."""
import os
import random
import time

import postgres_server
import pytest
from workload import Ledger, Writers

FULL = bool(os.environ.get("MS_TEST_FULL"))
SEED = int(os.environ.get("MS_TEST_SEED", "20261126"))


@pytest.mark.skipif(postgres_server.find_programs() is None, reason="no Postgres server is installed (scripts/setup)")
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
