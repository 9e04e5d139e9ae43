// Several data directories, copies of one, and several catalogues.
#include "ingest/ingester_fixture.h"
#include "tests/support/crash_fs.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

class IngesterOwner : public ::testing::Test {
protected:
    QuietErrors quiet_;
    SystemClock clock_;
    SystemRandom random_;
    TestCatalogue catalogue_{clock_, random_};
    CrashFs first_files_;
    IngesterProcess first_{first_files_, *catalogue_, clock_, random_};
};

TEST_F(IngesterOwner, ASecondDirectoryOnTheCatalogueLeavesTheFirstOnesRowsAlone) {
    ASSERT_TRUE(first_.start());
    ASSERT_TRUE(first_.ingest(5));
    first_.stop();
    MemoryFs second_files;
    IngesterProcess second(second_files, *catalogue_, clock_, random_);
    ASSERT_TRUE(second.start());
    ASSERT_TRUE(second.ingest(3));
    ASSERT_TRUE(second->flush_all(second.context));
    second.stop();
    ASSERT_TRUE(first_.start());
    EXPECT_EQ(first_.visible().rows(), 8U) << "acknowledged rows of both";
    ASSERT_TRUE(first_->flush_all(first_.context));
    EXPECT_EQ(first_.visible().part_rows, 8U);
}

TEST_F(IngesterOwner, ASecondDirectoryLeavesTheFirstOnesFlushesAlone) {
    ASSERT_TRUE(first_.start());
    ASSERT_TRUE(first_.ingest(5));
    ASSERT_TRUE(arm_failpoints("flush_all_stored=error@1+"));
    auto soon = first_.context;
    soon.deadline = clock_.steady_now() + std::chrono::milliseconds(50);
    EXPECT_FALSE(first_->flush_all(soon));
    {
        MemoryFs second_files;
        IngesterProcess second(second_files, *catalogue_, clock_, random_);
        ASSERT_TRUE(second.start());
    }
    EXPECT_EQ(catalogue_->list_flush_intents(first_.context)->size(), 1U);
    disarm_failpoints();
    ASSERT_TRUE(first_->flush_all(first_.context));
    EXPECT_EQ(first_.visible().part_rows, 5U);
}

TEST_F(IngesterOwner, ACopyOfTheDirectoryDoesNotTakeTheOriginalsRows) {
    ASSERT_TRUE(first_.start());
    ASSERT_TRUE(first_.ingest(3));
    // Copied while the server ran; the original goes on in the same shard.
    const auto copied = first_files_.clone_after_crash(1, CrashModel::kDropUnsynced);
    ASSERT_TRUE(first_.ingest(4));
    first_.stop();
    {
        IngesterProcess copy(*copied, *catalogue_, clock_, random_);
        ASSERT_TRUE(copy.start());
        EXPECT_EQ(copy.visible().rows(), 3U);
        ASSERT_TRUE(copy->flush_all(copy.context));
        await([&] { return copy.live_shards() == 0; });  // Drained: the catalogue calls it deleted.
    }
    ASSERT_TRUE(first_.start());
    EXPECT_EQ(first_.visible().rows(), 7U) << "the copy's three and the four behind them";
    ASSERT_TRUE(first_->flush_all(first_.context));
    EXPECT_EQ(first_.visible().part_rows, 7U) << "and none of them twice";
}

TEST_F(IngesterOwner, DirectoriesAndCopiesThatTakeTurnsLoseAndDoubleNothing) {
    const auto seed = test_seed();
    SeededRandom chance(seed);
    MemoryFs second_files;
    IngesterProcess second(second_files, *catalogue_, clock_, random_);
    std::uint64_t acknowledged = 0;
    int copies = 0;
    constexpr int kTurns = 40;
    for (int turn = 0; turn < kTurns; ++turn) {
        auto& process = chance.next_u64() % 2 == 0 ? first_ : second;
        ASSERT_TRUE(process.start());
        const auto store = [&] {
            const auto rows = static_cast<std::uint32_t>(1 + chance.next_u64() % 20);
            ASSERT_TRUE(process.ingest(rows));
            acknowledged += rows;
        };
        store();
        if (chance.next_u64() % 3 == 0) {
            ASSERT_TRUE(process->flush_all(process.context));
        }
        std::unique_ptr<CrashFs> copied;
        if (&process == &first_ && chance.next_u64() % 2 == 0) {
            copied = first_files_.clone_after_crash(seed + static_cast<std::uint64_t>(turn),
                                                    CrashModel::kDropUnsynced);
        }
        store();
        process.stop();
        if (copied != nullptr) {
            IngesterProcess copy(*copied, *catalogue_, clock_, random_);
            ASSERT_TRUE(copy.start());
            ASSERT_TRUE(copy->flush_all(copy.context));
            ++copies;
        }
    }
    for (auto* process : {&first_, &second}) {
        ASSERT_TRUE(process->start());
        ASSERT_TRUE((*process)->flush_all(process->context));
        EXPECT_TRUE(process->visible().hot.empty());
        process->stop();
    }
    ASSERT_TRUE(first_.start());
    EXPECT_EQ(first_.visible().part_rows, acknowledged);
    record_figure("owner",
                  "unit/ingest",
                  fmt::format("0 lost, 0 doubled in {} acknowledged rows over {} turns of two data "
                              "directories on one catalogue and {} copies of one",
                              acknowledged,
                              kTurns,
                              copies),
                  seed);
}

TEST_F(IngesterOwner, AProcessWhoseLogWasClaimedElsewhereCommitsNothing) {
    ASSERT_TRUE(first_.start());
    ASSERT_TRUE(first_.ingest(3));
    const auto owner = fmt::format("{:016x}", first_->wal().log_id());
    ASSERT_TRUE(catalogue_->claim_shards(first_.context, owner, {}));
    auto soon = first_.context;
    soon.deadline = clock_.steady_now() + std::chrono::milliseconds(300);
    EXPECT_FALSE(first_->flush_all(soon));
    EXPECT_EQ(first_.visible().part_rows, 0U);
    EXPECT_NE(first_->stats().last_flush_error.find("epoch"), std::string::npos);
    ASSERT_TRUE(first_.restart());
    ASSERT_TRUE(first_->flush_all(first_.context));
    EXPECT_EQ(first_.visible().part_rows, 3U);
}

TEST_F(IngesterOwner, ACatalogueWhereTheShardIsAnothersIsRefused) {
    ASSERT_TRUE(first_.start());
    ASSERT_TRUE(first_.ingest(3));
    first_.stop();
    TestCatalogue other(clock_, random_);
    {
        // It has given the same number to a shard of another log.
        MemoryFs files;
        IngesterProcess process(files, *other, clock_, random_);
        ASSERT_TRUE(process.start());
        ASSERT_TRUE(process.ingest(1));
    }
    IngesterProcess confused(first_files_, *other, clock_, random_);
    const auto started = confused.start();
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code(), ErrorCode::kConflict);
    ASSERT_TRUE(first_.start());
    EXPECT_EQ(first_.visible().rows(), 3U);
}

TEST_F(IngesterOwner, AStartHasOneTransactionForAllDrainedShards) {
    ASSERT_TRUE(first_.start());
    for (int i = 0; i < 30; ++i) {
        ASSERT_TRUE(first_.ingest(1, CommitMode::kAuto, fmt::format("stream_{}", i)));
    }
    ASSERT_TRUE(first_->flush_all(first_.context));
    EXPECT_EQ(first_.live_shards(), 30U);
    first_.stop();
    // The second one would fail.
    ASSERT_TRUE(arm_failpoints("catalogue_shards_deleted=error@2"));
    EXPECT_TRUE(first_.start());
    EXPECT_EQ(first_.live_shards(), 0U);
    disarm_failpoints();
}

}  // namespace
}  // namespace molesignal
