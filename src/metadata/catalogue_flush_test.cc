// Conformance of the flush protocol: every step, every refusal, every lost answer.
#include <algorithm>
#include <ctime>
#include <iostream>

#include "metadata/catalogue_fixture.h"

namespace molesignal {
namespace {

class CatalogueFlushTest : public CatalogueTest {
protected:
    void SetUp() override {
        CatalogueTest::SetUp();
        if (catalogue_ == nullptr) {
            return;
        }
        stream_ = make_stream();
        auto made = catalogue_->create_shard(context(), stream_.id, "log");
        ASSERT_OK(made);
        shard_ = *made;
    }
    Result<> add_intent(const FlushCommit& commit) {
        return catalogue_->add_flush_intent(context(), intent_for(commit, stream_.id));
    }
    /// What a flush changes, as text: equal texts mean that nothing happened.
    std::string state() {
        const auto seen = snapshot(stream_.id);
        std::string text = std::to_string(seen.stream.version);
        for (const auto& shard : seen.shards) {
            text += " shard " + std::to_string(shard.checkpoint.value) + shard.last_flush_id;
        }
        for (const auto& part : seen.parts) {
            text += " part " + part.id + "@" + std::to_string(part.added_version);
        }
        const auto intents = catalogue_->list_flush_intents(context());
        return text + " intents " + std::to_string(intents ? intents->size() : 999);
    }

    StreamInfo stream_;
    ShardInfo shard_;
};
MS_CATALOGUE_SUITE(CatalogueFlushTest);

TEST_P(CatalogueFlushTest, ACommitDoesAllOfIt) {
    auto commit = make_commit(shard_, 0, 100);
    commit.parts.push_back(make_part(shard_, 0, 100));
    commit.parts[1].objects.push_back(
        {.kind = "index", .key = "o/second", .bytes = 5, .xxh3 = 0x8000000000000001ULL});
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(catalogue_->commit_flush(context(), commit));

    const auto seen = snapshot(stream_.id);
    EXPECT_EQ(seen.stream.version, 1);
    ASSERT_EQ(seen.shards.size(), 1U);
    EXPECT_EQ(seen.shards[0].checkpoint, Position{100});
    EXPECT_EQ(seen.shards[0].last_flush_id, commit.flush_id);
    ASSERT_EQ(seen.parts.size(), 2U);
    const auto& wanted = commit.parts[1];
    const auto& part = seen.parts[0].id == wanted.id ? seen.parts[0] : seen.parts[1];
    EXPECT_EQ(part.id, wanted.id);
    EXPECT_EQ(part.stream, stream_.id);
    EXPECT_EQ(part.rows, 100);
    EXPECT_EQ(part.raw_bytes, 5000);
    EXPECT_EQ(part.time_min_us, wanted.time_min_us);
    EXPECT_EQ(part.time_max_us, wanted.time_max_us);
    EXPECT_EQ(part.shard, shard_.id);
    EXPECT_EQ(part.position_begin, Position{0});
    EXPECT_EQ(part.position_end, Position{100});
    EXPECT_EQ(part.fields, wanted.fields);
    EXPECT_EQ(part.format_version, 1);
    EXPECT_EQ(part.sort_order, "service,_timestamp");
    EXPECT_EQ(part.added_version, 1);
    ASSERT_EQ(part.objects.size(), 2U);
    EXPECT_EQ(part.objects[0].key, wanted.objects[0].key);
    EXPECT_EQ(part.objects[0].xxh3, ~0ULL);
    EXPECT_EQ(part.objects[1].kind, "index");
    EXPECT_EQ(part.objects[1].bytes, 5);
    EXPECT_EQ(part.objects[1].xxh3, 0x8000000000000001ULL);
    ASSERT_EQ(part.zone_maps.size(), 2U);
    EXPECT_EQ(part.zone_maps[0].min, std::string("a\0\xff", 3));
    EXPECT_EQ(part.zone_maps[0].max, "zz");
    EXPECT_EQ(part.zone_maps[0].null_count, 3);
    EXPECT_EQ(part.zone_maps[1].field, FieldId{300});
    const auto intents = catalogue_->list_flush_intents(context());
    ASSERT_OK(intents);
    EXPECT_TRUE(intents->empty());
    const auto totals = catalogue_->stream_totals(context(), stream_.id);
    ASSERT_OK(totals);
    EXPECT_EQ(totals->parts, 2);
    EXPECT_EQ(totals->rows, 200);
    EXPECT_EQ(totals->bytes, 2005);
    EXPECT_EQ(totals->raw_bytes, 10'000);
    EXPECT_EQ(totals->time_max_us, wanted.time_max_us);
}

TEST_P(CatalogueFlushTest, ALostAnswerIsResolvedByTheFlushId) {
    const auto commit = make_commit(shard_, 0, 10);
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(arm_failpoints("catalogue_after_commit=error"));
    EXPECT_CODE(catalogue_->commit_flush(context(), commit), ErrorCode::kUnavailable);
    disarm_failpoints();
    const auto after = state();
    ASSERT_OK(catalogue_->commit_flush(context(), commit));
    EXPECT_EQ(state(), after);
    // Even the whole flush again, from its intent on: an intent left behind would one day be
    // abandoned and take the objects of live parts with it.
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(catalogue_->commit_flush(context(), commit));
    EXPECT_EQ(state(), after);
    EXPECT_CODE(catalogue_->abandon_flush_intent(context(), commit.flush_id), ErrorCode::kConflict);
}

TEST_P(CatalogueFlushTest, AFailureAtAnyStepLeavesNothing) {
    const auto commit = make_commit(shard_, 0, 10);
    const auto nothing = state();
    ASSERT_OK(arm_failpoints("catalogue_intent_before_commit=error"));
    EXPECT_CODE(add_intent(commit), ErrorCode::kUnavailable);
    EXPECT_EQ(state(), nothing);
    disarm_failpoints();
    ASSERT_OK(arm_failpoints("catalogue_intent_after_commit=error"));
    EXPECT_CODE(add_intent(commit), ErrorCode::kUnavailable);
    disarm_failpoints();
    ASSERT_OK(add_intent(commit));  // The same again is fine.
    const auto intended = state();
    EXPECT_NE(intended, nothing);
    for (const auto* step : {"catalogue_part_inserted=error", "catalogue_before_commit=error"}) {
        ASSERT_OK(arm_failpoints(step));
        EXPECT_CODE(catalogue_->commit_flush(context(), commit), ErrorCode::kUnavailable);
        disarm_failpoints();
        EXPECT_EQ(state(), intended) << step;
    }
    ASSERT_OK(catalogue_->commit_flush(context(), commit));
    EXPECT_EQ(snapshot(stream_.id).parts.size(), 1U);
}

TEST_P(CatalogueFlushTest, OnlyTheExpectedCheckpointMoves) {
    ASSERT_OK(flush(shard_, 0, 10));
    const auto wrong = make_commit(shard_, 5, 20);
    ASSERT_OK(add_intent(wrong));
    const auto before = state();
    EXPECT_CODE(catalogue_->commit_flush(context(), wrong), ErrorCode::kConflict);
    EXPECT_EQ(state(), before);
    auto backwards = make_commit(shard_, 10, 11);
    backwards.new_checkpoint = Position{9};
    EXPECT_CODE(catalogue_->commit_flush(context(), backwards), ErrorCode::kInvalidArgument);
    ASSERT_OK(flush(shard_, 10, 20));
}

TEST_P(CatalogueFlushTest, AnOldEpochIsFenced) {
    const auto commit = make_commit(shard_, 0, 10);
    ASSERT_OK(add_intent(commit));
    database_->execute("UPDATE shards SET epoch = 2");
    const auto before = state();
    EXPECT_CODE(catalogue_->commit_flush(context(), commit), ErrorCode::kConflict);
    EXPECT_CODE(add_intent(make_commit(shard_, 0, 10)), ErrorCode::kConflict);
    // Nor does the new epoch consume an old one's intent.
    auto newer = commit;
    newer.epoch = Epoch{2};
    EXPECT_CODE(catalogue_->commit_flush(context(), newer), ErrorCode::kConflict);
    EXPECT_EQ(state(), before);
    shard_.epoch = Epoch{2};
    ASSERT_OK(flush(shard_, 0, 10));
}

TEST_P(CatalogueFlushTest, ACommitNeedsItsIntent) {
    auto commit = make_commit(shard_, 0, 10);
    EXPECT_CODE(catalogue_->commit_flush(context(), commit), ErrorCode::kConflict);
    ASSERT_OK(add_intent(commit));
    auto other = intent_for(commit, stream_.id);
    other.object_keys.emplace_back("o/more");
    EXPECT_CODE(catalogue_->add_flush_intent(context(), other), ErrorCode::kConflict);
    auto stranger = commit;
    stranger.parts[0].objects[0].key = "o/unknown";
    EXPECT_CODE(catalogue_->commit_flush(context(), stranger), ErrorCode::kInvalidArgument);

    ASSERT_OK(catalogue_->abandon_flush_intent(context(), commit.flush_id));
    ASSERT_OK(catalogue_->abandon_flush_intent(context(), commit.flush_id));
    EXPECT_CODE(catalogue_->commit_flush(context(), commit), ErrorCode::kConflict);
    EXPECT_CODE(add_intent(commit), ErrorCode::kConflict);
    // Still listed, so that a cleaner that died goes on.
    const auto intents = catalogue_->list_flush_intents(context());
    ASSERT_OK(intents);
    ASSERT_EQ(intents->size(), 1U);
    EXPECT_EQ((*intents)[0].object_keys, intent_for(commit, stream_.id).object_keys);
    EXPECT_EQ((*intents)[0].end, Position{10});
    EXPECT_EQ((*intents)[0].created_us, 77);
    ASSERT_OK(catalogue_->remove_flush_intent(context(), commit.flush_id));
    ASSERT_OK(catalogue_->remove_flush_intent(context(), commit.flush_id));
    EXPECT_CODE(catalogue_->commit_flush(context(), commit), ErrorCode::kConflict);
    EXPECT_TRUE(snapshot(stream_.id).parts.empty());
}

TEST_P(CatalogueFlushTest, APendingIntentIsNotRemoved) {
    const auto commit = make_commit(shard_, 0, 10);
    ASSERT_OK(add_intent(commit));
    EXPECT_CODE(catalogue_->remove_flush_intent(context(), commit.flush_id), ErrorCode::kConflict);
    ASSERT_OK(catalogue_->commit_flush(context(), commit));
}

TEST_P(CatalogueFlushTest, AnObjectBelongsToOnePart) {
    auto first = make_commit(shard_, 0, 10);
    ASSERT_OK(add_intent(first));
    ASSERT_OK(catalogue_->commit_flush(context(), first));
    auto second = make_commit(shard_, 10, 20);
    second.parts[0].objects = first.parts[0].objects;
    ASSERT_OK(add_intent(second));
    const auto before = state();
    EXPECT_CODE(catalogue_->commit_flush(context(), second), ErrorCode::kConflict);
    EXPECT_EQ(state(), before);
}

TEST_P(CatalogueFlushTest, ClosedShardsDrainAndDeletedOnesDoNot) {
    ASSERT_OK(catalogue_->set_shard_state(context(), shard_.id, shard_.epoch, ShardState::kClosed));
    ASSERT_OK(flush(shard_, 0, 10));
    const auto late = make_commit(shard_, 10, 20);
    ASSERT_OK(add_intent(late));
    ASSERT_OK(
        catalogue_->set_shard_state(context(), shard_.id, shard_.epoch, ShardState::kDeleted));
    EXPECT_CODE(catalogue_->commit_flush(context(), late), ErrorCode::kConflict);
    EXPECT_CODE(add_intent(make_commit(shard_, 10, 20)), ErrorCode::kConflict);
}

TEST_P(CatalogueFlushTest, AFlushWithoutPartsStillMovesTheCheckpoint) {
    auto commit = make_commit(shard_, 0, 10);
    commit.parts.clear();
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(catalogue_->commit_flush(context(), commit));
    EXPECT_EQ(snapshot(stream_.id).shards[0].checkpoint, Position{10});
}

TEST_P(CatalogueFlushTest, SnapshotsLeaveOutPartsOutsideTheRange) {
    for (std::uint64_t i = 0; i < 10; ++i) {
        ASSERT_OK(flush(shard_, i * 10, i * 10 + 10));
    }
    std::int64_t total = 0;
    const auto seen = catalogue_->snapshot(context(), stream_.id, 25'000'000, 40'000'000, total);
    ASSERT_OK(seen);
    EXPECT_EQ(total, 10);
    ASSERT_EQ(seen->parts.size(), 3U);
    // Newest first; both bounds are inclusive.
    EXPECT_EQ(seen->parts[0].position_begin, Position{40});
    EXPECT_EQ(seen->parts[2].position_begin, Position{20});
    for (const auto& part : seen->parts) {
        EXPECT_EQ(part.objects.size(), 1U);
    }
    const auto edge = catalogue_->snapshot(context(), stream_.id, 99'999'999, INT64_MAX, total);
    ASSERT_OK(edge);
    EXPECT_EQ(edge->parts.size(), 1U);
    const auto beyond = catalogue_->snapshot(context(), stream_.id, 100'000'000, INT64_MAX, total);
    ASSERT_OK(beyond);
    EXPECT_TRUE(beyond->parts.empty());
    EXPECT_EQ(total, 10);
}

TEST_P(CatalogueFlushTest, ExpiredPartsGoInSteps) {
    for (std::uint64_t i = 0; i < 5; ++i) {
        ASSERT_OK(flush(shard_, i * 10, i * 10 + 10));
    }
    const auto version = snapshot(stream_.id).stream.version;
    // The newest row of the third part is at 29.999999 s.
    const auto first = catalogue_->expire_parts(context(), stream_.id, 30'000'000, 2);
    ASSERT_OK(first);
    EXPECT_EQ(*first, 2);
    const auto rest = catalogue_->expire_parts(context(), stream_.id, 30'000'000, 100);
    ASSERT_OK(rest);
    EXPECT_EQ(*rest, 1);
    const auto none = catalogue_->expire_parts(context(), stream_.id, 30'000'000, 100);
    ASSERT_OK(none);
    EXPECT_EQ(*none, 0);
    const auto seen = snapshot(stream_.id);
    EXPECT_EQ(seen.parts.size(), 2U);
    EXPECT_EQ(seen.stream.version, version + 2);
    EXPECT_EQ(database_->number("SELECT COUNT(DISTINCT removed_version) FROM parquet_file_meta"),
              2);

    const auto fresh = catalogue_->list_removed_parts(context(), 3'600'000'000, 10);
    ASSERT_OK(fresh);
    EXPECT_TRUE(fresh->empty());
    auto removed = catalogue_->list_removed_parts(context(), 0, 2);
    ASSERT_OK(removed);
    EXPECT_EQ(removed->size(), 2U);
    removed = catalogue_->list_removed_parts(context(), 0, 10);
    ASSERT_OK(removed);
    ASSERT_EQ(removed->size(), 3U);
    for (const auto& part : *removed) {
        EXPECT_EQ(part.objects.size(), 1U);
        ASSERT_OK(catalogue_->purge_part(context(), part.id));
        ASSERT_OK(catalogue_->purge_part(context(), part.id));
    }
    EXPECT_EQ(database_->number("SELECT COUNT(*) FROM part_objects"), 2);
    EXPECT_CODE(catalogue_->purge_part(context(), seen.parts[0].id), ErrorCode::kConflict);
    EXPECT_EQ(snapshot(stream_.id).parts.size(), 2U);
}

TEST_P(CatalogueFlushTest, LivePartsAreListedByTheirIds) {
    std::vector<std::string> ids;
    for (std::uint64_t i = 0; i < 5; ++i) {
        ASSERT_OK(flush(shard_, i * 10, i * 10 + 10));
    }
    for (const auto& part : snapshot(stream_.id).parts) {
        ids.push_back(part.id);
    }
    std::ranges::sort(ids);
    std::string after;
    for (std::size_t at = 0; at < ids.size(); at += 2) {
        const auto page = catalogue_->list_parts(context(), after, 2);
        ASSERT_OK(page);
        ASSERT_EQ(page->size(), std::min<std::size_t>(2, ids.size() - at));
        EXPECT_EQ(page->front().id, ids[at]);
        EXPECT_EQ(page->front().objects.size(), 1U);
        after = page->back().id;
    }
    EXPECT_TRUE(catalogue_->list_parts(context(), after, 2)->empty());
    ASSERT_OK(catalogue_->expire_parts(context(), stream_.id, INT64_MAX, 100));
    EXPECT_TRUE(catalogue_->list_parts(context(), "", 10)->empty()) << "removed ones are not";
    const auto wrong = catalogue_->check_integrity(context());
    ASSERT_OK(wrong);
    EXPECT_TRUE(wrong->empty());
}

TEST_P(CatalogueFlushTest, AThousandPartsAreOneQuickSnapshot) {
    auto commit = make_commit(shard_, 0, 1000);
    commit.parts.clear();
    for (std::uint64_t i = 0; i < 1000; ++i) {
        auto part = make_part(shard_, i, i + 1);
        part.zone_maps.resize(12, part.zone_maps[0]);
        commit.parts.push_back(std::move(part));
    }
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(catalogue_->commit_flush(context(), commit));
    EXPECT_EQ(snapshot(stream_.id).parts.size(), 1000U);
    timespec begin{};
    timespec end{};
    constexpr int kRounds = 10;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    for (int i = 0; i < kRounds; ++i) {
        EXPECT_EQ(snapshot(stream_.id).parts.size(), 1000U);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    const auto micros =
        ((end.tv_sec - begin.tv_sec) * 1'000'000 + (end.tv_nsec - begin.tv_nsec) / 1000) / kRounds;
    RecordProperty("snapshot_cpu_us", std::to_string(micros));
    std::cout << "snapshot of 1,000 parts: " << micros << " us of CPU\n";
}

}  // namespace
}  // namespace molesignal
