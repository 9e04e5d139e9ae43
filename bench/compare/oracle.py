"""The right answers, computed from the generated rows alone, and the comparison of an engine's answer with them."""
import bisect
import collections
import json
import math

FIELDS = ["_timestamp", "level", "service", "host", "method", "path", "status", "duration_us", "trace_id", "span_id",
          "user_id", "message"]
NUMBERS = ("_timestamp", "status", "duration_us")
BUCKET_US = 300 * 1_000_000
NEWEST = 100
TOP = 10
COMMON_WORD = "upstream"
RARE_WORD = "refund"
TWO_WORDS = ("timeout", "voucher")
PHRASE = "connection refused by"
SUBSTRING = "eaker is half op"


def words_of(text):
    """Runs of letters, digits and `_`, in lower case: what a word is to every engine, given these rows."""
    return "".join(c if c.isalnum() or c == "_" else " " for c in text.lower()).split()


class Oracle:
    """One pass over the rows. `answers` has the right answer of each query; `compare` judges an engine's."""

    def __init__(self, path, rows):
        self.count = 0
        self.levels, self.buckets, self.hosts = (collections.Counter() for _ in range(3))
        self.durations = collections.defaultdict(list)
        self.users, self.traces = set(), set()
        self.newest = collections.deque(maxlen=NEWEST * 2)
        self.texts = collections.Counter()
        self.needle = self.unique_word = None
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                self._add(json.loads(line), number, rows)
        for values in self.durations.values():
            values.sort()
        self.user_count, self.trace_count = len(self.users), len(self.traces)
        self.users = self.traces = None
        if self.needle is None or self.unique_word is None:
            raise SystemExit("compare: too few rows: no needle among them")
        self.unique_word_count = self._count_unique(path)

    def _add(self, row, number, rows):
        self.count += 1
        self.levels[row["level"]] += 1
        self.hosts[row["host"]] += 1
        self.durations[row["service"]].append(row["duration_us"])
        self.users.add(row["user_id"])
        # Folded to save memory; two ids that fold to one number would show as a wrong count in every engine.
        self.traces.add(int(row["trace_id"][:16], 16) ^ int(row["trace_id"][16:], 16) << 1)
        if row["level"] == "error":
            self.buckets[row["_timestamp"] // BUCKET_US * 300] += 1
            self.newest.append(row)
        message = row["message"]
        words = words_of(message)
        self.texts["common word"] += COMMON_WORD in words
        self.texts["rare word"] += RARE_WORD in words
        self.texts["two words"] += all(word in words for word in TWO_WORDS)
        self.texts["phrase"] += has_phrase(words, PHRASE.split())
        self.texts["substring"] += SUBSTRING in message
        if self.needle is None and number >= rows // 2:
            self.needle = row
        if self.unique_word is None and number >= rows // 3 and "fingerprint " in message:
            self.unique_word = message.rsplit(" ", 1)[1]

    def _count_unique(self, path):
        word = self.unique_word.encode()
        with open(path, "rb") as file:
            return sum(self.unique_word in words_of(json.loads(line)["message"]) for line in file if word in line)

    def compare(self, query, answer, rank_tolerance):
        """None if `answer` is right, else what is wrong with it. `rank_tolerance`: share of ranks, for percentiles."""
        try:
            return getattr(self, "_compare_" + query.shape)(query, answer, rank_tolerance)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            return f"not an answer: {error!r}: {str(answer)[:200]}"

    def expected_number(self, name):
        numbers = {"count": self.count, "distinct users": self.user_count, "distinct traces": self.trace_count,
                   "unique word": self.unique_word_count}
        return numbers[name] if name in numbers else self.texts[name]

    def _compare_number(self, query, answer, _):
        expected, got = self.expected_number(query.name), int(answer[0][0])
        return None if len(answer) == 1 and got == expected else f"{got}, not {expected}"

    def _compare_groups(self, query, answer, _):
        expected = {"count by level": self.levels, "errors per 5 min": self.buckets}[query.name]
        got = {key: int(value) for key, value in answer}
        return None if got == dict(expected) and len(answer) == len(got) else difference(got, expected)

    def _compare_top(self, _, answer, __):
        """Hosts with equal counts may stand in any order."""
        got = {host: int(value) for host, value in answer}
        expected = [value for _, value in self.hosts.most_common(TOP)]
        right = [int(value) for _, value in answer] == expected and len(got) == TOP
        return None if right and all(self.hosts[host] == n for host, n in got.items()) else f"{answer}, not {expected}"

    def _compare_percentile(self, _, answer, rank_tolerance):
        """Between the values one rank (and the tolerance) to each side of rank 0.99 n, so that definitions with and without interpolation pass."""
        got = {service: float(value) for service, value in answer}
        if set(got) != set(self.durations) or len(answer) != len(got):
            return f"services {sorted(service for service, _ in answer)}"
        for service, value in got.items():
            values = self.durations[service]
            count, slack = len(values), math.ceil(len(values) * rank_tolerance)
            low = values[max(0, math.floor(0.99 * count) - 2 - slack)]
            high = values[min(count - 1, math.ceil(0.99 * count) + 1 + slack)]
            if not low <= value <= high:
                rank = bisect.bisect_left(values, value)
                return f"{service}: {value} is not in [{low}, {high}]; rank {rank / count:.4f}"
        return None

    def _compare_rows(self, query, answer, _):
        rows = [canonical(row) for row in answer]
        if query.name == "needle":
            expected = [canonical(self.needle)]
            return None if rows == expected else f"{rows}, not {expected}"
        return self._newest_problem(rows)

    def _newest_problem(self, rows):
        """Of rows that share the oldest time of the answer any may be in it."""
        errors = [canonical(row) for row in self.newest]
        wanted = min(NEWEST, len(errors))
        if len(rows) != wanted or len(set(rows)) != wanted:
            return f"{len(rows)} rows, {len(set(rows))} different, not {wanted}"
        times = [row[0] for row in rows]
        if times != sorted(times, reverse=True):
            return "not newest first"
        border = sorted((row[0] for row in errors), reverse=True)[wanted - 1]
        must, may = {row for row in errors if row[0] > border}, {row for row in errors if row[0] >= border}
        return None if must <= set(rows) <= may else f"rows that are not the newest: {sorted(set(rows) - may)[:1]}"


def canonical(row):
    """A row as a tuple in the order of FIELDS: engines answer lists, the generator made objects."""
    values = row if isinstance(row, list) else [row[name] for name in FIELDS]
    if len(values) != len(FIELDS):
        raise ValueError(f"a row of {len(values)} values")
    return tuple(int(value) if name in NUMBERS else str(value) for name, value in zip(FIELDS, values, strict=True))


def has_phrase(words, phrase):
    return any(words[at:at + len(phrase)] == phrase for at in range(len(words) - len(phrase) + 1))


def difference(got, expected):
    wrong = [key for key in set(got) | set(expected) if got.get(key) != expected.get(key)]
    return f"{len(wrong)} groups differ, such as {wrong[0]!r}: {got.get(wrong[0])}, not {expected.get(wrong[0])}"
