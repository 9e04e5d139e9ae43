"""The queries, each in every engine's own words. A query that an engine lacks cannot be said in its language."""
import dataclasses

from oracle import BUCKET_US, COMMON_WORD, FIELDS, NEWEST, PHRASE, RARE_WORD, SUBSTRING, TOP, TWO_WORDS

BUCKET_SECONDS = BUCKET_US // 1_000_000
COLUMNS = ", ".join(FIELDS)
FIRST, SECOND = TWO_WORDS


@dataclasses.dataclass(frozen=True)
class Query:
    name: str
    shape: str  # number, groups, top, percentile, rows: how answers are compared
    title: str


QUERIES = [
    Query("count", "number", "count"),
    Query("count by level", "groups", "count by level"),
    Query("errors per 5 min", "groups", "errors per 5 min"),
    Query("p99 by service", "percentile", "p99 of the duration by service"),
    Query("top hosts", "top", f"top {TOP} hosts"),
    Query("distinct users", "number", "exact distinct user ids"),
    Query("distinct traces", "number", "exact distinct trace ids"),
    Query("needle", "rows", "needle by trace id, all columns"),
    Query("newest errors", "rows", f"newest {NEWEST} errors, all columns"),
    Query("common word", "number", f"count of a common word (`{COMMON_WORD}`)"),
    Query("rare word", "number", f"count of a rare word (`{RARE_WORD}`)"),
    Query("unique word", "number", "count of a word that is there once (12 hex digits)"),
    Query("two words", "number", f"count of two words (`{FIRST}` and `{SECOND}`)"),
    Query("phrase", "number", f"count of a phrase (`{PHRASE}`)"),
    Query("substring", "number", f"count of a substring (`{SUBSTRING}`)"),
]


def ours(oracle, table="logs.bench"):
    def count_of(words):
        return f"SELECT count(*) FROM {table} WHERE match(message, '{words}')"

    return {
        **plain_sql(oracle, table),
        "errors per 5 min": f"SELECT epoch_us(histogram(_timestamp, '5m')) // 1000000 AS t, count(*) FROM {table} "
                            "WHERE level = 'error' GROUP BY t",
        "common word": count_of(COMMON_WORD), "rare word": count_of(RARE_WORD), "unique word": count_of(oracle.unique_word),
        "two words": count_of(f"{FIRST} {SECOND}"), "phrase": count_of(f'"{PHRASE}"'),
    }


def duckdb(oracle, table):
    """Words by regular expression: DuckDB has no word search of its own."""
    def count_of(*words):
        conditions = " AND ".join(f"regexp_matches(message, '\\b{word}\\b')" for word in words)
        return f"SELECT count(*) FROM {table} WHERE {conditions}"

    return {
        **plain_sql(oracle, table),
        "errors per 5 min": f"SELECT epoch_us(time_bucket(INTERVAL '{BUCKET_SECONDS} seconds', _timestamp)) // 1000000 AS t, "
                            f"count(*) FROM {table} WHERE level = 'error' GROUP BY t",
        "common word": count_of(COMMON_WORD), "rare word": count_of(RARE_WORD), "unique word": count_of(oracle.unique_word),
        "two words": count_of(FIRST, SECOND), "phrase": count_of(PHRASE),
    }


def plain_sql(oracle, table):
    """What ours and DuckDB say alike."""
    columns = COLUMNS.replace("_timestamp", "epoch_us(_timestamp)")
    return {
        "count": f"SELECT count(*) FROM {table}",
        "count by level": f"SELECT level, count(*) FROM {table} GROUP BY level",
        "p99 by service": f"SELECT service, quantile_cont(duration_us, 0.99) FROM {table} GROUP BY service",
        "top hosts": f"SELECT host, count(*) AS n FROM {table} GROUP BY host ORDER BY n DESC LIMIT {TOP}",
        "distinct users": f"SELECT count(DISTINCT user_id) FROM {table}",
        "distinct traces": f"SELECT count(DISTINCT trace_id) FROM {table}",
        "needle": f"SELECT {columns} FROM {table} WHERE trace_id = '{oracle.needle['trace_id']}'",
        "newest errors": f"SELECT {columns} FROM {table} WHERE level = 'error' ORDER BY _timestamp DESC LIMIT {NEWEST}",
        "substring": f"SELECT count(*) FROM {table} WHERE message LIKE '%{SUBSTRING}%'",
    }


def clickhouse(oracle, table="logs"):
    columns = COLUMNS.replace("_timestamp", "toUnixTimestamp64Micro(_timestamp)")

    def count_of(condition):
        return f"SELECT count() FROM {table} WHERE {condition}"

    return {
        "count": f"SELECT count() FROM {table}",
        "count by level": f"SELECT level, count() FROM {table} GROUP BY level",
        "errors per 5 min": f"SELECT toUnixTimestamp(toStartOfInterval(_timestamp, INTERVAL {BUCKET_SECONDS} SECOND)) AS t, "
                            f"count() FROM {table} WHERE level = 'error' GROUP BY t",
        "p99 by service": f"SELECT service, quantileExact(0.99)(duration_us) FROM {table} GROUP BY service",
        "top hosts": f"SELECT host, count() AS n FROM {table} GROUP BY host ORDER BY n DESC LIMIT {TOP}",
        "distinct users": f"SELECT uniqExact(user_id) FROM {table}",
        "distinct traces": f"SELECT uniqExact(trace_id) FROM {table}",
        "needle": f"SELECT {columns} FROM {table} WHERE trace_id = '{oracle.needle['trace_id']}'",
        "newest errors": f"SELECT {columns} FROM {table} WHERE level = 'error' ORDER BY {table}._timestamp DESC LIMIT {NEWEST}",
        "common word": count_of(f"hasToken(message, '{COMMON_WORD}')"),
        "rare word": count_of(f"hasToken(message, '{RARE_WORD}')"),
        "unique word": count_of(f"hasToken(message, '{oracle.unique_word}')"),
        "two words": count_of(f"hasAllTokens(message, ['{FIRST}', '{SECOND}'])"),
        "phrase": count_of(f"hasPhrase(message, '{PHRASE}')"),
        "substring": count_of(f"message LIKE '%{SUBSTRING}%'"),
    }


def logsql(oracle):
    """Answers are objects; `victorialogs.rows_of` brings them into the order of the SQL engines' columns."""
    return {
        "count": "* | stats count() n",
        "count by level": "* | stats by (level) count() n",
        "errors per 5 min": "level:=error | stats by (_time:5m) count() n",
        "p99 by service": "* | stats by (service) quantile(0.99, duration_us) n",
        "top hosts": f"* | stats by (host) count() n | sort by (n desc) limit {TOP}",
        "distinct users": "* | stats count_uniq(user_id) n",
        "distinct traces": "* | stats count_uniq(trace_id) n",
        "needle": f"trace_id:={oracle.needle['trace_id']}",
        "newest errors": f"level:=error | sort by (_time desc) limit {NEWEST}",
        "common word": f"{COMMON_WORD} | stats count() n",
        "rare word": f"{RARE_WORD} | stats count() n",
        "unique word": f'"{oracle.unique_word}" | stats count() n',
        "two words": f"{FIRST} {SECOND} | stats count() n",
        "phrase": f'"{PHRASE}" | stats count() n',
        "substring": f'~"{SUBSTRING}" | stats count() n',
    }
