// Conformance of dumps: parts that an object lists instead of the table, on both databases.
#include <algorithm>
#include <functional>
#include <map>

#include "metadata/catalogue_fixture.h"
#include "tests/support/fault_plan.h"

namespace molesignal {
namespace {

/// Keeps the parts of dumps in memory instead of objects.
class KeptDumps final : public PartDumpReader {
public:
    Result<std::vector<PartList>> read(const RequestContext& /*context*/,
                                       std::span<const PartDump> dumps) override {
        std::vector<PartList> lists;
        for (const auto& dump : dumps) {
            const auto found = kept.find(dump.object.key);
            if (found == kept.end()) {
                return Error(ErrorCode::kCorruption, "it is missing: " + dump.object.key);
            }
            auto parts = found->second;
            for (auto& part : parts) {
                part.dump = dump.id;
            }
            lists.push_back(std::make_shared<const std::vector<PartInfo>>(std::move(parts)));
        }
        return lists;
    }
    std::map<std::string, std::vector<PartInfo>> kept;
};

class CatalogueDumpTest : public CatalogueTest {
protected:
    void SetUp() override {
        CatalogueTest::SetUp();
        if (catalogue_ == nullptr) {
            return;
        }
        catalogue_->use_part_dumps(dumps_);
        stream_ = make_stream("app");
        auto made = catalogue_->create_shard(context(), stream_.id, "log");
        ASSERT_OK(made);
        shard_ = *made;
        for (std::uint64_t i = 0; i < 4; ++i) {
            ASSERT_OK(flush(shard_, i * 10, i * 10 + 10));
        }
        lease_ = take_lease("compaction/" + stream_.id.value + "/dump");
    }
    /// A dump of these parts of the table, in the place of another.
    PartDumpCommit make(const std::vector<PartInfo>& parts, const PartDump& replaced = {}) {
        PartDumpCommit commit{.dump = {}, .lease = lease_, .moved = {}, .replaced = replaced.id};
        auto listed =
            replaced.id.empty() ? std::vector<PartInfo>() : dumps_->kept.at(replaced.object.key);
        for (const auto& part : parts) {
            commit.moved.push_back(part.id);
            listed.push_back(part);
        }
        for (const auto& part : listed) {
            add_to_dump(commit.dump, part);
        }
        commit.dump.id = make_ulid(clock_.now(), random_);
        commit.dump.stream = stream_.id;
        commit.dump.level = "daily";
        commit.dump.partition = "1970-01-01";
        commit.dump.object = {
            .kind = "parts", .key = "d/" + commit.dump.id, .bytes = 300, .xxh3 = ~0ULL};
        dumps_->kept[commit.dump.object.key] = listed;
        return commit;
    }
    Result<> add_intent(const PartDumpCommit& commit) {
        return catalogue_->add_compaction_intent(context(),
                                                 {.compaction_id = commit.dump.id,
                                                  .stream = commit.dump.stream,
                                                  .lease = commit.lease.name,
                                                  .epoch = commit.lease.epoch,
                                                  .object_keys = {commit.dump.object.key},
                                                  .created_us = 77});
    }
    PartDump dump(const std::vector<PartInfo>& parts, const PartDump& replaced = {}) {
        const auto commit = make(parts, replaced);
        EXPECT_OK(add_intent(commit));
        EXPECT_OK(catalogue_->commit_part_dump(context(), commit));
        return commit.dump;
    }
    /// Those of the table, the oldest first.
    std::vector<PartInfo> table() {
        auto parts = catalogue_->list_stream_parts(context(), stream_.id, "", 100);
        EXPECT_OK(parts);
        if (!parts) {
            return {};
        }
        std::ranges::sort(*parts, {}, &PartInfo::time_min_us);
        return *std::move(parts);
    }
    std::vector<PartInfo> table(std::size_t parts_max) {
        auto parts = table();
        parts.resize(std::min(parts.size(), parts_max));
        return parts;
    }
    /// What a reader sees, wherever it comes from.
    std::vector<PartInfo> seen(std::int64_t begin_us = INT64_MIN, std::int64_t end_us = INT64_MAX) {
        std::int64_t total = 0;
        auto taken = catalogue_->snapshot(context(), stream_.id, begin_us, end_us, total);
        EXPECT_OK(taken);
        EXPECT_EQ(total, 4);
        auto parts = taken ? taken->parts : std::vector<PartInfo>();
        for (auto& part : parts) {
            part.dump.clear();
        }
        return parts;
    }
    /// What a dump changes, as text: equal texts mean that nothing happened.
    std::string state() {
        std::string text = std::to_string(database_->number("SELECT SUM(version) FROM streams"));
        for (const auto& part : table()) {
            text += " part " + part.id;
        }
        const auto live = catalogue_->list_part_dumps(context(), {});
        const auto removed = catalogue_->list_removed_part_dumps(context(), 0, 100);
        const auto intents = catalogue_->list_compaction_intents(context());
        for (const auto& dump : live ? *live : std::vector<PartDump>()) {
            text += " dump " + dump.id + " " + std::to_string(dump.parts);
        }
        return text + " removed " + std::to_string(removed ? removed->size() : 999) + " intents " +
               std::to_string(intents ? intents->size() : 999);
    }

    std::shared_ptr<KeptDumps> dumps_ = std::make_shared<KeptDumps>();
    StreamInfo stream_;
    ShardInfo shard_;
    Lease lease_;
};
MS_CATALOGUE_SUITE(CatalogueDumpTest);

TEST_P(CatalogueDumpTest, ReadersSeeTheSamePartsAsBefore) {
    const auto before = seen();
    const auto totals = *catalogue_->stream_totals(context(), stream_.id);
    const auto made = dump(table(3));
    EXPECT_EQ(table().size(), 1U);
    EXPECT_EQ(database_->number("SELECT COUNT(*) FROM parquet_file_meta"), 1);
    EXPECT_EQ(database_->number("SELECT COUNT(*) FROM part_objects"), 1);
    EXPECT_EQ(seen(), before);
    // Parts 0 to 9 s, 10 to 19 s, 20 to 29 s and 30 to 39 s.
    const auto two = seen(15'000'000, 25'000'000);
    ASSERT_EQ(two.size(), 2U);
    EXPECT_EQ(two[0], before[1]);
    EXPECT_EQ(two[1], before[2]);
    EXPECT_EQ(seen(35'000'000, 35'000'000).size(), 1U);
    EXPECT_TRUE(seen(INT64_MAX, INT64_MIN).empty());

    const auto now = *catalogue_->stream_totals(context(), stream_.id);
    EXPECT_EQ(now.parts, totals.parts);
    EXPECT_EQ(now.rows, totals.rows);
    EXPECT_EQ(now.bytes, totals.bytes);
    EXPECT_EQ(now.raw_bytes, totals.raw_bytes);
    EXPECT_EQ(now.time_min_us, totals.time_min_us);
    EXPECT_EQ(now.time_max_us, totals.time_max_us);
    EXPECT_EQ(snapshot(stream_.id).stream.version, 4) << "the set of parts is the same";
    const auto listed = catalogue_->list_part_dumps(context(), {});
    ASSERT_OK(listed);
    ASSERT_EQ(listed->size(), 1U);
    EXPECT_EQ(listed->front(), made);
    EXPECT_EQ(made.first_end_us, 9'999'999);
    EXPECT_EQ(snapshot(stream_.id).parts.back().dump, made.id);
}

TEST_P(CatalogueDumpTest, PartsOfATableSnapshotAreThoseOfTheTable) {
    const auto made = dump(table(3));
    std::int64_t total = 0;
    const auto taken =
        catalogue_->table_snapshot(context(), stream_.id, INT64_MIN, INT64_MAX, total);
    ASSERT_OK(taken);
    EXPECT_EQ(total, 4);
    EXPECT_EQ(taken->parts, table());
    ASSERT_EQ(taken->dumps.size(), 1U);
    EXPECT_EQ(taken->dumps[0], made);
    const auto none =
        catalogue_->table_snapshot(context(), stream_.id, 30'000'000, INT64_MAX, total);
    ASSERT_OK(none);
    EXPECT_TRUE(none->dumps.empty());
}

TEST_P(CatalogueDumpTest, WithoutAReaderNothingIsLeftOutSilently) {
    dump(table(3));
    const auto other = connect();
    std::int64_t total = 0;
    EXPECT_CODE(other->snapshot(context(), stream_.id, INT64_MIN, INT64_MAX, total),
                ErrorCode::kInternal);
    EXPECT_OK(other->snapshot(context(), stream_.id, 30'000'000, INT64_MAX, total));
    // A damaged dump is an error of the times that it has.
    dumps_->kept.clear();
    EXPECT_CODE(catalogue_->snapshot(context(), stream_.id, 0, 5, total), ErrorCode::kCorruption);
    EXPECT_OK(catalogue_->snapshot(context(), stream_.id, 30'000'000, INT64_MAX, total));
}

TEST_P(CatalogueDumpTest, PartsComeBackAsTheyWere) {
    const auto before = table();
    const auto made = dump(table(3));
    ASSERT_OK(catalogue_->restore_part_dump(context(), made.id));
    EXPECT_EQ(table(), before);
    EXPECT_TRUE(catalogue_->list_part_dumps(context(), {})->empty());
    // Again: somebody else did it.
    ASSERT_OK(catalogue_->restore_part_dump(context(), made.id));
    EXPECT_EQ(table(), before);
    EXPECT_CODE(catalogue_->restore_part_dump(context(), "nothing"), ErrorCode::kNotFound);
    // The object stays for queries that are under way.
    EXPECT_TRUE(catalogue_->list_removed_part_dumps(context(), 60'000'000, 10)->empty());
    const auto removed = catalogue_->list_removed_part_dumps(context(), 0, 10);
    ASSERT_OK(removed);
    ASSERT_EQ(removed->size(), 1U);
    EXPECT_EQ(removed->front(), made);
    ASSERT_OK(catalogue_->purge_part_dump(context(), made.id));
    ASSERT_OK(catalogue_->purge_part_dump(context(), made.id));
    EXPECT_TRUE(catalogue_->list_removed_part_dumps(context(), 0, 10)->empty());
    // What came back may go again, under the same partition.
    const auto next = dump(table(4));
    EXPECT_EQ(next.parts, 4);
    EXPECT_CODE(catalogue_->purge_part_dump(context(), next.id), ErrorCode::kConflict);
}

TEST_P(CatalogueDumpTest, LatePartsJoinTheDumpOfTheirPartition) {
    const auto before = seen();
    const auto first = dump(table(2));
    const auto second = dump(table(1), first);
    EXPECT_EQ(second.parts, 3);
    EXPECT_EQ(seen(), before);
    EXPECT_EQ(catalogue_->list_part_dumps(context(), {})->size(), 1U);
    EXPECT_EQ(catalogue_->list_removed_part_dumps(context(), 0, 10)->front(), first);
    // Two dumps of one partition, or one in the place of a dump that is gone: neither.
    const auto third = make(table(1));
    ASSERT_OK(add_intent(third));
    EXPECT_CODE(catalogue_->commit_part_dump(context(), third), ErrorCode::kConflict);
    auto late = make(table(1), first);
    ASSERT_OK(add_intent(late));
    EXPECT_CODE(catalogue_->commit_part_dump(context(), late), ErrorCode::kConflict);
    EXPECT_EQ(seen(), before);
}

TEST_P(CatalogueDumpTest, ALostAnswerIsFoundOutByCommittingAgain) {
    const auto before = seen();
    const auto commit = make(table(3));
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(catalogue_->commit_part_dump(context(), commit));
    ASSERT_OK(catalogue_->commit_part_dump(context(), commit));
    EXPECT_EQ(seen(), before);
    // Its intent would be abandoned one day, and the object go with it.
    EXPECT_CODE(add_intent(commit), ErrorCode::kConflict);
    // Also when it was replaced since.
    dump(table(1), commit.dump);
    ASSERT_OK(catalogue_->commit_part_dump(context(), commit));
    EXPECT_EQ(seen(), before);
}

TEST_P(CatalogueDumpTest, ADumpThatDoesNotFitIsRefused) {
    const std::vector<std::pair<const char*, std::function<void(PartDumpCommit&)>>> faults{
        {"in the catalogue", [](auto& commit) { ++commit.dump.rows; }},
        {"in the catalogue", [](auto& commit) { ++commit.dump.parts; }},
        {"in the catalogue", [](auto& commit) { ++commit.dump.part_bytes; }},
        {"in the catalogue", [](auto& commit) { ++commit.dump.raw_bytes; }},
        {"in the catalogue", [](auto& commit) { ++commit.dump.time_min_us; }},
        {"in the catalogue", [](auto& commit) { --commit.dump.time_max_us; }},
        {"in the catalogue", [](auto& commit) { ++commit.dump.first_end_us; }},
        {"in the catalogue", [](auto& commit) { commit.moved.pop_back(); }},
        {"no part is moved", [](auto& commit) { commit.moved.clear(); }},
        {"is moved twice", [](auto& commit) { commit.moved.push_back(commit.moved[0]); }},
        {"is missing", [](auto& commit) { commit.dump.partition.clear(); }},
        {"is missing", [](auto& commit) { commit.dump.object.bytes = 0; }},
        {"is not named by the intent", [](auto& commit) { commit.dump.object.key += "2"; }},
        {"needs an id", [](auto& commit) { commit.dump.id.clear(); }}};
    const auto commit = make(table(3));
    ASSERT_OK(add_intent(commit));
    const auto before = state();
    for (const auto& [message, spoil] : faults) {
        auto spoilt = commit;
        spoil(spoilt);
        const auto refused = catalogue_->commit_part_dump(context(), spoilt);
        EXPECT_CODE(refused, ErrorCode::kInvalidArgument);
        EXPECT_THAT(refused.error().message(), ::testing::HasSubstr(message));
        EXPECT_EQ(state(), before) << message;
    }
    ASSERT_OK(catalogue_->commit_part_dump(context(), commit));
}

TEST_P(CatalogueDumpTest, WhoWasOvertakenChangesNothing) {
    const auto commit = make(table(3));
    ASSERT_OK(add_intent(commit));
    // Another epoch, an abandoned intent, a part that is gone, a deleted stream.
    ASSERT_OK(catalogue_->release_lease(context(), lease_));
    EXPECT_CODE(catalogue_->commit_part_dump(context(), commit), ErrorCode::kConflict);
    const auto stolen = take_lease(lease_.name, "another");
    EXPECT_CODE(catalogue_->commit_part_dump(context(), commit), ErrorCode::kConflict);
    lease_ = stolen;
    ASSERT_OK(catalogue_->abandon_compaction_intent(context(), commit.dump.id));
    EXPECT_CODE(catalogue_->commit_part_dump(context(), commit), ErrorCode::kConflict);
    ASSERT_OK(catalogue_->remove_compaction_intent(context(), commit.dump.id));
    EXPECT_CODE(catalogue_->commit_part_dump(context(), commit), ErrorCode::kConflict);
    EXPECT_EQ(seen().size(), 4U);

    const auto second = make(table(3));
    ASSERT_OK(add_intent(second));
    ASSERT_EQ(*catalogue_->expire_parts(context(), stream_.id, INT64_MAX, 1), 1);
    EXPECT_CODE(catalogue_->commit_part_dump(context(), second), ErrorCode::kConflict);
    EXPECT_EQ(table().size(), 3U);

    const auto third = make(table(3));
    ASSERT_OK(add_intent(third));
    ASSERT_OK(catalogue_->delete_stream(context(), stream_.org, stream_.id));
    EXPECT_CODE(catalogue_->commit_part_dump(context(), third), ErrorCode::kConflict);
    EXPECT_TRUE(catalogue_->list_part_dumps(context(), {})->empty());
}

TEST_P(CatalogueDumpTest, PartsOfADumpAreCountedWhenOneIsDue) {
    dump(table(3));
    const auto counts = [&](std::int64_t before_us) {
        const auto found = catalogue_->count_parts(context(), stream_.id, before_us);
        EXPECT_OK(found);
        return std::pair(static_cast<int>(found->live), static_cast<int>(found->due));
    };
    EXPECT_EQ(counts(0), std::pair(4, 0));
    EXPECT_EQ(counts(9'999'999), std::pair(4, 0));
    EXPECT_EQ(counts(10'000'000), std::pair(4, 3));
    EXPECT_EQ(counts(INT64_MAX), std::pair(4, 4));
    const auto due = [&](std::int64_t before_us) {
        return catalogue_
            ->list_part_dumps(context(), {.stream = stream_.id, .ended_before_us = before_us})
            ->size();
    };
    EXPECT_EQ(due(9'999'999), 0U);
    EXPECT_EQ(due(10'000'000), 1U);
    EXPECT_EQ(catalogue_->list_part_dumps(context(), {.stream = StreamId{"other"}})->size(), 0U);
}

TEST_P(CatalogueDumpTest, PartsOfADeletedStreamComeBackAsRemovedOnes) {
    const auto made = dump(table(3));
    EXPECT_TRUE(catalogue_->list_part_dumps(context(), {.of_deleted_streams = true})->empty());
    ASSERT_OK(catalogue_->delete_stream(context(), stream_.org, stream_.id));
    EXPECT_EQ(catalogue_->list_removed_parts(context(), 0, 10)->size(), 1U);
    EXPECT_EQ(catalogue_->list_part_dumps(context(), {.of_deleted_streams = true})->size(), 1U);
    ASSERT_OK(catalogue_->restore_part_dump(context(), made.id));
    const auto removed = catalogue_->list_removed_parts(context(), 0, 10);
    ASSERT_OK(removed);
    EXPECT_EQ(removed->size(), 4U);
    EXPECT_TRUE(table().empty());
    ASSERT_OK(catalogue_->purge_shards(context(), 0));
    // The stream is forgotten when the last of its parts and dumps is.
    for (const auto& part : *removed) {
        ASSERT_OK(catalogue_->purge_part(context(), part.id));
    }
    EXPECT_EQ(*catalogue_->purge_streams(context(), 0, 10), 0);
    ASSERT_OK(catalogue_->purge_part_dump(context(), made.id));
    EXPECT_EQ(*catalogue_->purge_streams(context(), 0, 10), 1);
}

TEST_P(CatalogueDumpTest, EndedAtAnyStepItHappenedOrNot) {
    const auto before = seen();
    PartDump live;
    int steps = 0;
    for (const auto name : failpoint_names()) {
        if (!name.starts_with("catalogue_dump_") && name != "catalogue_part_inserted" &&
            name != "catalogue_answer_lost") {
            continue;
        }
        SCOPED_TRACE(std::string(name));
        ++steps;
        const auto commit = make(table(2));
        ASSERT_OK(add_intent(commit));
        ASSERT_OK(arm_failpoints(std::string(name) + "=error(internal)@1+"));
        static_cast<void>(catalogue_->commit_part_dump(context(), commit));
        disarm_failpoints();
        EXPECT_EQ(seen(), before);
        ASSERT_OK(catalogue_->commit_part_dump(context(), commit));
        EXPECT_EQ(table().size(), 2U);
        ASSERT_OK(arm_failpoints(std::string(name) + "=error(internal)@1+"));
        static_cast<void>(catalogue_->restore_part_dump(context(), commit.dump.id));
        disarm_failpoints();
        EXPECT_EQ(seen(), before);
        ASSERT_OK(catalogue_->restore_part_dump(context(), commit.dump.id));
        EXPECT_EQ(table().size(), 4U);
        EXPECT_EQ(seen(), before);
    }
    EXPECT_GE(steps, 7);
}

}  // namespace
}  // namespace molesignal
