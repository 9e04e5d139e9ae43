"""The same rows whatever answers: hot rows, parts with and without an index, merged parts, a damaged index, DuckDB on the JSON.

Random texts, random conditions; MS_TEST_SEED repeats a run.
"""
import collections
import json
import os
import random
import re
import signal
import subprocess
import time

import duckdb
import pytest

import promises
from server_process import default_binary

SEED = int(os.environ.get("MS_TEST_SEED") or time.time_ns() % 2**32)
QUERIES = 2_000 if os.environ.get("MS_TEST_FULL") else 160
ROWS = 4_000
PARTS = 4
HOUR_US = 3_600_000_000
WORDS = ("error warn timeout connection refused to host user login failed retry circuit breaker half open cache miss hit "
         "disk full read write ok done request response slow query plan Straße ÜBER naïve Привет ΩMEGA cafe café x_y "
         "a b c1 dead beef cafe1 404 500 12345 7f3a9c01 deadbeef99 0x1f").split()
LEVELS = ["info", "warn", "error", "debug"]


def make_text(chance):
    kind = chance.random()
    if kind < 0.04:
        return ""
    words = [chance.choice(WORDS) for _ in range(chance.randint(1, 12))]
    if kind < 0.3:
        words.insert(chance.randint(0, len(words)), f"{chance.getrandbits(48):012x}")
    if kind < 0.1:
        words.append("L" * chance.randint(60, 90) + chance.choice("xyz"))
    if chance.random() < 0.3:
        words = [word.upper() for word in words]
    return chance.choice([" ", " ", ", ", "-", "/", "\t"]).join(words) + chance.choice(["", ".", "!", " (end)"])


def make_rows(chance):
    # The begin of the last hour: all rows are of one hour, and a flush makes one part of them.
    base = (time.time_ns() // 1000 // HOUR_US - 1) * HOUR_US
    rows = []
    for seq in range(ROWS):
        row = {"_timestamp": base + seq * 1000, "seq": seq, "level": chance.choice(LEVELS),
               "service": f"svc-{chance.randint(0, 6)}", "trace_id": f"{chance.getrandbits(128):032x}", "n": chance.randint(0, 100)}
        if chance.random() < 0.95:
            row["message"] = make_text(chance)
        if chance.random() < 0.3:
            row["note"] = make_text(chance)
        if chance.random() < 0.1:
            row["level"] = None
        rows.append(row)
    return rows


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def make_match(chance, rows):
    terms = []
    for _ in range(chance.randint(1, 3)):
        kind = chance.random()
        word = chance.choice(WORDS)
        if kind < 0.2:
            text = chance.choice(rows).get("message") or "x"
            word = max(text.replace('"', " ").split() or ["x"], key=lambda _: chance.random())
        if kind > 0.85:
            word = word[:chance.randint(1, len(word))] + "*"
        elif kind > 0.7:
            word = f'"{word} {chance.choice(WORDS)}"'
        terms.append(("-" if chance.random() < 0.2 else "") + word)
    return quoted(" ".join(terms))


def make_literal(chance, rows):
    text = chance.choice(rows).get("message") or "time"
    begin = chance.randint(0, max(0, len(text) - 2))
    return text[begin:begin + chance.randint(1, 14)].replace("%", "").replace("_", "").replace("\\", "")


def make_regex(chance, rows):
    """Pieces of texts and what RE2 makes of other signs."""
    pieces = []
    for _ in range(chance.randint(1, 4)):
        literal = re.sub(r"([.+*?()|\[\]{}^$\\])", r"\\\1", make_literal(chance, rows))
        pieces.append(chance.choice([literal, literal, f"({literal}|{chance.choice(WORDS)})", f"({literal})+", f"({literal})?", ".*", "\\d+",
                                     "[a-f0-9]", "[ef]", "\\b", f"(?i:{literal})", "x{0,2}"]))
    return quoted(chance.choice(["", "", "^", "(?i)"]) + "".join(pieces))


def make_value_condition(chance):
    """Of fields whose values the index lists; some of them have NULL."""
    field, value = chance.choice([("level", chance.choice(LEVELS)), ("service", f"svc-{chance.randint(0, 8)}")])
    begin = value[:chance.randint(1, len(value))]
    return chance.choice([
        f"{field} NOT IN ('{value}', '{chance.choice(LEVELS)}')",
        f"{field} LIKE '{begin}%'",
        f"{field} NOT LIKE '{begin}%'",
        f"{field} NOT LIKE '%{value[1:3]}_%'",
        f"{field} ILIKE '%{begin.upper()}'",
        f"{field} NOT ILIKE '{begin.upper()}%'",
        f"NOT starts_with({field}, '{begin}')",
        f"NOT ({field} = '{value}' OR n > 50)",
        f"NOT ({field} = '{value}' AND {field} LIKE '%{begin}%')",
        f"NOT coalesce({field} = '{value}', false)",
        f"regexp_matches({field}, '{begin}|[rw]')",
        f"NOT regexp_matches({field}, '^({begin}|.*5)')",
        f"{field} SIMILAR TO '{value}|info'",
        f"{field} NOT SIMILAR TO '{begin}.*'",
        f"({field} IS NULL OR {field} = '{value}')",
        f"{field} IS NOT NULL",
    ])


def make_condition(chance, rows, depth=0):
    if depth < 2 and chance.random() < 0.35:
        joiner = chance.choice([" AND ", " OR "])
        return "(" + joiner.join(make_condition(chance, rows, depth + 1) for _ in range(2)) + ")"
    some = chance.choice(rows)
    field = chance.choice(["message", "message", "note"])
    kinds = [
        lambda: f"match({field}, {make_match(chance, rows)})",
        lambda: f"match({field}, {make_match(chance, rows)})",
        lambda: f"NOT match({field}, {make_match(chance, rows)})",
        lambda: f"{field} LIKE {quoted('%' + make_literal(chance, rows) + '%')}",
        lambda: f"{field} LIKE {quoted(make_literal(chance, rows) + '%')}",
        lambda: f"{field} LIKE {quoted('%' + make_literal(chance, rows) + '%' + make_literal(chance, rows))}",
        lambda: f"message = {quoted(some.get('message') or '')}",
        lambda: f"message <> {quoted(some.get('message') or '')}",
        lambda: f"trace_id = '{some['trace_id']}'",
        lambda: f"trace_id IN ('{some['trace_id']}', '{chance.choice(rows)['trace_id']}', 'none')",
        lambda: f"level = '{chance.choice(LEVELS + ['fatal'])}'",
        lambda: f"level <> '{chance.choice(LEVELS)}'",
        lambda: f"level IN ('{chance.choice(LEVELS)}', '{chance.choice(LEVELS)}')",
        lambda: f"service = 'svc-{chance.randint(0, 8)}'",
        lambda: f"n > {chance.randint(0, 100)}",
        lambda: "level IS NULL",
        lambda: make_value_condition(chance),
        lambda: make_value_condition(chance),
        lambda: f"regexp_matches({field}, {make_regex(chance, rows)})",
        lambda: f"regexp_matches({field}, {make_regex(chance, rows)}, 'i')",
        lambda: f"NOT regexp_matches({field}, {make_regex(chance, rows)})",
        lambda: f"{field} SIMILAR TO {make_regex(chance, rows)}",
        lambda: f"{field} ILIKE {quoted('%' + make_literal(chance, rows).upper() + '%')}",
        lambda: f"{field} NOT LIKE {quoted('%' + make_literal(chance, rows) + '%')}",
        lambda: f"{field} LIKE {quoted('%' + make_literal(chance, rows) + '_' + make_literal(chance, rows) + '%')}",
    ]
    return chance.choice(kinds)()


def make_count(chance):
    """Of one field alone: indexes have counted the values of some."""
    field = chance.choice(["level", "service", "note", "trace_id"])
    return chance.choice([
        "SELECT {0}, count(*) FROM logs.app GROUP BY {0} ORDER BY {0} NULLS LAST",
        "SELECT count(*), count({0}), count(DISTINCT {0}), min({0}), max({0}) FROM logs.app",
        "SELECT DISTINCT {0} FROM logs.app ORDER BY {0} NULLS FIRST",
        "SELECT count(*) FROM logs.app WHERE {0} IN (SELECT {0} FROM logs.app GROUP BY {0} HAVING count(*) > 20)",
        "SELECT {0}, count(*), sum(count(*)) OVER () FROM logs.app WHERE {0} IS NOT NULL GROUP BY {0} ORDER BY 2 DESC, 1 LIMIT 7",
        "SELECT upper({0}) AS name, count(*) FROM logs.app GROUP BY name HAVING count(*) > 10 ORDER BY name",
        "SELECT {0}, count(*) FROM logs.app WHERE " + make_value_condition(chance) + " GROUP BY {0} ORDER BY {0} NULLS LAST",
    ]).format(field)


def make_query(chance, rows):
    if chance.random() < 0.1:
        return make_count(chance)
    condition = make_condition(chance, rows)
    return chance.choice([
        "SELECT count(*) FROM logs.app WHERE {}",
        "SELECT seq FROM logs.app WHERE {} ORDER BY seq",
        "SELECT level, count(*), sum(n) FROM logs.app WHERE {} GROUP BY level ORDER BY level NULLS LAST",
        "SELECT seq, message, trace_id FROM logs.app WHERE {} ORDER BY _timestamp DESC LIMIT 10",
        "SELECT count(*) FROM logs.app a JOIN logs.app b ON a.seq = b.seq + 1 WHERE {}",
    ]).format(condition) if " JOIN " not in condition else condition


def qualified(statement):
    """In the self join the columns are those of a."""
    if " JOIN " not in statement:
        return statement
    head, condition = statement.split(" WHERE ", 1)
    for column in ("message", "note", "level", "trace_id", "service"):
        for before, after in (("(", ","), ("", " ")):
            condition = condition.replace(f"{before}{column}{after}", f"{before}a.{column}{after}")
    condition = condition.replace("n > ", "a.n > ")
    return f"{head} WHERE {condition}"


def tokens_of(text):
    """The rules of docs/formats/index.md for the letters that occur here."""
    tokens, token = [], ""
    for character in text.lower():
        if character.isalnum() or character == "_" or ord(character) >= 0x80:
            token += character
        elif token:
            tokens.append(token)
            token = ""
    return tokens + ([token] if token else [])


def matches(text, query):
    if text is None:
        return False
    tokens = tokens_of(text)
    at = 0
    while at < len(query):
        if query[at] in " \t":
            at += 1
            continue
        negated = query[at] == "-" and at + 1 < len(query) and query[at + 1] != " "
        at += negated
        if query[at] == '"':
            end = query.index('"', at + 1)
            wanted, prefix, at = tokens_of(query[at + 1:end]), False, end + 1
        else:
            end = min((query.find(mark, at) for mark in ' \t"' if query.find(mark, at) >= 0), default=len(query))
            word = query[at:end]
            wanted, prefix, at = tokens_of(word.removesuffix("*")), word.endswith("*"), end
        if not wanted:
            continue
        size = len(wanted)
        found = any(
            tokens[i:i + size - 1] == wanted[:-1] and i + size <= len(tokens)
            and (tokens[i + size - 1].startswith(wanted[-1]) if prefix else tokens[i + size - 1] == wanted[-1])
            for i in range(len(tokens)))
        if found == negated:
            return False
    return True


def without_match(statement, rows):
    """The statement for a database that does not know match: the rows that it is true of, by their numbers."""
    def numbers(call):
        table, field, query = call.group(1) or "", call.group(2), call.group(3).replace("''", "'")
        found = [row["seq"] for row in rows if matches(row.get(field), query)]
        return f"list_contains({found}::BIGINT[], {table}seq)"
    return re.sub(r"match\((a\.)?(message|note), '((?:[^']|'')*)'\)", numbers, statement)


@pytest.fixture(scope="module")
def corpus():
    print(f"MS_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    rows = make_rows(chance)
    queries = []
    while len(queries) < QUERIES:
        statement = qualified(make_query(chance, rows))
        queries.append(statement)
    return rows, queries


@pytest.fixture(scope="module")
def expected(corpus, tmp_path_factory):
    rows, queries = corpus
    path = tmp_path_factory.mktemp("corpus") / "rows.json"
    path.write_text("\n".join(json.dumps({"note": None, "message": None, **row}) for row in rows))
    database = duckdb.connect()
    database.execute("CREATE SCHEMA logs")
    columns = {"_timestamp": "BIGINT", "seq": "BIGINT", "level": "VARCHAR", "service": "VARCHAR", "trace_id": "VARCHAR",
               "n": "BIGINT", "message": "VARCHAR", "note": "VARCHAR"}
    database.execute(f"CREATE TABLE logs.app AS SELECT * FROM read_json('{path}', columns={columns}, format='newline_delimited')")
    answers = {}
    for statement in queries:
        try:
            answers[statement] = [list(row) for row in database.execute(without_match(statement, rows)).fetchall()]
        except duckdb.Error as error:
            raise AssertionError(f"{statement}: {error}") from error
    return answers


def compare(server, expected, what):
    totals = {"index_parts": 0, "index_filters": 0}
    for statement, rows in expected.items():
        status, _, body = server.request("POST", "/api/v1/query", {"language": "sql", "statement": statement})
        answer = json.loads(body)
        if status == 400 and "no word to look for" in body.decode():
            continue  # A random query of separators only.
        assert status == 200, (what, SEED, statement, body)
        assert answer["rows"] == rows, (what, SEED, statement, answer["stats"])
        for name in totals:
            totals[name] += answer["stats"][name]
    return totals


def record(expected, what):
    promises.record("same-rows", f"e2e/index {what}", f"{what}: {len(expected)} random queries, 0 different answers", SEED)


def load(server, rows):
    for part in range(PARTS):
        chunk = rows[part::PARTS]
        server.ingest("app", chunk)
        server.flush("app")


def damage(path, chance):
    content = bytearray(path.read_bytes())
    kind = chance.randint(0, 3)
    if kind == 0:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        for _ in range(40):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == 2:
        content = content[:chance.randrange(len(content))]
    else:
        path.unlink()
        return
    path.write_bytes(content)


def test_hot_rows(start, corpus, expected):
    rows, _ = corpus
    server = start("--set", "ingester.flush_interval_secs=3600")
    server.ingest("app", rows)
    assert compare(server, expected, "hot")["index_parts"] == 0
    record(expected, "rows in memory")


def test_parts_without_an_index(start, corpus, expected):
    server = start("--set", "ingester.index=false", "--set", "ingester.row_group_rows=1024")
    load(server, corpus[0])
    assert not list(server.data_dir.rglob("*.idx"))
    assert compare(server, expected, "without index")["index_parts"] == 0


@pytest.mark.parametrize("memory_mb, mode", [(64, "never"), (0, "never"), (64, "always"), (0, "always")])
def test_parts_with_an_index(start, corpus, expected, memory_mb, mode):
    server = start("--set", "ingester.row_group_rows=1024", "--set", f"cache.memory_mb={memory_mb}", "--set", f"cache.disk_cache.mode={mode}")
    load(server, corpus[0])
    assert len(list(server.data_dir.rglob("*.idx"))) >= PARTS
    totals = compare(server, expected, "with index")
    assert totals["index_parts"] > PARTS * QUERIES // 4 and totals["index_filters"] > 0, totals
    record(expected, "parts with an index")
    assert server.terminate() == 0


def test_merged_parts(start, corpus, expected):
    server = start("--set", "ingester.row_group_rows=1024", "--set", "compactor.interval_secs=1", "--set", "compactor.parts_min=2",
                   "--set", "compactor.cpu_percent=100")
    load(server, corpus[0])
    deadline = time.monotonic() + 120
    while server.query("SELECT count(*) FROM logs.app")["stats"]["parts_total"] > 1:
        assert time.monotonic() < deadline, server.tail()
        time.sleep(0.2)
    assert compare(server, expected, "merged")["index_parts"] > QUERIES // 4
    record(expected, "merged parts")


def test_some_parts_have_an_index(start, corpus, expected):
    rows, _ = corpus
    server = start("--set", "ingester.index=false")
    server.ingest("app", rows[::2])
    server.flush("app")
    server.terminate()
    server = start("--set", "ingester.row_group_rows=1024")
    server.ingest("app", rows[1::4])
    server.flush("app")
    server.ingest("app", rows[3::4])
    assert compare(server, expected, "mixed")["index_parts"] > 0


def test_a_damaged_index_changes_nothing(start, corpus, expected):
    chance = random.Random(SEED + 1)
    server = start("--set", "cache.memory_mb=0", "--set", "scrub.bytes_per_second=0")
    load(server, corpus[0])
    for path in server.data_dir.rglob("*.idx"):
        damage(path, chance)
    compare(server, expected, "damaged index")
    assert "index of a part is damaged" in server.tail(2000)
    record(expected, "parts with a damaged index")


def test_an_absent_id_reads_no_part(start, corpus):
    """Nearly: a part's table of hashes takes an absent id for one of its own by chance, at most once in 1,024 times."""
    server = start("--set", "ingester.row_group_rows=1024", "--set", "compactor.merge=false")
    load(server, corpus[0])
    ids, read = 50, 0
    for number in range(ids):
        # From the middle, where no part is left out for its smallest and largest id.
        absent = f"7fffffffffffffff{number:016x}"
        stats = server.query(f"SELECT * FROM logs.app WHERE trace_id = '{absent}'")["stats"]
        assert stats["index_parts"] == stats["parts_total"] == PARTS, stats
        read += PARTS - stats["parts_skipped"]
    assert read <= ids * PARTS // 50, f"{read} of {ids * PARTS} parts were read for ids that are in none"
    counted = server.query("SELECT count(*) FROM logs.app WHERE match(message, 'timeout')")["stats"]
    assert counted["index_filters"] == 1 and counted["scanned_rows"] == 0, counted


def rebuild(server, *arguments, code=0):
    """`molesignal index rebuild`: the lines of its answer and the summary, and what it complained of."""
    done = subprocess.run([default_binary(), "index", "rebuild", "--data-dir", str(server.data_dir),
                           "--set", "compactor.cpu_percent=100", *arguments], check=False, capture_output=True, timeout=300)
    output, errors = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, (done.returncode, output, errors)
    return output.splitlines(), errors


def objects_of(server):
    return {path: path.read_bytes() for path in (server.data_dir / "objects").rglob("*") if path.is_file()}


def spoil_indexes(server):
    """Three indexes: one is gone, one is another, one is cut. The parts' ids."""
    paths = sorted(server.data_dir.rglob("*.idx"))
    assert len(paths) >= PARTS
    paths[0].unlink()
    content = bytearray(paths[1].read_bytes())
    content[-1] ^= 1
    paths[1].write_bytes(content)
    paths[2].write_bytes(paths[2].read_bytes()[:-40])
    return sorted(path.name.split(".")[0].split("-")[0] for path in paths[:3])


def indexed_parts(server):
    stats = server.query("SELECT count(*) FROM logs.app WHERE match(message, 'timeout')")["stats"]
    return stats["index_parts"], stats["parts_total"]


NO_CACHE = ("--set", "ingester.row_group_rows=1024", "--set", "cache.memory_mb=0", "--set", "cache.disk_cache.mode=never",
            "--set", "compactor.merge=false")


def test_rebuilt_beside_the_server(start, corpus, expected):
    server = start(*NO_CACHE)
    load(server, corpus[0])
    total = indexed_parts(server)[1]
    assert rebuild(server, "--dry-run")[0] == [f"{total} parts, 0 would get a new index"]
    assert not (server.data_dir / "compaction-rebuild").exists()
    assert rebuild(server)[0] == [f"{total} parts, 0 have a new index"]
    bad = spoil_indexes(server)
    assert indexed_parts(server) == (total - 3, total)

    before = objects_of(server)
    lines, _ = rebuild(server, "--dry-run")
    assert lines[-1] == f"{total} parts, 3 would get a new index"
    assert sorted(re.match(r"default/app part (\S+): object \S+: it", line).group(1) for line in lines[:-1]) == bad, lines
    assert any("it is missing" in line for line in lines) and any("its hash" in line for line in lines), lines
    assert objects_of(server) == before and indexed_parts(server) == (total - 3, total)

    lines, errors = rebuild(server, "--stream", "app", "--org", "default")
    assert lines[-1] == f"{total} parts, 3 have a new index" and errors == "", (lines, errors)
    assert indexed_parts(server) == (total, total)
    assert compare(server, expected, "rebuilt index")["index_parts"] > total * QUERIES // 4
    assert rebuild(server)[0] == [f"{total} parts, 0 have a new index"]
    assert [path.name for path in (server.data_dir / "compaction-rebuild").iterdir() if not path.is_dir()] == ["LOCK"]
    record(expected, "parts with a rebuilt index")
    assert server.terminate() == 0


def test_rebuilt_without_the_server(start, corpus, expected):
    rows, _ = corpus
    server = start("--set", "ingester.index=false")
    load(server, rows)
    server.kill()
    parts = len(list(server.data_dir.rglob("*.parquet")))
    lines, _ = rebuild(server)
    assert lines[-1] == f"{parts} parts, {parts} have a new index", lines
    assert all(line.endswith(": it has no index") for line in lines[:-1])
    lines, _ = rebuild(server, "--all")
    assert lines[-1] == f"{parts} parts, {parts} have a new index", lines
    assert rebuild(server)[0] == [f"{parts} parts, 0 have a new index"]
    server = start("--set", "compactor.merge=false")
    assert indexed_parts(server) == (parts, parts)
    assert compare(server, expected, "index built later")["index_parts"] > QUERIES // 4


def test_a_part_that_cannot_be_rebuilt_is_named(start, corpus):
    server = start(*NO_CACHE)
    load(server, corpus[0])
    spoil_indexes(server)
    before = objects_of(server)
    path = sorted(server.data_dir.rglob("*.idx"))[0]  # Of the second part: the first has none any more.
    part = next(parquet for parquet in path.parent.glob("*.parquet") if path.name.startswith(parquet.name.split(".")[0]))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 4
    part.write_bytes(content)
    lines, errors = rebuild(server, code=1)
    assert lines[-1].endswith("2 have a new index, 1 failed"), lines
    assert part.name.split(".")[0] in errors and errors.count("error: ") == 1, errors
    assert part.exists() and path.exists()
    # Mended, it can be done.
    part.write_bytes(before[part])
    assert rebuild(server)[0][-1].endswith("1 have a new index")


def test_an_interrupted_rebuild_is_gone_on_with(start, corpus, expected):
    server = start("--set", "ingester.index=false", "--set", "compactor.merge=false")
    load(server, corpus[0])
    parts = indexed_parts(server)[1]
    killed = 0
    chance = random.Random(SEED + 2)
    for _ in range(5):
        command = subprocess.Popen([default_binary(), "index", "rebuild", "--data-dir", str(server.data_dir), "--all"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            command.wait(timeout=chance.uniform(0.02, 0.4))
        except subprocess.TimeoutExpired:
            command.send_signal(signal.SIGKILL)
            killed += command.wait() == -signal.SIGKILL
    # Leases of the killed runs do not hold up the next.
    lines, _ = rebuild(server)
    assert lines[-1].startswith(f"{parts} parts, "), lines
    assert indexed_parts(server) == (parts, parts)
    assert list((server.data_dir / "compaction-rebuild" / "files").iterdir()) == []
    compare(server, expected, f"rebuilt after {killed} kills")


def test_what_cannot_be_rebuilt_is_said(start, tmp_path):
    server = start()
    server.ingest("app", [{"message": "x"}], "?commit=force")
    assert "there is no stream 'ap'" in rebuild(server, "--stream", "ap", code=4)[1]
    assert "there is no organisation 'x'" in rebuild(server, "--org", "x", code=4)[1]
    missing = subprocess.run([default_binary(), "index", "rebuild", "--data-dir", str(tmp_path / "none")],
                             check=False, capture_output=True)
    assert missing.returncode == 4 and b"there is no" in missing.stderr, missing
    assert not (tmp_path / "none").exists()


def test_the_stream_says_how_its_fields_are_indexed(start, corpus):
    server = start(*NO_CACHE)
    load(server, corpus[0])
    stream = json.loads(server.request("GET", "/api/v1/streams")[2])["streams"][0]
    assert "index_parts_sampled" not in stream

    def described():
        status, _, body = server.request("GET", f"/api/v1/streams/{stream['id']}")
        assert status == 200, body
        answer = json.loads(body)
        return answer, {field["name"]: field["index"] for field in answer["fields"]}

    answer, fields = described()
    parts = answer["parts"]
    assert (answer["index_parts_sampled"], answer["index_parts_missing"]) == (parts, 0), answer
    kinds = {name: [(use["kind"], use["parts"]) for use in uses] for name, uses in fields.items()}
    assert kinds["message"] == [("text", parts)] and kinds["level"] == [("exact", parts)], kinds
    assert kinds["trace_id"] == [("hashed", parts)] and kinds["n"] == [("none", parts)], kinds
    assert fields["level"][0]["distinct"] == len(LEVELS), fields["level"]
    index_bytes = sum(path.stat().st_size for path in server.data_dir.rglob("*.idx"))
    assert 0 < sum(use["bytes"] for uses in fields.values() for use in uses) < index_bytes
    spoil_indexes(server)
    answer, fields = described()
    assert (answer["index_parts_sampled"], answer["index_parts_missing"]) == (parts, 3), answer
    assert fields["message"][0]["parts"] == parts - 3


def explained(server, statement, **body):
    """The plan, and each scan's report."""
    status, _, answer = server.request("POST", "/api/v1/query", {"language": "sql", "statement": f"EXPLAIN (FORMAT json) {statement}", **body})
    assert status == 200, answer
    rows = json.loads(answer)["rows"]
    assert [row[0] for row in rows] == ["physical_plan"] + ["scan"] * (len(rows) - 1), rows
    return json.loads(rows[0][1]), [json.loads(row[1]) for row in rows[1:]]


def readings_of(scan):
    return {reading["how"]: reading for reading in scan["readings"]}


def test_explain_says_how_parts_are_read(start, corpus, expected):
    server = start(*NO_CACHE)
    load(server, corpus[0])
    total = server.query("SELECT count(*) FROM logs.app")["stats"]["parts_total"]
    server.ingest("app", [{"message": "timeout"}] * 3)

    _, [scan] = explained(server, "SELECT count(*) FROM logs.app WHERE match(message, 'timeout')")
    assert scan["conditions"] == ["message has 'timeout'"] and scan["conditions_answered"] == 1, scan
    assert (scan["stream"], scan["parts_total"], scan["hot_rows"]) == ("logs.app", total, 3), scan
    timeouts = sum("timeout" in tokens_of(row.get("message") or "") for row in corpus[0])
    assert list(readings_of(scan)) == ["index_exact"] and scan["readings"][0]["rows_left"] == timeouts, scan

    # Most rows have one of these: looked at by reading all.
    statement = "SELECT seq FROM logs.app WHERE level IN ('info', 'warn', 'error')"
    _, [scan] = explained(server, statement)
    assert list(readings_of(scan)) == ["many_rows"] and scan["conditions_answered"] == 0, scan
    stats = server.query(statement)["stats"]
    assert stats["index_parts_whole"] == stats["index_parts"] == scan["readings"][0]["parts"] == total, stats

    _, [scan] = explained(server, "SELECT * FROM logs.app WHERE message ~ 'breaker.*half' AND n > 1000")
    assert scan["skipped_by_zone_maps"] == total and scan["readings"] == [], scan
    _, [scan] = explained(server, "SELECT * FROM logs.app WHERE _timestamp < TIMESTAMPTZ '2001-01-01 00:00:00+00'")
    assert scan["skipped_by_times"] == total, scan
    _, [scan] = explained(server, "SELECT * FROM logs.app", time_range={"start": 0, "end": 1000})
    assert (scan["skipped_by_time_range"], scan["conditions"]) == (total, []), scan
    _, scans = explained(server, "SELECT count(*) FROM logs.app a JOIN logs.app b ON a.seq = b.seq WHERE a.trace_id = '7fffffffffffffffffffffffffffffff'")
    assert sorted(scan["skipped_by_index"] > 0 for scan in scans) == [False, True], scans
    spoil_indexes(server)
    _, [scan] = explained(server, "SELECT * FROM logs.app WHERE regexp_matches(message, 'time(out|r)')")
    assert readings_of(scan)["no_index"]["parts"] == 3, scan
    assert scan["conditions"] == ["a test of message, needs (message contains 'timeout' OR message contains 'timer')"], scan


def test_explain_counts_each_part_once(start, corpus, expected):
    """Of every random query."""
    server = start("--set", "ingester.row_group_rows=1024", "--set", "compactor.merge=false")
    load(server, corpus[0])
    for statement in expected:
        status, _, body = server.request("POST", "/api/v1/query", {"language": "sql", "statement": "EXPLAIN (FORMAT json) " + statement})
        if status == 400 and "no word to look for" in body.decode():
            continue
        assert status == 200, (SEED, statement, body)
        for row in json.loads(body)["rows"][1:]:
            scan = json.loads(row[1])
            parts = sum(scan[name] for name in scan if name.startswith("skipped_by_")) + sum(reading["parts"] for reading in scan["readings"])
            assert parts == scan["parts_total"], (SEED, statement, scan)
            assert len(scan["conditions"]) >= scan["conditions_answered"], (SEED, statement, scan)


def test_conditions_are_run_where_an_index_has_not_answered(start):
    """A part of few rows has no common words, so its index does not say which of them have a phrase."""
    server = start(*NO_CACHE)
    large = [{"message": ["connection refused by host", "refused connection by host", "by connection refused"][n % 3], "n": n,
              "level": LEVELS[n % 4]} for n in range(1200)]
    small = [{"message": "connection refused by nobody", "n": -1, "level": LEVELS[0]}, {"message": "connection by refused", "n": -2}]
    for rows in (large, small):
        server.ingest("p", rows)
        server.flush("p")
    phrase = "match(message, '\"connection refused by\"')"
    rows = [row for row in large + small if row["message"].startswith("connection refused by")]
    answer = server.query(f"SELECT count(*) FROM logs.p WHERE {phrase}")
    assert answer["rows"] == [[len(rows)]] and answer["stats"]["scanned_rows"] == len(small), answer
    answer = server.query(f"SELECT sum(n) FROM logs.p WHERE {phrase}")
    assert answer["rows"] == [[sum(row["n"] for row in rows)]], answer
    ones = sum(row.get("level") == LEVELS[0] for row in rows)
    for conditions in (f"{phrase} AND level = '{LEVELS[0]}'", f"level = '{LEVELS[0]}' AND {phrase} AND _timestamp > TIMESTAMPTZ '2001-01-01'",
                       f"{phrase} AND message LIKE 'conn%' AND level = '{LEVELS[0]}'"):
        assert server.query(f"SELECT count(*) FROM logs.p WHERE {conditions}")["rows"] == [[ones]], conditions
    nots = len(large) + len(small) - len(rows)
    assert server.query(f"SELECT count(*) FROM logs.p WHERE NOT {phrase}")["rows"] == [[nots]]
    assert server.query(f"SELECT message FROM logs.p WHERE {phrase} AND n < 0")["rows"] == [["connection refused by nobody"]]
    assert server.query(f"SELECT count(*) FROM logs.p a JOIN logs.p b ON a.n = b.n WHERE a.n >= 0 AND "
                        f"match(a.message, '\"connection refused by\"') AND match(b.message, '\"by connection\"')")["rows"] == [[0]]
    _, [scan] = explained(server, f"SELECT count(*) FROM logs.p WHERE {phrase}")
    assert readings_of(scan)["index_exact"]["rows_left"] == len(rows) - 1 and scan["conditions_answered"] == 0, scan


def test_times_of_parts_within_a_range_are_not_read(start, corpus, expected):
    server = start(*NO_CACHE)
    load(server, corpus[0])
    begin, end = server.query("SELECT epoch_us(min(_timestamp)), epoch_us(max(_timestamp)) FROM logs.app")["rows"][0]
    within = f"_timestamp BETWEEN make_timestamptz({begin}) AND make_timestamptz({end})"
    for query in ("SELECT sum(n), count(trace_id) FROM logs.app WHERE {}",
                  "SELECT level, sum(n) FROM logs.app WHERE {} AND n > 10 GROUP BY ALL ORDER BY ALL",
                  "SELECT count(*) FROM logs.app WHERE {} AND match(message, 'timeout')",
                  "SELECT sum(c) FROM (SELECT n AS c FROM logs.app WHERE {})",
                  "SELECT count(*) FROM (SELECT * FROM logs.app WHERE {}) a JOIN logs.app b ON a.seq = b.seq WHERE b.n < 50"):
        ranged, plain = server.query(query.format(within)), server.query(query.format("true"))
        assert ranged["rows"] == plain["rows"], query
        assert ranged["stats"]["scanned_bytes"] == plain["stats"]["scanned_bytes"], query
    # What looks at the times reads them.
    later = begin + (end - begin) // 2
    count = server.query(f"SELECT count(*), min(_timestamp) FROM logs.app WHERE _timestamp > make_timestamptz({later})")["rows"][0]
    assert count[0] == sum(row["_timestamp"] > later for row in corpus[0]) and count[1] > "2", count


def check_counts(server, rows, **body):
    """Of one field alone and of rows, as Python counts them; the answers' stats by field, "" for the rows."""
    stats = {}
    for field in ("level", "service", "trace_id", "none", ""):
        statement = f"SELECT {field}, count(*) FROM logs.app GROUP BY {field}" if field else "SELECT count(*) FROM logs.app"
        status, _, answer = server.request("POST", "/api/v1/query", {"language": "sql", "statement": statement, **body})
        assert status == 200, answer
        answer = json.loads(answer)
        expected = collections.Counter((row.get(field),) if field else () for row in rows)
        assert {tuple(row[:-1]): row[-1] for row in answer["rows"]} == dict(expected), (SEED, statement, body)
        stats[field] = answer["stats"]
    return stats


def test_counts_of_one_field_read_no_part(start, corpus):
    rows = [{**row, "none": None} for row in corpus[0]]
    rows[-1]["none"] = "one"  # In the last part only.
    server = start(*NO_CACHE)
    part = len(rows) // PARTS
    for begin in range(0, len(rows), part):
        server.ingest("app", rows[begin:begin + part])
        server.flush("app")
    stats = check_counts(server, rows)
    total = stats[""]["parts_total"]
    for field, counted in (("level", total), ("service", total), ("none", 1)):
        assert (stats[field]["index_parts_counted"], stats[field]["scanned_rows"]) == (counted, 0), stats[field]
        assert stats[field]["row_groups_skipped"] == stats[field]["row_groups_total"], stats[field]
    assert stats["none"]["object_gets"] <= 2, "the other parts have none of the field, as the catalogue knows"
    assert (stats[""]["scanned_rows"], stats[""]["object_gets"]) == (0, 0), stats[""]
    assert stats["trace_id"]["index_parts_counted"] == 0 and stats["trace_id"]["scanned_rows"] == len(rows), stats["trace_id"]

    for field, how in (("level", "counted"), ("trace_id", "no_condition")):
        _, [scan] = explained(server, f"SELECT {field}, count(*) FROM logs.app GROUP BY 1")
        assert list(readings_of(scan)) == [how] and readings_of(scan)[how]["parts"] == total, scan
    _, [scan] = explained(server, "SELECT count(*) FROM (SELECT * FROM logs.app)")
    assert list(readings_of(scan)) == ["counted"], scan

    # The range cuts two parts, which are read; those between them are counted.
    begin, end = part // 2, 3 * part - 7
    cut = check_counts(server, rows[begin:end], time_range={"start": rows[begin]["_timestamp"], "end": rows[end]["_timestamp"]})
    assert cut["level"]["index_parts_counted"] > 0 and 0 < cut["level"]["scanned_rows"] <= 2 * part, cut["level"]
    assert 0 < cut[""]["scanned_rows"] <= 2 * part, cut[""]

    # Rows in memory, and a value that no part has.
    more = [{"level": "rare", "service": None}] * 3
    server.ingest("app", more)
    assert check_counts(server, rows + more)["level"]["scanned_rows"] == 3

    server.flush("app")
    spoil_indexes(server)
    spoiled = check_counts(server, rows + more)["level"]
    assert spoiled["index_parts_counted"] == spoiled["parts_total"] - 3, spoiled


FACET_FIELDS = ["level", "service", "note", "n", "trace_id", "none"]


def check_facets(server, rows, **body):
    """As Python counts them; the answer's stats."""
    status, _, answer = server.request("POST", "/api/v1/query/facets", {"stream": "app", "fields": FACET_FIELDS, "top": 3, **body})
    assert status == 200, answer
    answer = json.loads(answer)
    assert answer["rows"] == len(rows), (SEED, body)
    for facet in answer["fields"]:
        values = collections.Counter(row[facet["name"]] for row in rows if row.get(facet["name"]) is not None)
        assert facet["rows"] == sum(values.values()), (SEED, body, facet)
        assert abs(facet["distinct"] - len(values)) <= 0.5 * len(values), (SEED, body, facet)
        expected = sorted(values.items(), key=lambda item: (-item[1], str(item[0]).encode() if isinstance(item[0], str) else item[0]))[:3]
        assert [(top["value"], top["count"]) for top in facet["top"]] == expected, (SEED, body, facet)
    return answer["stats"]


@pytest.mark.parametrize("index", ["true", "false"])
def test_facets_are_the_same_with_and_without_an_index(start, corpus, index):
    rows = [{**row, "none": None} for row in corpus[0]]
    rows[0]["none"] = "one"
    settings = ("--set", f"ingester.index={index}", "--set", "compactor.merge=false", "--set", "ingester.row_group_rows=1024")
    server = start(*settings)
    quarter = len(rows) // 4
    for begin in range(0, 3 * quarter, quarter):
        server.ingest("app", rows[begin:begin + quarter])
        server.flush("app")
    check_facets(server, rows[:3 * quarter])
    server.ingest("app", rows[3 * quarter:])  # In memory.
    check_facets(server, rows)
    # The range cuts the first part, and the rows in memory.
    begin, end = quarter // 2, 3 * quarter + 7
    check_facets(server, rows[begin:end], time_range={"start": rows[begin]["_timestamp"], "end": rows[end]["_timestamp"]})
    check_facets(server, [row for row in rows if row["n"] > 50], statement="n:>50")
    check_facets(server, [], time_range={"start": 0, "end": 1000})
    _, _, answer = server.request("POST", "/api/v1/query/facets", {"stream": "app", "fields": ["level", "service"]})
    stats = json.loads(answer)["stats"]
    # Those in memory, once for each field; or all.
    assert (stats["scanned_rows"] == 2 * quarter) == (index == "true"), stats
    if index == "false":
        return
    # One of three has none any more: its rows are read.
    server.terminate()
    spoiled = sorted(server.data_dir.rglob("*.idx"))[0]
    spoiled.write_bytes(spoiled.read_bytes()[:-9])
    server = start(*settings, "--set", "scrub.bytes_per_second=0")
    check_facets(server, rows)
