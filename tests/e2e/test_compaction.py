"""Queries while parts are merged and removed: every answer is that of the rows which were acknowledged before it was asked.

MS_TEST_FULL=1 checks 10,000 answers.
"""
import json
import os
import random
import threading
import time

import promises

SEED = int(os.environ.get("MS_TEST_SEED") or time.time_ns() % 2**32)
ANSWERS = 10_000 if os.environ.get("MS_TEST_FULL") else 600
SETTINGS = ("--set", "compactor.interval_secs=1", "--set", "compactor.parts_min=2", "--set", "compactor.cpu_percent=100",
            "--set", "ingester.flush_interval_secs=1", "--set", "ingester.past_max_secs=31536000",
            "--set", "compactor.retention_days=1", "--set", "ingester.row_group_rows=1024")


def metric(server, name):
    status, _, body = server.request("GET", "/metrics")
    assert status == 200
    return sum(float(line.rsplit(" ", 1)[1]) for line in body.decode().splitlines()
               if line.startswith(name) and line[len(name)] in " {")


def await_merges(server, count, seconds=120):
    deadline = time.monotonic() + seconds
    while metric(server, "compactor_merged_groups_total") < count:
        assert time.monotonic() < deadline, f"no merge in {seconds} s:\n{server.tail()}"
        time.sleep(0.2)


def await_parts(server, stream, parts_max, seconds=120):
    deadline = time.monotonic() + seconds
    while True:
        stats = server.query(f"SELECT count(*) FROM logs.{stream}")["stats"]
        if stats["parts_total"] <= parts_max:
            return stats
        assert time.monotonic() < deadline, f"{stats['parts_total']} parts after {seconds} s:\n{server.tail()}"
        time.sleep(0.2)


class Writer(threading.Thread):
    """Sends rows with the numbers 0, 1, 2, …, and between them rows so old that retention removes them."""

    def __init__(self, server):
        super().__init__()
        self.server, self.acknowledged, self.ended = server, 0, threading.Event()
        self.chance, self.failure = random.Random(SEED), None

    def run(self):
        try:
            while not self.ended.is_set():
                now = time.time_ns() // 1000
                size = self.chance.randint(1, 400)
                rows = [{"_timestamp": now - self.chance.randint(0, 600_000_000), "seq": self.acknowledged + i,
                         "service": f"s{i % 5}", "message": f"request {self.acknowledged + i} of {self.chance.getrandbits(40):x}"}
                        for i in range(size)]
                self.server.ingest("app", rows)
                self.acknowledged += size
                if self.chance.random() < 0.2:
                    self.server.ingest("app", [{"_timestamp": now - 3 * 86_400_000_000, "seq": -1}] * 10)
                time.sleep(0.05)
        except Exception as failure:  # pylint: disable=broad-exception-caught
            self.failure = failure


def check_answer(server, chance, rows):
    """One query whose answer is known from `rows` alone: rows that came later are left out."""
    last = rows - 1
    kind = chance.randrange(4)
    if kind == 0:
        statement = f"SELECT count(*), sum(seq), count(DISTINCT seq) FROM logs.app WHERE seq BETWEEN 0 AND {last}"
        expected = [[rows, last * rows // 2, rows]]
    elif kind == 1:
        wanted = chance.randrange(rows)
        statement = f"SELECT seq, message FROM logs.app WHERE match(message, '\"request {wanted} of\"')"
        answer = server.query(statement)["rows"]
        assert [row[0] for row in answer] == [wanted] and answer[0][1].startswith(f"request {wanted} of"), (SEED, statement, answer)
        return
    elif kind == 2:
        low = chance.randrange(rows)
        statement = f"SELECT seq FROM logs.app WHERE seq BETWEEN {low} AND {min(low + 20, last)} ORDER BY seq"
        expected = [[seq] for seq in range(low, min(low + 20, last) + 1)]
    else:
        statement = f"SELECT count(*) FROM logs.app WHERE service IS NOT NULL AND seq BETWEEN 0 AND {last}"
        expected = [[rows]]
    answer = server.query(statement)
    assert answer["rows"] == expected, (SEED, statement, answer)


def test_queries_do_not_notice(start):
    print(f"MS_TEST_SEED={SEED}")
    server = start(*SETTINGS)
    server.ingest("app", [{"seq": -1, "service": "s0", "message": "the first"}])
    writer = Writer(server)
    writer.start()
    failures, checked, lock = [], [0], threading.Lock()

    def ask(number):
        chance = random.Random(SEED + number)
        try:
            while checked[0] < ANSWERS and not failures:
                rows = writer.acknowledged
                if rows > 0:
                    check_answer(server, chance, rows)
                    with lock:
                        checked[0] += 1
        except Exception as failure:  # pylint: disable=broad-exception-caught
            failures.append(failure)

    readers = [threading.Thread(target=ask, args=(number,)) for number in range(1, 4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    # Merges and removals happened meanwhile, or the answers say nothing.
    await_merges(server, 3)
    writer.ended.set()
    writer.join()
    assert not failures, failures[0]
    assert writer.failure is None, writer.failure
    check_answer(server, random.Random(SEED), writer.acknowledged)
    merges = int(metric(server, "compactor_merged_groups_total"))
    removed = int(metric(server, "compactor_retention_deleted_total"))
    assert metric(server, "compactor_failures_total") == 0, server.tail()
    promises.record("merged", "e2e/compaction", f"{checked[0]} answers under {merges} merges and {removed} parts removed by age, 0 wrong", SEED)
    # What is on the disk now is read again by the next process.
    rows = writer.acknowledged
    assert server.terminate() == 0
    server = start(*SETTINGS)
    check_answer(server, random.Random(SEED), rows)


def test_small_parts_of_a_past_day_become_one(start):
    server = start(*SETTINGS, "--set", "compactor.retention_days=0", "--set", "compactor.merge=false")
    day = (time.time_ns() // 86_400_000_000_000 - 2) * 86_400_000_000
    rows = [{"_timestamp": day + seq * 1_000_000, "seq": seq, "level": "info" if seq % 3 else "error",
             "trace_id": f"{seq * 7919:032x}", "message": f"row {seq}"} for seq in range(6000)]
    for part in range(6):
        server.ingest("app", rows[part::6])
        server.flush("app")
    assert server.terminate() == 0
    server = start(*SETTINGS, "--set", "compactor.retention_days=0")
    await_parts(server, "app", 1)
    answer = server.query("SELECT seq, level FROM logs.app ORDER BY _timestamp DESC, seq DESC")
    assert answer["rows"] == [[row["seq"], row["level"]] for row in reversed(rows)]
    needle = server.query(f"SELECT seq FROM logs.app WHERE trace_id = '{4321 * 7919:032x}'")
    assert needle["rows"] == [[4321]] and needle["stats"]["index_parts"] == 1, needle
    # A scrub of everything and the doctor find nothing to complain about.
    health = json.loads(server.request("GET", "/readyz")[2])
    assert not [name for name, component in health.get("components", {}).items()
                if name == "parts" and component.get("status") not in ("ok", None)], health


def test_a_large_part_has_several_indexes(start):
    settings = ("--set", "compactor.interval_secs=1", "--set", "compactor.cpu_percent=100", "--set", "compactor.memory_mb=32",
                "--set", "compactor.retention_days=0", "--set", "ingester.past_max_secs=31536000")
    server = start(*settings, "--set", "compactor.merge=false")
    day = (time.time_ns() // 86_400_000_000_000 - 2) * 86_400_000_000
    count, chunk = 300_000, 25_000
    for first in range(0, count, chunk):
        server.ingest("app", [{"_timestamp": day + seq * 1000, "seq": seq, "id": f"{seq * 2654435761 % 2**32:08x}{seq:08x}",
                               "message": f"row {seq} is {'odd' if seq % 2 else 'even'}"} for seq in range(first, first + chunk)])
        server.flush("app")
    assert server.terminate() == 0
    server = start(*settings)
    await_parts(server, "app", 1)
    assert [path for path in server.data_dir.rglob("*-1.idx")], "one index was enough"
    for seq in (0, 1, 150_000, 209_714, 209_715, 209_716, count - 1):
        found = server.query(f"SELECT seq FROM logs.app WHERE id = '{seq * 2654435761 % 2**32:08x}{seq:08x}'")
        assert found["rows"] == [[seq]] and found["stats"]["index_parts"] == 1, (seq, found)
        assert server.query(f"SELECT seq FROM logs.app WHERE match(message, '{seq}')")["rows"] == [[seq]]
    counted = server.query("SELECT count(*) FROM logs.app WHERE match(message, 'odd')")
    assert counted["rows"] == [[count // 2]] and counted["stats"]["index_filters"] == 1, counted
    # The last one damaged: slower, and the same answer.
    newest = max(server.data_dir.rglob("*-1.idx"), key=lambda path: path.stat().st_mtime)
    newest.write_bytes(newest.read_bytes()[:1000])
    assert server.terminate() == 0
    server = start("--set", "compactor.merge=false", "--set", "scrub.bytes_per_second=0")
    assert server.query("SELECT count(*) FROM logs.app WHERE match(message, 'odd')")["rows"] == [[count // 2]]


def test_without_merging(start):
    server = start(*SETTINGS, "--set", "compactor.merge=false", "--set", "compactor.retention_days=0")
    day = (time.time_ns() // 86_400_000_000_000 - 2) * 86_400_000_000
    for part in range(4):
        server.ingest("app", [{"_timestamp": day + part, "seq": part}])
        server.flush("app")
    time.sleep(3)  # Rounds of the compactor that must do nothing.
    assert server.query("SELECT count(*) FROM logs.app")["stats"]["parts_total"] == 4


def test_an_id_asks_a_pack_of_many_parts(start):
    packing = ("--set", "compactor.interval_secs=1", "--set", "compactor.parts_min=64", "--set", "compactor.pack_parts_min=6",
               "--set", "compactor.cpu_percent=100")
    server = start(*packing)
    chance = random.Random(SEED)
    print(f"MS_TEST_SEED={SEED}")
    parts, ids = 12, {}
    for part in range(parts):
        rows = []
        for seq in range(300):
            trace = f"{chance.getrandbits(128):032x}"
            ids.setdefault(trace, []).append(part * 1000 + seq)
            rows.append({"seq": part * 1000 + seq, "trace_id": trace, "message": "an event"})
        again = chance.choice(list(ids))  # Some traces are in several parts.
        ids[again].append(part * 1000 + 999)
        rows.append({"seq": part * 1000 + 999, "trace_id": again, "message": "once more"})
        rows.append({"seq": part * 1000 + 998, "message": "without"})
        server.ingest("app", rows)
        server.flush("app")
    deadline = time.monotonic() + 120
    while metric(server, "compactor_id_packs_total") < 1:
        assert time.monotonic() < deadline, server.tail()
        time.sleep(0.1)
    assert server.terminate() == 0
    # Another process, without packing, which has nothing in memory.
    without = list(packing)
    without[without.index("compactor.pack_parts_min=6")] = "compactor.pack_parts_min=0"
    server = start(*without)
    answer = server.query("SELECT count(*) FROM logs.app WHERE trace_id = 'absent'")
    packed = answer["stats"]
    assert answer["rows"] == [[0]] and packed["parts_total"] == packed["parts_skipped"] == parts, packed
    assert packed["index_parts"] == parts and packed["object_gets"] <= 2, packed
    for trace in chance.sample(list(ids), 40) + [trace for trace, rows in ids.items() if len(rows) > 1]:
        answer = server.query(f"SELECT seq FROM logs.app WHERE trace_id = '{trace}' ORDER BY seq")
        assert [row[0] for row in answer["rows"]] == sorted(ids[trace]), (SEED, trace, answer)
        assert answer["stats"]["parts_skipped"] >= parts - len(ids[trace]) - 1, answer["stats"]
    # A pack knows parts, not rows: what it says of a part is not negated.
    trace, seqs = next(iter(ids.items()))
    without_id = [part * 1000 + 998 for part in range(parts)]
    answer = server.query(f"SELECT seq FROM logs.app WHERE trace_id IS NULL OR trace_id = '{trace}' ORDER BY seq")
    assert [row[0] for row in answer["rows"]] == sorted(without_id + seqs), answer
    answer = server.query(f"SELECT count(*) FROM logs.app WHERE NOT coalesce(trace_id = '{trace}', false)")
    assert answer["rows"] == [[parts * 302 - len(seqs)]], answer
    answer = server.query(f"SELECT count(*) FROM logs.app WHERE trace_id <> '{trace}' AND trace_id NOT IN ('absent', 'x')")
    assert answer["rows"] == [[parts * 301 - len(seqs)]], answer
    # A pack that is damaged rules nothing out.
    (pack,) = server.data_dir.rglob("*.ids")
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
    assert server.terminate() == 0
    server = start(*without)
    for trace in chance.sample(list(ids), 10):
        answer = server.query(f"SELECT seq FROM logs.app WHERE trace_id = '{trace}' ORDER BY seq")
        assert [row[0] for row in answer["rows"]] == sorted(ids[trace]), (SEED, trace, answer)
    assert "pack of ids is damaged" in server.tail(2000)
