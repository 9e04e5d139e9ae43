// Conformance of compaction's swap: every step, every refusal, every lost answer.
#include <algorithm>
#include <functional>
#include <thread>

#include "metadata/catalogue_fixture.h"
#include "tests/support/fault_plan.h"

namespace molesignal {
namespace {

constexpr const char* kJob = "compaction/1970-01-01";

class CatalogueCompactionTest : public CatalogueTest {
protected:
    void SetUp() override {
        CatalogueTest::SetUp();
        if (catalogue_ == nullptr) {
            return;
        }
        begin_stream("app");
        lease_ = take_lease(kJob);
    }
    /// A stream with three parts of ten rows.
    void begin_stream(const std::string& name) {
        stream_ = make_stream(name);
        auto made = catalogue_->create_shard(context(), stream_.id, "log");
        ASSERT_OK(made);
        shard_ = *made;
        for (std::uint64_t i = 0; i < 3; ++i) {
            ASSERT_OK(flush(shard_, i * 10, i * 10 + 10));
        }
    }
    Result<> add_intent(const CompactionCommit& commit) {
        return catalogue_->add_compaction_intent(context(), intent_for(commit));
    }
    Result<> commit_compaction(const CompactionCommit& commit) {
        return catalogue_->commit_compaction(context(), commit);
    }
    /// Of all live parts, or of the first few.
    CompactionCommit make(std::size_t parts_max = 100) {
        auto parts = live_parts();
        parts.resize(std::min(parts.size(), parts_max));
        return make_compaction(lease_, parts);
    }
    /// By their ids: the oldest first.
    std::vector<PartInfo> live_parts() {
        auto parts = catalogue_->list_stream_parts(context(), stream_.id, "", 100);
        EXPECT_OK(parts);
        return parts ? *std::move(parts) : std::vector<PartInfo>();
    }
    /// What a compaction changes, as text: equal texts mean that nothing happened.
    std::string state() {
        const auto seen = snapshot(stream_.id);
        std::string text = std::to_string(seen.stream.version);
        for (const auto& part : seen.parts) {
            text += " part " + part.id + "@" + std::to_string(part.added_version) + " " +
                    std::to_string(part.rows);
        }
        const auto removed = catalogue_->list_removed_parts(context(), 0, 100);
        const auto intents = catalogue_->list_compaction_intents(context());
        return text + " removed " + std::to_string(removed ? removed->size() : 999) + " intents " +
               std::to_string(intents ? intents->size() : 999);
    }
    std::int64_t live_rows() {
        std::int64_t rows = 0;
        for (const auto& part : snapshot(stream_.id).parts) {
            rows += part.rows;
        }
        return rows;
    }

    StreamInfo stream_;
    ShardInfo shard_;
    Lease lease_;
};
MS_CATALOGUE_SUITE(CatalogueCompactionTest);

TEST_P(CatalogueCompactionTest, ASwapReplacesPartsInOneVersion) {
    const auto old = live_parts();
    ASSERT_EQ(old.size(), 3U);
    auto commit = make(2);
    commit.parts[0].objects.push_back({.kind = "index", .key = "c/index", .bytes = 5, .xxh3 = 3});
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(commit_compaction(commit));

    const auto seen = snapshot(stream_.id);
    EXPECT_EQ(seen.stream.version, 4);
    EXPECT_EQ(seen.shards[0].checkpoint, Position{30}) << "flushes are not touched";
    ASSERT_EQ(seen.parts.size(), 2U);
    EXPECT_EQ(seen.parts[0].id, old[2].id);
    const auto& merged = seen.parts[1];
    EXPECT_EQ(merged.id, commit.parts[0].id);
    EXPECT_EQ(merged.rows, 20);
    EXPECT_EQ(merged.raw_bytes, 10'000);
    EXPECT_EQ(merged.added_version, 4);
    EXPECT_EQ(merged.shard, shard_.id) << "of one shard";
    EXPECT_EQ(merged.position_begin, Position{0});
    EXPECT_EQ(merged.position_end, Position{20});
    EXPECT_EQ(merged.zone_maps.size(), 2U);
    ASSERT_EQ(merged.objects.size(), 2U);
    EXPECT_EQ(merged.objects[1].key, "c/index");
    EXPECT_EQ(database_->number("SELECT COUNT(*) FROM parquet_file_meta WHERE deleted"
                                " AND removed_version = 4 AND removed_at_micros > 0"),
              2);
    const auto removed = catalogue_->list_removed_parts(context(), 0, 10);
    ASSERT_OK(removed);
    ASSERT_EQ(removed->size(), 2U);
    EXPECT_EQ((*removed)[0].objects.size(), 1U) << "they go by retention";
    const auto totals = catalogue_->stream_totals(context(), stream_.id);
    ASSERT_OK(totals);
    EXPECT_EQ(totals->rows, 30);
    EXPECT_EQ(totals->parts, 2);
    const auto intents = catalogue_->list_compaction_intents(context());
    ASSERT_OK(intents);
    EXPECT_TRUE(intents->empty());
    // What was merged is merged again.
    const auto next = make();
    ASSERT_OK(add_intent(next));
    ASSERT_OK(commit_compaction(next));
    EXPECT_EQ(snapshot(stream_.id).parts.size(), 1U);
    EXPECT_EQ(live_rows(), 30);
}

TEST_P(CatalogueCompactionTest, AnIntentIsListedAsItWasRecorded) {
    const auto commit = make();
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(add_intent(commit));  // The same again is fine.
    const auto intents = catalogue_->list_compaction_intents(context());
    ASSERT_OK(intents);
    ASSERT_EQ(intents->size(), 1U);
    EXPECT_EQ((*intents)[0].compaction_id, commit.compaction_id);
    EXPECT_EQ((*intents)[0].stream, stream_.id);
    EXPECT_EQ((*intents)[0].lease, kJob);
    EXPECT_EQ((*intents)[0].epoch, lease_.epoch);
    EXPECT_EQ((*intents)[0].object_keys, intent_for(commit).object_keys);
    EXPECT_EQ((*intents)[0].created_us, 78);
    auto other = intent_for(commit);
    other.object_keys.emplace_back("c/more");
    EXPECT_CODE(catalogue_->add_compaction_intent(context(), other), ErrorCode::kConflict);
    other = intent_for(commit);
    other.compaction_id.clear();
    EXPECT_CODE(catalogue_->add_compaction_intent(context(), other), ErrorCode::kInvalidArgument);
}

TEST_P(CatalogueCompactionTest, ALostAnswerIsResolvedByTheParts) {
    const auto commit = make();
    ASSERT_OK(add_intent(commit));
    for (const auto* lost :
         {"catalogue_compaction_after_commit=error", "catalogue_answer_lost=error"}) {
        ASSERT_OK(arm_failpoints(lost));
        EXPECT_CODE(commit_compaction(commit), ErrorCode::kUnavailable);
        disarm_failpoints();
    }
    const auto after = state();
    ASSERT_OK(commit_compaction(commit));
    EXPECT_EQ(state(), after);
    // An intent left behind would one day be abandoned and take the objects of a live part with it.
    EXPECT_CODE(add_intent(commit), ErrorCode::kConflict);
    EXPECT_CODE(catalogue_->abandon_compaction_intent(context(), commit.compaction_id),
                ErrorCode::kConflict);
    EXPECT_EQ(state(), after);
    // Nor does it matter what happened since: another has the lease, the new part is gone again.
    ASSERT_OK(catalogue_->release_lease(context(), lease_));
    (void)take_lease(kJob, "another");
    ASSERT_OK(commit_compaction(commit));
    ASSERT_OK(catalogue_->expire_parts(context(), stream_.id, INT64_MAX, 10));
    ASSERT_OK(commit_compaction(commit));
    ASSERT_OK(catalogue_->delete_stream(context(), stream_.org, stream_.id));
    ASSERT_OK(commit_compaction(commit));
}

TEST_P(CatalogueCompactionTest, AFailureAtAnyStepLeavesNothing) {
    const auto commit = make();
    const auto nothing = state();
    ASSERT_OK(arm_failpoints("catalogue_compaction_intent_before_commit=error"));
    EXPECT_CODE(add_intent(commit), ErrorCode::kUnavailable);
    EXPECT_EQ(state(), nothing);
    ASSERT_OK(arm_failpoints("catalogue_compaction_intent_after_commit=error"));
    EXPECT_CODE(add_intent(commit), ErrorCode::kUnavailable);
    disarm_failpoints();
    ASSERT_OK(add_intent(commit));
    const auto intended = state();
    EXPECT_NE(intended, nothing);
    for (const auto* step : {"catalogue_part_replaced=error",
                             "catalogue_part_replaced=error@3",
                             "catalogue_part_inserted=error",
                             "catalogue_compaction_before_commit=error"}) {
        ASSERT_OK(arm_failpoints(step));
        EXPECT_CODE(commit_compaction(commit), ErrorCode::kUnavailable);
        disarm_failpoints();
        EXPECT_EQ(state(), intended) << step;
    }
    ASSERT_OK(commit_compaction(commit));
    EXPECT_EQ(snapshot(stream_.id).parts.size(), 1U);
    EXPECT_EQ(live_rows(), 30);
}

TEST_P(CatalogueCompactionTest, ASnapshotSeesOldPartsOrNewOnes) {
    const auto commit = make();
    ASSERT_OK(add_intent(commit));
    const auto before = state();
    ASSERT_OK(arm_failpoints("catalogue_compaction_before_commit=pause"));
    Result<> done;
    std::thread compactor([&] { done = commit_compaction(commit); });
    await_failpoint("catalogue_compaction_before_commit");
    EXPECT_EQ(state(), before) << "all is written and not yet committed";
    disarm_failpoints();
    compactor.join();
    ASSERT_OK(done);
    const auto seen = snapshot(stream_.id);
    ASSERT_EQ(seen.parts.size(), 1U);
    EXPECT_EQ(seen.parts[0].id, commit.parts[0].id);
    EXPECT_EQ(database_->number("SELECT COUNT(*) FROM parquet_file_meta"
                                " WHERE added_version < 4 AND removed_version = 4"),
              3)
        << "version 3 is the old parts, version 4 the new";
}

TEST_P(CatalogueCompactionTest, OnlyTheHolderOfTheLeaseCommits) {
    const auto commit = make();
    ASSERT_OK(add_intent(commit));
    const auto before = state();
    auto other = commit;
    other.lease.holder = "another";
    EXPECT_CODE(commit_compaction(other), ErrorCode::kConflict);
    other = commit;
    other.lease.epoch = Epoch{2};
    EXPECT_CODE(commit_compaction(other), ErrorCode::kConflict);
    other = commit;
    other.lease = take_lease("another job");
    EXPECT_CODE(commit_compaction(other),
                ErrorCode::kConflict);  // A lease that is held, but not the intent's.
    other.lease.name = "no such job";
    EXPECT_CODE(commit_compaction(other), ErrorCode::kConflict);
    EXPECT_EQ(state(), before);

    // Its time is over, and nobody has taken it.
    ASSERT_OK(catalogue_->acquire_lease(context(), kJob, "compactor", -1, ""));
    ASSERT_OK(arm_failpoints("catalogue_compaction_before_commit=error"));
    EXPECT_CODE(commit_compaction(commit), ErrorCode::kUnavailable);  // All but the commit is done.
    disarm_failpoints();
    const auto taken = take_lease(kJob, "another");
    EXPECT_EQ(taken.epoch, Epoch{2});
    EXPECT_CODE(commit_compaction(commit), ErrorCode::kConflict);
    EXPECT_CODE(add_intent(make()), ErrorCode::kConflict);
    // Nor does the new epoch consume an old one's intent.
    other = commit;
    other.lease = taken;
    EXPECT_CODE(commit_compaction(other), ErrorCode::kConflict);
    EXPECT_EQ(state(), before);
    ASSERT_OK(catalogue_->abandon_compaction_intent(context(), commit.compaction_id));
    ASSERT_OK(catalogue_->remove_compaction_intent(context(), commit.compaction_id));
    lease_ = taken;
    const auto again = make();
    ASSERT_OK(add_intent(again));
    ASSERT_OK(commit_compaction(again));
}

TEST_P(CatalogueCompactionTest, AnExpiredLeaseThatNobodyTookCommits) {
    const auto commit = make();
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(catalogue_->acquire_lease(context(), kJob, "compactor", -1, ""));
    ASSERT_OK(commit_compaction(commit));
    EXPECT_EQ(live_rows(), 30);
}

TEST_P(CatalogueCompactionTest, AReleasedLeaseIsNobodys) {
    const auto commit = make();
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(catalogue_->release_lease(context(), lease_));
    EXPECT_CODE(commit_compaction(commit), ErrorCode::kConflict);
    EXPECT_CODE(add_intent(make()), ErrorCode::kConflict);
    auto stray = intent_for(make());
    stray.lease = "no such job";
    EXPECT_CODE(catalogue_->add_compaction_intent(context(), stray), ErrorCode::kConflict);
    EXPECT_EQ(snapshot(stream_.id).parts.size(), 3U);
}

TEST_P(CatalogueCompactionTest, APartThatIsNotLiveStopsTheSwap) {
    const auto commit = make();
    ASSERT_OK(add_intent(commit));
    // Retention was first: of the first part only.
    const auto expired = catalogue_->expire_parts(context(), stream_.id, 10'000'000, 10);
    ASSERT_OK(expired);
    EXPECT_EQ(*expired, 1);
    const auto before = state();
    const auto refused = commit_compaction(commit);
    EXPECT_CODE(refused, ErrorCode::kConflict);
    EXPECT_THAT(refused.error().message(), ::testing::HasSubstr(commit.replaced[0]));
    EXPECT_EQ(state(), before) << "the others stay, and the intent";
    ASSERT_OK(catalogue_->abandon_compaction_intent(context(), commit.compaction_id));
    EXPECT_CODE(commit_compaction(commit), ErrorCode::kConflict);

    auto unknown = make();
    unknown.replaced.emplace_back("no such part");
    ASSERT_OK(add_intent(unknown));
    EXPECT_CODE(commit_compaction(unknown), ErrorCode::kConflict);
    const auto first = stream_;
    begin_stream("other");
    auto foreign = make();
    foreign.stream = first.id;
    foreign.parts[0].stream = first.id;
    ASSERT_OK(add_intent(foreign));
    EXPECT_CODE(commit_compaction(foreign), ErrorCode::kConflict);  // Live, but of another stream.
    EXPECT_EQ(live_rows(), 30);
}

TEST_P(CatalogueCompactionTest, ADeletedStreamIsNotCompacted) {
    const auto commit = make();
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(catalogue_->delete_stream(context(), stream_.org, stream_.id));
    EXPECT_CODE(commit_compaction(commit), ErrorCode::kConflict);
    auto late = commit;
    late.compaction_id += "2";
    late.parts[0].objects[0].key += "2";
    EXPECT_CODE(add_intent(late), ErrorCode::kConflict);
    late.stream = StreamId{"no such stream"};
    EXPECT_CODE(add_intent(late), ErrorCode::kConflict);
    EXPECT_EQ(database_->number("SELECT COUNT(*) FROM parquet_file_meta"), 3);
}

TEST_P(CatalogueCompactionTest, AnAbandonedIntentNeverCommits) {
    const auto commit = make();
    EXPECT_CODE(commit_compaction(commit), ErrorCode::kConflict);  // Without an intent.
    ASSERT_OK(add_intent(commit));
    EXPECT_CODE(catalogue_->remove_compaction_intent(context(), commit.compaction_id),
                ErrorCode::kConflict);  // It may still commit.
    ASSERT_OK(catalogue_->abandon_compaction_intent(context(), commit.compaction_id));
    ASSERT_OK(catalogue_->abandon_compaction_intent(context(), commit.compaction_id));
    EXPECT_CODE(commit_compaction(commit), ErrorCode::kConflict);
    EXPECT_CODE(add_intent(commit), ErrorCode::kConflict);
    // Still listed, so that a cleaner that died goes on.
    const auto intents = catalogue_->list_compaction_intents(context());
    ASSERT_OK(intents);
    ASSERT_EQ(intents->size(), 1U);
    EXPECT_EQ((*intents)[0].object_keys, intent_for(commit).object_keys);
    ASSERT_OK(catalogue_->remove_compaction_intent(context(), commit.compaction_id));
    ASSERT_OK(catalogue_->remove_compaction_intent(context(), commit.compaction_id));
    EXPECT_CODE(commit_compaction(commit), ErrorCode::kConflict);
    EXPECT_CODE(catalogue_->abandon_compaction_intent(context(), commit.compaction_id),
                ErrorCode::kConflict);
    EXPECT_EQ(snapshot(stream_.id).parts.size(), 3U);
    EXPECT_EQ(snapshot(stream_.id).stream.version, 3);
}

TEST_P(CatalogueCompactionTest, AMergeThatDoesNotFitIsRefused) {
    const std::vector<std::pair<const char*, std::function<void(CompactionCommit&)>>> faults{
        {"30 rows would be replaced by 29", [](auto& commit) { --commit.parts[0].rows; }},
        {"30 rows would be replaced by 31", [](auto& commit) { ++commit.parts[0].rows; }},
        {"30 rows would be replaced by 0", [](auto& commit) { commit.parts.clear(); }},
        {"30 rows would be replaced by 60",
         [](auto& commit) {
             commit.parts.push_back(commit.parts[0]);
             commit.parts[1].id += "2";
             commit.parts[1].objects.clear();
             commit.parts[1].objects.push_back({.kind = "index", .key = "c/second"});
         }},
        {"no part is replaced", [](auto& commit) { commit.replaced.clear(); }},
        {"is replaced twice",
         [](auto& commit) { commit.replaced.push_back(commit.replaced.front()); }},
        {"is named twice", [](auto& commit) { commit.parts.push_back(commit.parts[0]); }},
        {"is named twice", [](auto& commit) { commit.parts[0].id = commit.replaced[0]; }},
        {"is of another stream", [](auto& commit) { commit.parts[0].stream.value += "2"; }},
        {"do not fit", [](auto& commit) { commit.parts[0].objects.clear(); }},
        {"do not fit", [](auto& commit) { commit.parts[0].rows = 0; }},
        {"of the times", [](auto& commit) { ++commit.parts[0].time_min_us; }},
        {"of the times", [](auto& commit) { --commit.parts[0].time_max_us; }},
        {"of the positions", [](auto& commit) { ++commit.parts[0].position_begin.value; }},
        {"of the positions", [](auto& commit) { --commit.parts[0].position_end.value; }},
        {"is of shard", [](auto& commit) { ++commit.parts[0].shard.value; }},
        {"is not named by the intent", [](auto& commit) { commit.parts[0].objects[0].key += "2"; }},
        {"needs an id", [](auto& commit) { commit.compaction_id.clear(); }}};
    const auto commit = make();
    auto intent = intent_for(commit);
    intent.object_keys.emplace_back("c/second");
    ASSERT_OK(catalogue_->add_compaction_intent(context(), intent));
    const auto before = state();
    for (const auto& [message, spoil] : faults) {
        auto spoilt = commit;
        spoil(spoilt);
        const auto refused = commit_compaction(spoilt);
        EXPECT_CODE(refused, ErrorCode::kInvalidArgument);
        EXPECT_THAT(refused.error().message(), ::testing::HasSubstr(message));
        EXPECT_EQ(state(), before) << message;
    }
    ASSERT_OK(commit_compaction(commit));  // An object that was not used is no fault.
    EXPECT_EQ(live_rows(), 30);
}

TEST_P(CatalogueCompactionTest, RowsOfSeveralShardsBecomeOnePart) {
    const auto second = catalogue_->create_shard(context(), stream_.id, "log");
    ASSERT_OK(second);
    ASSERT_OK(flush(*second, 0, 50));
    const auto commit = make();
    ASSERT_EQ(commit.parts[0].shard, kSeveralShards);
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(commit_compaction(commit));
    auto seen = snapshot(stream_.id);
    ASSERT_EQ(seen.parts.size(), 1U);
    EXPECT_EQ(seen.parts[0].shard, kSeveralShards);
    EXPECT_EQ(seen.parts[0].position_begin, Position{0});
    EXPECT_EQ(seen.parts[0].position_end, Position{50});
    EXPECT_EQ(seen.parts[0].rows, 80);
    // Split again, one piece may be of one shard.
    auto split = make();
    split.parts.push_back(split.parts[0]);
    split.parts[1].id += "2";
    split.parts[1].objects[0].key += "2";
    split.parts[0].rows = 30;
    split.parts[1].rows = 50;
    split.parts[1].shard = second->id;
    ASSERT_OK(add_intent(split));
    ASSERT_OK(commit_compaction(split));
    EXPECT_EQ(snapshot(stream_.id).parts.size(), 2U);
    EXPECT_EQ(live_rows(), 80);
    // A flush has one shard.
    auto stray = make_commit(shard_, 30, 40);
    stray.parts[0].shard = kSeveralShards;
    ASSERT_OK(catalogue_->add_flush_intent(context(), intent_for(stray, stream_.id)));
    EXPECT_CODE(catalogue_->commit_flush(context(), stray), ErrorCode::kInvalidArgument);
    stray.shard = kSeveralShards;
    EXPECT_CODE(catalogue_->commit_flush(context(), stray), ErrorCode::kNotFound);
}

TEST_P(CatalogueCompactionTest, PartsWithoutRowsLeaveNone) {
    database_->execute("UPDATE parquet_file_meta SET rows = 0");
    auto commit = make();
    commit.parts.clear();
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(arm_failpoints("catalogue_compaction_after_commit=error"));
    EXPECT_CODE(commit_compaction(commit), ErrorCode::kUnavailable);
    disarm_failpoints();
    ASSERT_OK(commit_compaction(commit));
    const auto seen = snapshot(stream_.id);
    EXPECT_TRUE(seen.parts.empty());
    EXPECT_EQ(seen.stream.version, 4);
    // Not done is told from done.
    ASSERT_OK(flush(shard_, 30, 40));
    auto missing = make();
    missing.parts.clear();
    EXPECT_CODE(commit_compaction(missing), ErrorCode::kConflict);
}

TEST_P(CatalogueCompactionTest, LivePartsOfOneStreamAreListedByTheirIds) {
    const auto first = stream_;
    begin_stream("other");
    std::vector<std::string> ids;
    for (const auto& part : snapshot(stream_.id).parts) {
        ids.push_back(part.id);
    }
    std::ranges::sort(ids);
    auto page = catalogue_->list_stream_parts(context(), stream_.id, "", 2);
    ASSERT_OK(page);
    ASSERT_EQ(page->size(), 2U);
    EXPECT_EQ((*page)[0].id, ids[0]);
    EXPECT_EQ((*page)[1].id, ids[1]);
    EXPECT_EQ((*page)[0].objects.size(), 1U);
    EXPECT_EQ((*page)[0].zone_maps.size(), 2U);
    EXPECT_EQ((*page)[0].fields.size(), 2U);
    page = catalogue_->list_stream_parts(context(), stream_.id, ids[1], 2);
    ASSERT_OK(page);
    ASSERT_EQ(page->size(), 1U);
    EXPECT_EQ((*page)[0].id, ids[2]);
    page = catalogue_->list_stream_parts(context(), stream_.id, ids[2], 2);
    ASSERT_OK(page);
    EXPECT_TRUE(page->empty());
    ASSERT_OK(catalogue_->expire_parts(context(), stream_.id, INT64_MAX, 100));
    page = catalogue_->list_stream_parts(context(), stream_.id, "", 100);
    ASSERT_OK(page);
    EXPECT_TRUE(page->empty()) << "removed ones are not";
    stream_ = first;
    EXPECT_EQ(live_parts().size(), 3U);
}

TEST_P(CatalogueCompactionTest, AForgottenStreamTakesItsLeasesAfterItsIntents) {
    const auto prefix = "compaction/" + stream_.id.value;
    lease_ = take_lease(prefix + "/1970-01-01");
    (void)take_lease(prefix + "/1970-01-02");
    (void)take_lease(prefix + "0/1970-01-01");
    (void)take_lease("index/" + stream_.id.value + "/1");
    const auto commit = make();
    ASSERT_OK(add_intent(commit));
    ASSERT_OK(catalogue_->delete_stream(context(), stream_.org, stream_.id));
    const auto removed = catalogue_->list_removed_parts(context(), 0, 10);
    ASSERT_OK(removed);
    for (const auto& part : *removed) {
        ASSERT_OK(catalogue_->purge_part(context(), part.id));
    }
    ASSERT_OK(catalogue_->purge_shards(context(), 0));
    const auto purged = [this] {
        const auto done = catalogue_->purge_streams(context(), 0, 10);
        EXPECT_OK(done);
        return done ? *done : -1;
    };
    const auto leases = [this] { return database_->number("SELECT COUNT(*) FROM leases"); };
    EXPECT_EQ(purged(), 0) << "an intent names objects that are still to be deleted";
    ASSERT_OK(catalogue_->abandon_compaction_intent(context(), commit.compaction_id));
    EXPECT_EQ(purged(), 0);
    EXPECT_EQ(leases(), 5);
    ASSERT_OK(catalogue_->remove_compaction_intent(context(), commit.compaction_id));
    EXPECT_EQ(purged(), 1);
    EXPECT_EQ(leases(), 3) << "those of other streams and jobs stay";
    EXPECT_EQ(database_->number("SELECT COUNT(*) FROM streams"), 0);
}

/// Whether a statement took place before its error came.
enum class FaultEffect : std::uint8_t { kErrorBefore = 1, kErrorAfter = 2 };

/// Statements that fail, counted over all connections.
struct StatementFaults {
    FaultPlan plan;
    FaultEffect effect = FaultEffect::kErrorBefore;
    std::uint64_t passed = 0;
    bool fired = false;

    bool hit() {
        const bool fails = plan.fails(++passed);
        fired = fired || fails;
        return fails;
    }
};

class FaultyConnection final : public SqlConnection {
public:
    FaultyConnection(std::unique_ptr<SqlConnection> base, StatementFaults& faults)
        : base_(std::move(base)), faults_(faults) {}

    Result<> begin(const RequestContext& context, SqlAccess access) override {
        return base_->begin(context, access);
    }
    Result<SqlRows> query(const RequestContext& context,
                          std::string_view sql,
                          const SqlParameters& parameters) override {
        return run([&] { return base_->query(context, sql, parameters); });
    }
    Result<> commit(const RequestContext& context) override {
        return run([&] { return base_->commit(context); });
    }
    void rollback() override { base_->rollback(); }
    bool usable() const override { return base_->usable(); }
    bool retryable() const override { return base_->retryable(); }

private:
    template <class Call>
    auto run(const Call& call) -> decltype(call()) {
        const Error fault(ErrorCode::kUnavailable, "injected fault");
        const bool hit = faults_.hit();
        if (hit && faults_.effect == FaultEffect::kErrorBefore) {
            return fault;
        }
        auto done = call();
        if (hit && done) {
            return fault;
        }
        return done;
    }

    std::unique_ptr<SqlConnection> base_;
    StatementFaults& faults_;
};

class CompactionFaultTest : public CatalogueCompactionTest {
protected:
    /// One compaction in a stream of its own while statements fail. It went through or left
    /// nothing; `end` brings it to an end.
    bool run(const FaultPlan& plan,
             FaultEffect effect,
             const std::function<void(const CompactionCommit&, bool added)>& end) {
        begin_stream("fault" + std::to_string(++runs_));
        StatementFaults faults{.plan = plan, .effect = effect};
        const auto faulty = database_->connect_through(
            [&](auto base) { return std::make_unique<FaultyConnection>(std::move(base), faults); },
            clock_,
            random_);
        const auto commit = make();
        const auto added = faulty->add_compaction_intent(context(), intent_for(commit));
        const auto committed = added ? faulty->commit_compaction(context(), commit) : added;
        const auto parts = live_parts();
        EXPECT_TRUE(parts.size() == 3 || (parts.size() == 1 && parts[0].rows == 30));
        EXPECT_EQ(live_rows(), 30);
        if (committed) {
            EXPECT_EQ(parts.size(), 1U);
        }
        end(commit, added.has_value());
        EXPECT_EQ(live_rows(), 30);
        EXPECT_EQ(database_->number("SELECT COUNT(*) FROM compaction_intents"), 0);
        return faults.fired && !HasFailure();
    }

    int runs_ = 0;
};
MS_CATALOGUE_SUITE(CompactionFaultTest);

TEST_P(CompactionFaultTest, EachStatementFailsAndTheCompactionIsRepeated) {
    for (const auto effect : {FaultEffect::kErrorBefore, FaultEffect::kErrorAfter}) {
        const auto hits = for_each_failure([&](const FaultPlan& plan) {
            return run(plan, effect, [this](const CompactionCommit& commit, bool added) {
                if (!added) {
                    EXPECT_OK(add_intent(commit));
                }
                EXPECT_OK(commit_compaction(commit));
                EXPECT_EQ(snapshot(stream_.id).parts.size(), 1U);
                EXPECT_EQ(snapshot(stream_.id).stream.version, 4);
            });
        });
        EXPECT_GE(hits, 30U) << "the faults meet nothing";
    }
}

TEST_P(CompactionFaultTest, EachStatementFailsAndTheCompactionIsAbandoned) {
    for (const auto effect : {FaultEffect::kErrorBefore, FaultEffect::kErrorAfter}) {
        const auto hits = for_each_failure([&](const FaultPlan& plan) {
            return run(plan, effect, [this](const CompactionCommit& commit, bool /*added*/) {
                const auto parts = snapshot(stream_.id).parts.size();
                const auto intents = catalogue_->list_compaction_intents(context());
                ASSERT_OK(intents);
                EXPECT_TRUE(parts == 3 || intents->empty()) << "committed, and still abandonable";
                for (const auto& intent : *intents) {
                    EXPECT_EQ(intent.compaction_id, commit.compaction_id);
                    EXPECT_OK(
                        catalogue_->abandon_compaction_intent(context(), intent.compaction_id));
                    EXPECT_OK(
                        catalogue_->remove_compaction_intent(context(), intent.compaction_id));
                }
                const auto late = commit_compaction(commit);
                EXPECT_EQ(late.has_value(), parts == 1);
                EXPECT_EQ(snapshot(stream_.id).parts.size(), parts);
            });
        });
        EXPECT_GE(hits, 30U) << "the faults meet nothing";
    }
}

/// Packs of ids: objects of a stream beside its parts.
class CatalogueIdPackTest : public CatalogueCompactionTest {
protected:
    IdPackCommit pack_commit(const std::string& id, std::vector<std::string> replaced = {}) {
        return {.compaction_id = id,
                .stream = stream_.id,
                .lease = lease_,
                .replaced = std::move(replaced),
                .pack = IdPackInfo{.id = id,
                                   .object = {.kind = "id_pack",
                                              .key = "packs/" + id,
                                              .bytes = 1'234,
                                              .xxh3 = 0xfedcba9876543210},
                                   .time_min_us = 1'000,
                                   .time_max_us = 2'000}};
    }
    Result<> add_intent_of(const IdPackCommit& commit) {
        return catalogue_->add_compaction_intent(context(),
                                                 {.compaction_id = commit.compaction_id,
                                                  .stream = commit.stream,
                                                  .lease = commit.lease.name,
                                                  .epoch = commit.lease.epoch,
                                                  .object_keys = {commit.pack->object.key}});
    }
    void add_pack(const std::string& id, std::vector<std::string> replaced = {}) {
        const auto commit = pack_commit(id, std::move(replaced));
        ASSERT_OK(add_intent_of(commit));
        ASSERT_OK(catalogue_->commit_id_pack(context(), commit));
    }
    std::vector<std::string> live(std::int64_t begin_us = 0, std::int64_t end_us = 10'000) {
        std::int64_t total = 0;
        auto seen = catalogue_->snapshot(context(), stream_.id, begin_us, end_us, total);
        EXPECT_OK(seen);
        std::vector<std::string> ids;
        for (const auto& pack : seen->id_packs) {
            ids.push_back(pack.id);
        }
        return ids;
    }
    ErrorCode code_of(const IdPackCommit& commit) {
        const auto done = catalogue_->commit_id_pack(context(), commit);
        EXPECT_FALSE(done);
        return done ? ErrorCode::kInternal : done.error().code();
    }
    using Ids = std::vector<std::string>;
};
MS_CATALOGUE_SUITE(CatalogueIdPackTest);

TEST_P(CatalogueIdPackTest, PacksComeAndGo) {
    add_pack("a");
    add_pack("b");
    EXPECT_EQ(live(), (Ids{"a", "b"}));
    EXPECT_EQ(live(2'000, 3'000), (Ids{"a", "b"}));
    EXPECT_EQ(live(2'001, 3'000), Ids());
    EXPECT_EQ(live(0, 999), Ids());
    const auto all = catalogue_->list_id_packs(context(), "a", 10);
    ASSERT_OK(all);
    ASSERT_EQ(all->size(), 1U);
    EXPECT_EQ((*all)[0].object.key, "packs/b");
    EXPECT_EQ((*all)[0].object.bytes, 1'234);
    EXPECT_EQ((*all)[0].object.xxh3, 0xfedcba9876543210U);
    EXPECT_EQ((*all)[0].time_min_us, 1'000);
    EXPECT_EQ((*all)[0].time_max_us, 2'000);
    add_pack("c", {"a", "b"});
    EXPECT_EQ(live(), Ids{"c"});
    ASSERT_OK(catalogue_->commit_id_pack(
        context(), {.stream = stream_.id, .lease = lease_, .replaced = {"c"}, .pack = {}}));
    EXPECT_EQ(live(), Ids());
    const auto removed = catalogue_->list_removed_id_packs(context(), 0, 10);
    ASSERT_OK(removed);
    EXPECT_EQ(removed->size(), 3U);
    EXPECT_TRUE(catalogue_->list_removed_id_packs(context(), 3'600'000'000, 10)->empty());
    for (const auto& pack : *removed) {
        ASSERT_OK(catalogue_->purge_id_pack(context(), pack.id));
        ASSERT_OK(catalogue_->purge_id_pack(context(), pack.id));
    }
    EXPECT_TRUE(catalogue_->list_removed_id_packs(context(), 0, 10)->empty());
    EXPECT_TRUE(catalogue_->list_compaction_intents(context())->empty());
}

TEST_P(CatalogueIdPackTest, TheSameCommitAgainIsFine) {
    add_pack("a");
    const auto commit = pack_commit("b", {"a"});
    ASSERT_OK(add_intent_of(commit));
    ASSERT_OK(catalogue_->commit_id_pack(context(), commit));
    ASSERT_OK(catalogue_->commit_id_pack(context(), commit));
    EXPECT_EQ(live(), Ids{"b"});
    // Its object belongs to it: no intent may name it, so that none removes it.
    EXPECT_EQ(add_intent_of(commit).error().code(), ErrorCode::kConflict);
    EXPECT_EQ(catalogue_->purge_id_pack(context(), "b").error().code(), ErrorCode::kConflict);
}

TEST_P(CatalogueIdPackTest, WhatDoesNotFitChangesNothing) {
    add_pack("a");
    const auto commit = pack_commit("b", {"a"});
    EXPECT_EQ(code_of(commit), ErrorCode::kConflict) << "without an intent";
    ASSERT_OK(add_intent_of(commit));
    auto other = commit;
    other.replaced = {"a", "x"};
    EXPECT_EQ(code_of(other), ErrorCode::kConflict) << "an unknown pack goes";
    EXPECT_EQ(live(), Ids{"a"});
    other = commit;
    other.pack->object.key = "packs/other";
    EXPECT_EQ(code_of(other), ErrorCode::kInvalidArgument) << "another object";
    other = commit;
    other.lease.epoch = Epoch{commit.lease.epoch.value + 1};
    EXPECT_EQ(code_of(other), ErrorCode::kConflict) << "another epoch";
    EXPECT_EQ(code_of({.stream = stream_.id, .lease = lease_, .replaced = {}, .pack = {}}),
              ErrorCode::kInvalidArgument);
    ASSERT_OK(catalogue_->abandon_compaction_intent(context(), "b"));
    EXPECT_EQ(code_of(commit), ErrorCode::kConflict) << "abandoned";
    EXPECT_EQ(live(), Ids{"a"});
    ASSERT_OK(catalogue_->delete_stream(context(), stream_.org, stream_.id));
    EXPECT_EQ(catalogue_->list_removed_id_packs(context(), 0, 10)->size(), 1U);
    EXPECT_EQ(code_of(pack_commit("c")), ErrorCode::kConflict) << "the stream is gone";
}

}  // namespace
}  // namespace molesignal
