// Who owns a shard: the log that has its rows.
#include <algorithm>
#include <thread>

#include "metadata/catalogue_fixture.h"

namespace molesignal {
namespace {

class CatalogueShardTest : public CatalogueTest {
protected:
    void SetUp() override {
        CatalogueTest::SetUp();
        if (!IsSkipped()) {
            stream_ = make_stream();
        }
    }
    ShardInfo make(std::string_view owner) {
        const auto shard = catalogue_->create_shard(context(), stream_.id, owner);
        EXPECT_OK(shard);
        return *shard;
    }
    using Tails = std::vector<std::pair<ShardId, Position>>;
    std::vector<ShardInfo> claim(std::string_view owner, const Tails& tails = {}) {
        const auto claimed = catalogue_->claim_shards(context(), owner, tails);
        EXPECT_OK(claimed);
        return claimed.value_or(std::vector<ShardInfo>{});
    }
    ShardInfo get(ShardId id) { return **catalogue_->get_shard(context(), id); }

    StreamInfo stream_;
};
MS_CATALOGUE_SUITE(CatalogueShardTest);

TEST_P(CatalogueShardTest, ALogClaimsItsOwnAndLeavesTheOthers) {
    const auto mine = make("log a");
    const auto theirs = make("log b");
    const auto claimed = claim("log a");
    ASSERT_EQ(claimed.size(), 1U);
    EXPECT_EQ(claimed[0].id, mine.id);
    EXPECT_EQ(claimed[0].owner, "log a");
    EXPECT_EQ(claimed[0].epoch, Epoch{2});
    EXPECT_EQ(claimed[0].state, ShardState::kClosed);
    EXPECT_EQ(get(theirs.id).epoch, Epoch{1});
    EXPECT_EQ(get(theirs.id).state, ShardState::kOpen);
    // Not even by name.
    const auto named = claim("log a", {{theirs.id, Position{5}}, {ShardId{999}, Position{5}}});
    ASSERT_EQ(named.size(), 2U);
    EXPECT_EQ(named[1].owner, "log b");
    EXPECT_EQ(named[1].epoch, Epoch{1});
    ASSERT_OK(catalogue_->delete_shards(context(), "log a", {mine.id, theirs.id}));
    EXPECT_EQ(get(mine.id).state, ShardState::kDeleted);
    EXPECT_EQ(get(theirs.id).state, ShardState::kOpen);
    EXPECT_CODE(catalogue_->claim_shards(context(), "", {}), ErrorCode::kInvalidArgument);
}

TEST_P(CatalogueShardTest, AnOldEpochCommitsNothingMore) {
    const auto shard = make("log");
    const auto late = make_commit(shard, 0, 10);
    ASSERT_OK(catalogue_->add_flush_intent(context(), intent_for(late, stream_.id)));
    const auto claimed = claim("log");
    EXPECT_CODE(catalogue_->commit_flush(context(), late), ErrorCode::kConflict);
    EXPECT_CODE(
        catalogue_->add_flush_intent(context(), intent_for(make_commit(shard, 0, 5), stream_.id)),
        ErrorCode::kConflict);
    EXPECT_OK(flush(claimed[0], 0, 10));
    const auto intents = catalogue_->list_flush_intents(context());
    ASSERT_OK(intents);
    ASSERT_EQ(intents->size(), 1U) << "the killed process's";
    EXPECT_EQ((*intents)[0].owner, "log");
}

TEST_P(CatalogueShardTest, AClaimWaitsForTheCommitOfAKilledProcess) {
    const auto shard = make("log");
    ASSERT_OK(arm_failpoints("catalogue_before_commit=pause"));
    const auto killed = connect();
    std::thread commit([&] {
        const auto flushed = make_commit(shard, 0, 10);
        EXPECT_OK(killed->add_flush_intent(context(), intent_for(flushed, stream_.id)));
        EXPECT_OK(killed->commit_flush(context(), flushed));
    });
    // Everything is done but the COMMIT.
    await_failpoint("catalogue_before_commit");
    std::vector<ShardInfo> claimed;
    std::thread claimer([&] { claimed = claim("log"); });
    disarm_failpoints();
    commit.join();
    claimer.join();
    ASSERT_EQ(claimed.size(), 1U);
    EXPECT_EQ(claimed[0].checkpoint, Position{10}) << "read after the commit, not before";
}

TEST_P(CatalogueShardTest, RowsAboveTheCheckpointBringADeletedShardBack) {
    const auto shard = make("log");
    ASSERT_OK(flush(shard, 0, 10));
    ASSERT_OK(catalogue_->delete_shards(context(), "log", {shard.id}));
    const auto finished = claim("log", {{shard.id, Position{10}}});
    ASSERT_EQ(finished.size(), 1U);
    EXPECT_EQ(finished[0].state, ShardState::kDeleted) << "all of its rows are in parts";
    // A copy of the log had drained it; this one has ten rows more.
    const auto alive = claim("log", {{shard.id, Position{20}}});
    ASSERT_EQ(alive.size(), 1U);
    EXPECT_EQ(alive[0].state, ShardState::kClosed);
    EXPECT_EQ(alive[0].checkpoint, Position{10});
    EXPECT_GT(alive[0].epoch, shard.epoch);
    EXPECT_EQ(snapshot(stream_.id).shards.size(), 1U);
    EXPECT_OK(flush(alive[0], 10, 20));
    ASSERT_OK(catalogue_->delete_stream(context(), stream_.org, stream_.id));
    const auto gone = claim("log", {{shard.id, Position{30}}});
    ASSERT_EQ(gone.size(), 1U);
    EXPECT_EQ(gone[0].state, ShardState::kDeleted) << "its stream was deleted";
}

TEST_P(CatalogueShardTest, AShardOfAnOlderVersionGoesToTheLogThatHasIt) {
    const auto shard = make("");
    const auto other = make("");
    EXPECT_TRUE(claim("log").empty());
    const auto adopted = claim("log", {{shard.id, Position{0}}});
    ASSERT_EQ(adopted.size(), 1U);
    EXPECT_EQ(adopted[0].owner, "log");
    EXPECT_EQ(adopted[0].state, ShardState::kClosed);
    EXPECT_EQ(claim("log").size(), 1U);
    EXPECT_EQ(get(other.id).owner, "");
}

TEST_P(CatalogueShardTest, DeletedShardsAreForgottenLaterAndTheirNumbersNeverUsedAgain) {
    std::vector<ShardId> ids;
    for (int i = 0; i < 1200; ++i) {
        ids.push_back(make("log").id);
    }
    const auto live = make("log");
    const auto pending = make_commit(live, 0, 10);
    ASSERT_OK(catalogue_->add_flush_intent(context(), intent_for(pending, stream_.id)));
    ids.push_back(live.id);
    ASSERT_OK(catalogue_->delete_shards(context(), "log", ids));
    EXPECT_EQ(*catalogue_->purge_shards(context(), 60'000'000), 0);
    EXPECT_EQ(*catalogue_->purge_shards(context(), -1), 1200);
    EXPECT_TRUE(catalogue_->get_shard(context(), live.id)->has_value())
        << "an intent still names it";
    EXPECT_FALSE(catalogue_->get_shard(context(), ids[0])->has_value());
    EXPECT_GT(make("log").id, live.id);
}

}  // namespace
}  // namespace molesignal
