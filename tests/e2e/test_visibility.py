"""The visibility property: for every reader, at every moment, no acknowledged row is missing and none is doubled,
while rows are written, flushed and expired by several connections."""
import random
import threading
import time

WRITERS, READERS, SECONDS = 3, 2, 12


def test_no_row_is_missing_or_doubled_for_any_reader(start):
    server = start("--set", "ingester.flush_interval_secs=1", "--set", "ingester.buffer_max_mb=1",
                   "--set", "ingester.row_group_rows=1024", "--set", "compactor.interval_secs=1")
    server.ingest("app", [{"writer": 9, "seq": 0, "pad": ""}])
    acknowledged, sent = [0] * WRITERS, [0] * WRITERS
    faults, stop = [], threading.Event()

    def write(writer):
        generator = random.Random(writer)
        while not stop.is_set():
            count = generator.choice([1, 5, 50, 300])
            first = sent[writer]
            sent[writer] = first + count
            mode = generator.choice(["", "", "", "", "?commit=force"])
            server.ingest("app", [{"writer": writer, "seq": first + i, "pad": "x" * 200} for i in range(count)], mode)
            acknowledged[writer] = first + count

    def read():
        while not stop.is_set():
            before = list(acknowledged)
            rows = server.query("SELECT writer, count(*), count(DISTINCT seq), min(seq), max(seq) FROM logs.app "
                                "WHERE writer < 9 GROUP BY writer")["rows"]
            after = list(sent)
            found = {row[0]: row for row in rows}
            for writer in range(WRITERS):
                _, count, distinct, low, high = found.get(writer, [writer, 0, 0, 0, -1])
                if count != distinct:
                    faults.append(f"writer {writer}: {count} rows, {distinct} distinct")
                if not before[writer] <= count <= after[writer]:
                    faults.append(f"writer {writer}: {count} rows, acknowledged {before[writer]}, sent {after[writer]}")
                if count and (low != 0 or high != count - 1):
                    faults.append(f"writer {writer}: {count} rows from {low} to {high}")

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    threads += [threading.Thread(target=read) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and not faults:
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults, faults[:5]
    final = server.query("SELECT count(*), count(DISTINCT (writer, seq)) FROM logs.app")
    assert final["rows"] == [[sum(sent) + 1] * 2]
    assert final["stats"]["parts_total"] > 5


def test_a_terminated_server_loses_nothing_and_leaves_quickly(start):
    server = start()
    acknowledged, stop = [], threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            try:
                server.ingest("app", [{"n": number}])
            except (OSError, AssertionError):
                return
            acknowledged.append(number)
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    while len(acknowledged) < 50:
        time.sleep(0.01)
    assert server.terminate(30) == 0
    stop.set()
    thread.join()
    server = start()
    rows = {row[0] for row in server.query("SELECT n FROM logs.app")["rows"]}
    assert set(acknowledged) <= rows
