"""The comparison that the tests of kills, power cuts and faults rest on finds what it is there to find."""
from workload import Ledger


def stored(server, keys_and_rows):
    for stream, row in keys_and_rows:
        server.ingest(stream, [row])


def test_the_checker_finds_rows_lost_doubled_altered_and_invented(server):
    ledger = Ledger("checker")
    good, doubled, altered, lost = ledger.take("orders", 0, 4)
    ledger.acknowledge([good, doubled, altered])
    stored(server, [("orders", ledger.row_of(key)) for key in (good, doubled, altered)])
    assert ledger.check(server) == []
    assert not ledger.found_faults
    ledger.acknowledge([lost])
    stored(server, [("orders", ledger.row_of(doubled)), ("orders", ledger.row_of(("orders", 7, 0)))])
    stored(server, [("orders", {**ledger.row_of(altered), "text": "something else"})])
    faults = ledger.check(server)
    assert ledger.found_faults == {"lost": 1, "doubled": 2, "altered": 1, "invented": 1}
    for text in ("1 acknowledged rows lost", "2 rows doubled", "altered", "1 rows that were never sent"):
        assert any(text in fault for fault in faults), faults


def test_the_checker_misses_a_stream_that_is_gone(server):
    ledger = Ledger("gone")
    ledger.acknowledge(ledger.take("orders", 0, 2))
    assert ledger.check(server) == ["orders: the stream with 2 acknowledged rows is missing"]
