// What is refused before anybody decodes it.
#include "ingest/ingester_fixture.h"
#include "tests/support/manual_clock.h"

namespace molesignal {
namespace {

class IngesterIntake : public ::testing::Test {
protected:
    ~IngesterIntake() override { disarm_failpoints(); }
    double refused_undecoded() {
        const auto text = process_.metrics.expose();
        const std::string name = "\ningester_refused_undecoded_total ";
        const auto at = text.find(name);
        return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size()));
    }

    QuietErrors quiet_;
    ManualClock clock_;
    SystemRandom random_;
    TestCatalogue catalogue_{clock_, random_};
    MemoryFs files_;
    IngesterProcess process_{files_, *catalogue_, clock_, random_};
};

TEST_F(IngesterIntake, RowsAreNotDecodedAMomentAfterTheLogRefusedSome) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(1));
    ASSERT_TRUE(process_->check_intake());
    process_.files.arm({.verbs = {FsVerb::kWrite, FsVerb::kAllocate},
                        .path_contains = "wal/",
                        .plan = {.times = FaultTimes::kForEver},
                        .code = ErrorCode::kResourceExhausted});
    ASSERT_FALSE(process_.ingest(20'000));
    const auto refused = process_->check_intake();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_EQ(refused_undecoded(), 1);
    process_.files.disarm();
    // It stands for a moment only, so that rows are taken again soon after there is room.
    clock_.advance(std::chrono::milliseconds(200));
    EXPECT_TRUE(process_->check_intake());
    process_->maintain();
    EXPECT_TRUE(process_.ingest(1));
    EXPECT_EQ(refused_undecoded(), 1);
}

TEST_F(IngesterIntake, AReadOnlyLogRefusesRowsOfNewStreamsUndecoded) {
    ASSERT_TRUE(process_.start());
    process_.files.arm({.verbs = {FsVerb::kWrite, FsVerb::kAllocate, FsVerb::kSync},
                        .path_contains = "wal/",
                        .plan = {.times = FaultTimes::kForEver},
                        .code = ErrorCode::kUnavailable});
    EXPECT_FALSE(process_.ingest(1));
    clock_.advance(std::chrono::seconds(1));
    ASSERT_TRUE(process_->wal().stats().read_only);
    ASSERT_TRUE(process_->check_intake());
    EXPECT_FALSE(process_.ingest(1, CommitMode::kAuto, "new"));
    EXPECT_EQ(process_->check_intake().error().code(), ErrorCode::kUnavailable);
    EXPECT_FALSE(process_->close(process_.context)) << "there is something that it could not sync";
}

TEST_F(IngesterIntake, AFlushThatMayHaveMadeRoomEndsTheRefusal) {
    process_.options.wal.total_bytes_max = 4 << 16;
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(arm_failpoints("flush_before_truncate=pause"));
    await([&] { return !process_.ingest(1000); });
    ASSERT_FALSE(process_->check_intake());
    disarm_failpoints();
    await([&] { return process_->check_intake().has_value(); });  // Time stands still.
    await([&] { return process_.ingest(1000).has_value(); });
}

}  // namespace
}  // namespace molesignal
