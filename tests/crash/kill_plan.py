"""Where the server can be killed, and what must go on for it to come there. Data for kill_test.py.

A name that ends with `_` stands for all that begin with it.
"""
import dataclasses

# Not of this test: name: (the reason, the path of the test that covers the place).
ELSEWHERE = dict.fromkeys(("disk_cache_before_rename", "disk_cache_after_rename", "disk_cache_before_remove"),
                          ("is passed by queries only", "tests/e2e/test_caches.py"))
ELSEWHERE["retention_id_pack_removed"] = ("comes when the longest query after a pack's end is over", "src/compaction/id_packer_test.cc")
# On a small disk of their own, filled up under load. Left out, with a message, where there cannot be one.
ON_A_FULL_DISK = ("wal_reserve_released",)
# Code of one object store only.
OBJECT_STORE = {"local_": "local", "s3_": "s3"}

# Passed by a start: armed on the command line. The others are armed while the server is under load.
AT_START = ("start_", "lease_before_take", "lease_taken", "lease_before_renew", "wal_open_", "replay_", "migration_step",
            "catalogue_shards_claimed", "catalogue_shards_deleted", "wal_reserve_rebuilt", "wal_before_quarantine", "retention_", "local_before_remove",
            "local_removed", "s3_before_remove", "compaction_intent_abandoned", "compaction_object_removed",
            "catalogue_dump_restore_")
# Passed by a stop: the load ends with SIGTERM.
AT_STOP = ("drain_", "lease_before_release", "wal_before_close", "wal_closed", "wal_before_mark")
# Passed once in the life of a process, or too seldom to wait for the third time: killed at the first, each time.
ONCE = ("start_", "lease_", "wal_open_", "replay_claimed", "replay_intent_abandoned", "replay_object_removed",
        "replay_after_flush", "replay_before_settled", "catalogue_shards_", "wal_reserve_rebuilt",
        "wal_before_quarantine", "retention_", "wal_rewrite_", "compaction_intent_abandoned", "catalogue_dump_restore_",
        *ON_A_FULL_DISK, *AT_STOP)
# What the run before a start must leave behind: a method of Lane.
PRELUDES = {
    "migration_step": "leave_nothing", "wal_reserve_rebuilt": "leave_no_reserve",
    "replay_intent_abandoned": "leave_an_unfinished_flush", "replay_object_removed": "leave_an_unfinished_flush",
    # The first passage is the probe's, the second removes an object of the flush.
    "local_before_remove": "leave_an_unfinished_flush", "local_removed": "leave_an_unfinished_flush",
    "s3_before_remove": "leave_an_unfinished_flush",
    "wal_before_quarantine": "leave_a_damaged_log",
    "replay_after_batch": "leave_rows", "replay_after_flush": "leave_a_backlog", "catalogue_shards_deleted": "leave_flushed_shards",
    "retention_parts_expired": "leave_old_rows", "retention_object_removed": "leave_expired_parts",
    "retention_part_purged": "leave_expired_parts",
    "retention_dump_restored": "leave_an_old_dump", "catalogue_dump_restore_before_commit": "leave_an_old_dump",
    "catalogue_dump_restore_after_commit": "leave_an_old_dump", "retention_dump_object_removed": "leave_a_removed_dump",
    "compaction_intent_abandoned": "leave_an_unfinished_merge", "compaction_object_removed": "leave_an_unfinished_merge",
}
# What is checked beside the ledger after the kill: a method of Lane.
AFTERWARDS = {"wal_before_quarantine": "check_the_damaged_log"}
# What else must fail for a place to be passed: `{hit}` makes it another moment each time.
ALSO = {"wal_before_mend": "wal_before_sync=error@{sync}", "wal_mend_moved": "wal_before_sync=error@{sync}",
        "wal_mended": "wal_before_sync=error@{sync}",
        "wal_read_only": "wal_before_sync=error@{sync},wal_before_mend=error"}
# What is done beside the load: a method of Lane.
BESIDE = {"ingest_stream_dropped": "drop_streams", "shard_": "drop_streams", "wal_queue_deleted": "drop_streams",
          "catalogue_shard_made": "make_streams", "ingest_shard_created": "make_streams", "wal_queue_appended": "make_streams",
          "wal_queue_created": "make_streams"}
# Passed while parts are merged: the server looks for some every second. Half of the random kills are of such servers, too.
WHILE_MERGING = ("compaction_", "catalogue_compaction_", "catalogue_part_replaced")
# Passed while the ids of parts are packed: nothing is merged, every two parts get a pack, four packs become one.
WHILE_PACKING = ("id_pack_", "catalogue_id_pack_")
# Passed while lists of old parts become objects: rows are of days that are over, and the server looks for such days every
# second. So it does at some of the random kills, too.
WHILE_DUMPING = ("part_dump_", "catalogue_dump_part_moved", "catalogue_dump_before_commit", "catalogue_dump_after_commit")
# Passed when segments of the log fill up: large requests come there sooner.
WITH_MUCH = ("wal_before_rotate", "wal_segment_", "wal_spare_", "wal_before_unlink", "wal_after_unlink", "wal_rewrite_")


def matches(name, patterns):
    return any(name.startswith(pattern) if pattern.endswith("_") else name == pattern for pattern in patterns)


def lookup(table, name):
    return next((value for pattern, value in table.items() if matches(name, (pattern,))), None)


@dataclasses.dataclass(frozen=True)
class Step:
    """One kill: at a passage of a failpoint, or (no name) at a random time."""
    name: str = ""
    hit: int = 1

    @property
    def spec(self):
        also = ALSO.get(self.name)
        # A mend follows a sync that fails: another one each time.
        hit = 1 if also else self.hit
        return ",".join(filter(None, [f"{self.name}=kill@{hit}", also and also.format(sync=10 + 15 * self.hit)]))

    def __str__(self):
        return self.spec if self.name else "random kill"


def steps_of(names, hits, backend):
    """The kills at those failpoints that this backend can reach."""
    store = "s3" if backend == "s3" else "local"
    names = [name for name in names if name not in ELSEWHERE and lookup(OBJECT_STORE, name) in (None, store)]
    return [Step(name, 1 if matches(name, ONCE) else hit) for name in names for hit in range(1, hits + 1)]
