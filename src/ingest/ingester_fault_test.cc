// Catalogues and stores that hang or fail, a log that is sick or full.
#include "ingest/ingester_fixture.h"
#include "tests/support/small_disk_fs.h"

namespace molesignal {
namespace {

class IngesterFault : public ::testing::Test {
protected:
    ~IngesterFault() override { disarm_failpoints(); }
    RequestContext within(std::chrono::milliseconds time) {
        auto context = process_.context;
        context.deadline = clock_.steady_now() + time;
        return context;
    }
    void fail_log(ErrorCode code) {
        process_.files.arm({.verbs = {FsVerb::kWrite, FsVerb::kAllocate},
                            .path_contains = "wal/",
                            .plan = {.times = FaultTimes::kForEver},
                            .code = code});
    }

    QuietErrors quiet_;
    SystemClock clock_;
    SystemRandom random_;
    TestCatalogue catalogue_{clock_, random_};
    MemoryFs files_;
    IngesterProcess process_{files_, *catalogue_, clock_, random_};
};

TEST_F(IngesterFault, ACatalogueThatHangsHoldsUpNobodyWhoDoesNotNeedIt) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(3));
    ASSERT_TRUE(arm_failpoints("catalogue_shard_made=pause"));
    std::thread hangs([&] { EXPECT_TRUE(process_.ingest(1, CommitMode::kAuto, "new")); });
    await_failpoint("catalogue_shard_made");
    // Another request for the new stream waits no longer than it may.
    EXPECT_EQ(process_.ingest(within(std::chrono::milliseconds(20)), 1, CommitMode::kAuto, "new")
                  .error()
                  .code(),
              ErrorCode::kTimeout);
    EXPECT_TRUE(process_.ingest(2, CommitMode::kForce));
    EXPECT_EQ(process_.visible().rows(), 5U);
    EXPECT_EQ(process_.visible("new").rows(), 0U);
    EXPECT_EQ(process_->stats().shards, 1U);
    disarm_failpoints();
    hangs.join();
    EXPECT_EQ(process_.visible("new").rows(), 1U);
    EXPECT_EQ(process_.live_shards(), 2U);
}

TEST_F(IngesterFault, AnAppendThatWaitsForTheLogHoldsUpNoReader) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(3));
    ASSERT_TRUE(arm_failpoints("wal_before_append=pause"));
    std::thread hangs([&] { EXPECT_TRUE(process_.ingest(1)); });
    await_failpoint("wal_before_append");
    EXPECT_EQ(process_.visible().rows(), 3U);
    EXPECT_EQ(process_->stats().rows, 3U);
    EXPECT_TRUE(process_->flush_all(process_.context));
    disarm_failpoints();
    hangs.join();
    EXPECT_EQ(process_.visible().rows(), 4U);
}

TEST_F(IngesterFault, ARequestThatIsRepeatedWhileTheLogIsSickLeavesNothingBehind) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(1, CommitMode::kAuto, "other"));
    fail_log(ErrorCode::kResourceExhausted);
    for (int i = 0; i < 10; ++i) {
        EXPECT_FALSE(process_.ingest(1));
    }
    EXPECT_LE(process_.live_shards(), 2U) << "one is kept for the next try";
    EXPECT_EQ(process_->wal().queues().size(), 1U);
    process_.files.disarm();
    await([&] {
        process_->maintain();
        return process_->wal().check_writable().has_value();
    });
    ASSERT_TRUE(process_.ingest(1));
    EXPECT_EQ(process_.live_shards(), 2U);
    EXPECT_EQ(process_->wal().queues().size(), 2U);
}

TEST_F(IngesterFault, RowsThatTheLogMakesDurableLaterAreShownAndTheShardIsNotStuck) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(1));
    fail_log(ErrorCode::kResourceExhausted);
    EXPECT_FALSE(process_.ingest(2)) << "not acknowledged";
    EXPECT_EQ(process_.visible().rows(), 1U);
    process_.files.disarm();
    // A replay would show them, so memory does, too; and nobody has to write for it.
    await([&] {
        process_->maintain();
        return process_.visible().rows() == 3;
    });
    ASSERT_TRUE(process_.ingest(4));
    EXPECT_EQ(process_.live_shards(), 1U) << "the same shard goes on";
    ASSERT_TRUE(process_.restart());
    EXPECT_EQ(process_.visible().rows(), 7U);
    ASSERT_TRUE(process_->flush_all(process_.context));
    await([&] { return process_.live_shards() == 0; });
    EXPECT_EQ(process_.visible().part_rows, 7U);
}

TEST_F(IngesterFault, AFullLogFlushesTheShardThatPinsIt) {
    process_.options.wal.total_bytes_max = 8 << 16;
    process_.options.memtable_bytes = 64 << 20;
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(4000, CommitMode::kAuto, "slow"));
    // Far more than the log holds, without any flush being due by age or size.
    for (int i = 0; i < 60; ++i) {
        await([&] {
            const auto receipt = process_.ingest(2000);
            EXPECT_TRUE(receipt || receipt.error().code() == ErrorCode::kResourceExhausted)
                << receipt.error().message();
            return receipt.has_value();
        });
    }
    EXPECT_EQ(process_.visible("slow").part_rows, 4000U);
}

TEST_F(IngesterFault, ADiskThatIsFullWithTheStoreOnItHealsByItself) {
    SmallDiskFs disk(files_, 3 << 20);
    IngesterProcess process(disk, *catalogue_, clock_, random_);
    process.options.wal.segment_bytes = 1 << 16;
    process.options.wal.reserve_bytes = 2 << 20;
    process.options.wal.total_bytes_max = 64 << 20;
    ASSERT_TRUE(process.start());
    std::uint64_t acknowledged = 0;
    while (true) {
        const auto receipt = process.ingest(2000);
        if (!receipt) {
            EXPECT_EQ(receipt.error().code(), ErrorCode::kResourceExhausted);
            break;
        }
        acknowledged += 2000;
    }
    // Somebody takes what is left: a part does not fit any more.
    disk.set_capacity(disk.used_bytes());
    EXPECT_EQ(process.visible().rows(), acknowledged) << "reads go on";
    // Only the reserve lets the flush do its work. It may be made anew as soon as the log is
    // shorter.
    ASSERT_TRUE(arm_failpoints("flush_all_stored=pause"));
    std::thread flush([&] { EXPECT_TRUE(process->flush_all(process.context)); });
    await_failpoint("flush_all_stored");
    EXPECT_FALSE(process->wal().stats().has_reserve);
    disarm_failpoints();
    flush.join();
    EXPECT_EQ(process.visible().part_rows, acknowledged);
    disk.set_capacity(16 << 20);
    await([&] {
        process->maintain();
        return process.ingest(5000).has_value();
    });
    await([&] {
        process->maintain();
        return process->wal().stats().has_reserve;
    });
}

TEST_F(IngesterFault, AStoreThatIsDownAnswersInTimeThatTheRowsAreStored) {
    ASSERT_TRUE(process_.start());
    process_.objects->arm({.verbs = {ObjectVerb::kPut}, .plan = {.times = FaultTimes::kForEver}});
    for (const auto mode : {CommitMode::kForce, CommitMode::kWaitFor}) {
        const auto receipt =
            process_.ingest(within(std::chrono::milliseconds(200)), 3, mode, "app");
        ASSERT_TRUE(receipt) << receipt.error().message();
        EXPECT_FALSE(receipt->flushed);
    }
    EXPECT_EQ(process_.visible().hot.size(), 6U);
    process_.objects->disarm();
    const auto receipt = process_.ingest(1, CommitMode::kForce);
    ASSERT_TRUE(receipt);
    EXPECT_TRUE(receipt->flushed);
    EXPECT_EQ(process_.visible().part_rows, 7U);
}

TEST_F(IngesterFault, WaitingForTheNextFlushDoesNotWaitForTheInterval) {
    process_.options.wait_for_flush = std::chrono::seconds(0);
    ASSERT_TRUE(process_.start());
    const auto receipt = process_.ingest(3, CommitMode::kWaitFor);
    ASSERT_TRUE(receipt);
    EXPECT_TRUE(receipt->flushed) << "an hour before the flush is due by its age";
}

TEST_F(IngesterFault, TheHealthOfAFlushIsTheShardsOwn) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(1, CommitMode::kAuto, "sick"));
    const auto sick =
        *catalogue_->find_stream(process_.context, process_.org, StreamType::kLogs, "sick");
    process_.objects->arm({.verbs = {ObjectVerb::kPut},
                           .key_contains = sick->id.value,
                           .plan = {.times = FaultTimes::kForEver}});
    EXPECT_FALSE(process_->flush_all(within(std::chrono::milliseconds(100))));
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(process_.ingest(1, CommitMode::kForce)->flushed);
    }
    EXPECT_GE(process_->stats().flush_failures_in_a_row, 1U) << "others do not hide it";
    EXPECT_EQ(process_->stats().failing_shards, 1U);
    process_.objects->disarm();
    ASSERT_TRUE(process_->flush_all(process_.context));
    EXPECT_EQ(process_->stats().failing_shards, 0U);
}

TEST_F(IngesterFault, AStreamIsDroppedThoughItsLogIsSickJustThen) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(3));
    const auto stream =
        *catalogue_->find_stream(process_.context, process_.org, StreamType::kLogs, "app");
    ASSERT_TRUE(catalogue_->delete_stream(process_.context, process_.org, stream->id));
    ASSERT_TRUE(arm_failpoints("shard_before_retire=error@1+"));
    EXPECT_FALSE(process_->drop_stream(process_.context, stream->id));
    EXPECT_EQ(process_->hot_snapshot(stream->id).rows(), 0U);
    disarm_failpoints();
    await([&] { return process_->wal().queues().empty() && process_->stats().shards == 0; });
    ASSERT_TRUE(process_.ingest(2));
    EXPECT_EQ(process_.visible().rows(), 2U);
}

TEST_F(IngesterFault, ADroppedStreamsUnfinishedFlushLeavesNoObjects) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(3));
    const auto stream =
        *catalogue_->find_stream(process_.context, process_.org, StreamType::kLogs, "app");
    ASSERT_TRUE(arm_failpoints("flush_all_stored=error@1+"));
    EXPECT_FALSE(process_->flush_all(within(std::chrono::milliseconds(50))));
    EXPECT_EQ(process_.count_objects(), 2U);
    ASSERT_TRUE(catalogue_->delete_stream(process_.context, process_.org, stream->id));
    ASSERT_TRUE(process_->drop_stream(process_.context, stream->id));
    EXPECT_EQ(process_.count_objects(), 0U);
    EXPECT_TRUE(catalogue_->list_flush_intents(process_.context)->empty());
}

TEST_F(IngesterFault, AStreamWhoseDeletionNobodyToldDoesNotPinTheLog) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(3));
    const auto stream =
        *catalogue_->find_stream(process_.context, process_.org, StreamType::kLogs, "app");
    // Committed, but the answer was lost: nobody calls drop_stream.
    ASSERT_TRUE(catalogue_->delete_stream(process_.context, process_.org, stream->id));
    ASSERT_TRUE(process_->flush_all(process_.context)) << "there is nothing left to be flushed";
    await([&] { return process_->wal().queues().empty() && process_->stats().shards == 0; });
    EXPECT_EQ(process_.live_shards(), 0U);
    ASSERT_TRUE(process_.ingest(2));
    EXPECT_EQ(process_.visible().rows(), 2U);
}

TEST_F(IngesterFault, ADeletedShardOfALiveStreamKeepsItsRows) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(3));
    const auto shards = catalogue_->list_live_shards(process_.context);
    ASSERT_TRUE(shards);
    ASSERT_EQ(shards->size(), 1U);
    const auto& shard = shards->front();
    // Nobody does this while there are rows. If it happens all the same, they are not dropped.
    ASSERT_TRUE(
        catalogue_->set_shard_state(process_.context, shard.id, shard.epoch, ShardState::kDeleted));
    EXPECT_FALSE(process_->flush_all(within(std::chrono::milliseconds(50))));
    EXPECT_EQ(process_->stats().rows, 3U);
    EXPECT_FALSE(process_->wal().queues().empty());
    process_.stop();
    ASSERT_TRUE(process_.start());
    EXPECT_EQ(process_.visible().rows(), 3U);
    EXPECT_TRUE(process_->flush_all(process_.context)) << "the start has claimed it again";
}

TEST_F(IngesterFault, AStreamThatIsDeletedUnderARequestIsMadeAnewByTheNext) {
    ASSERT_TRUE(process_.start());
    const auto stream =
        process_->ensure_stream(process_.context, process_.org, StreamType::kLogs, "app");
    ASSERT_TRUE(stream);
    // By another server, or in the moment between the look and the first shard.
    ASSERT_TRUE(catalogue_->delete_stream(process_.context, process_.org, stream->id));
    EXPECT_EQ(process_.ingest(1).error().code(), ErrorCode::kUnavailable);
    EXPECT_TRUE(process_.ingest(1));
    EXPECT_EQ(process_.visible().rows(), 1U);
}

TEST_F(IngesterFault, ARecordThatCannotBeDecodedDoesNotStopTheStart) {
    ASSERT_TRUE(process_.start());
    const auto receipt = process_.ingest(3);
    ASSERT_TRUE(receipt);
    process_.stop();
    {
        const auto wal = *Wal::open(
            process_.context, "wal", process_.options.wal, files_, clock_, process_.metrics);
        const Bytes pieces[] = {as_bytes("not a batch")};
        const auto lsn = wal->append(QueueId{receipt->shard.value}, receipt->end, 2, pieces);
        ASSERT_TRUE(lsn);
        ASSERT_TRUE(wal->close(process_.context));
    }
    ASSERT_TRUE(process_.start());
    EXPECT_EQ(process_.visible().rows(), 3U);
    const auto replay = process_->wal().replay_stats();
    EXPECT_EQ(replay.damaged_records, 1U);
    EXPECT_EQ(replay.quarantined_segments.size(), 1U);
    ASSERT_EQ(replay.findings.size(), 1U);
    EXPECT_NE(replay.findings[0].find("rows 3 to 5"), std::string::npos) << replay.findings[0];
    ASSERT_TRUE(process_->flush_all(process_.context));
    ASSERT_TRUE(process_.restart());
    EXPECT_EQ(process_.visible().rows(), 3U);
}

TEST_F(IngesterFault, AStartThatIsCancelledEnds) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(3));
    process_.stop();
    process_.context.cancel.cancel();
    EXPECT_EQ(process_.start().error().code(), ErrorCode::kCancelled);
    process_.context.cancel = CancelToken();
    ASSERT_TRUE(process_.start());
    EXPECT_EQ(process_.visible().rows(), 3U);
}

TEST_F(IngesterFault, ReplayOfManySmallShardsMakesFewParts) {
    constexpr int kStreams = 60;
    ASSERT_TRUE(process_.start());
    for (int batch = 0; batch < 12; ++batch) {
        for (int stream = 0; stream < kStreams; ++stream) {
            ASSERT_TRUE(process_.ingest(100, CommitMode::kAuto, fmt::format("s{}", stream)));
        }
    }
    process_.stop();
    process_.options.memory_bytes_max = 600'000;
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_->flush_all(process_.context));
    std::size_t parts = 0;
    for (int stream = 0; stream < kStreams; ++stream) {
        const auto seen = process_.visible(fmt::format("s{}", stream));
        EXPECT_EQ(seen.part_rows, 1200U);
        parts += seen.parts;
    }
    EXPECT_LE(parts, 3U * kStreams) << "and not one for each of 720 batches";
}

/// Counts puts and keeps what was put.
class RecordingStore final : public ObjectStore {
public:
    explicit RecordingStore(ObjectStore& base) : base_(base) {}
    Result<> put(const RequestContext& context, std::string_view key, Bytes body) override {
        {
            const MutexLock lock(mutex_);
            bodies_.emplace_back(std::string(key), std::string(as_text(body)));
        }
        while (hangs) {
            MS_TRY_VOID(context.check());
            std::this_thread::yield();
        }
        return base_.put(context, key, body);
    }
    Result<> put_file(const RequestContext& context,
                      std::string_view key,
                      const std::string& path) override {
        return base_.put_file(context, key, path);
    }
    Result<ByteBuffer> get(const RequestContext& context,
                           std::string_view key,
                           std::uint64_t offset,
                           std::uint64_t length) override {
        return base_.get(context, key, offset, length);
    }
    Result<std::optional<ObjectMeta>> head(const RequestContext& context,
                                           std::string_view key) override {
        return base_.head(context, key);
    }
    Result<> list(const RequestContext& context,
                  std::string_view prefix,
                  const std::function<bool(const ObjectMeta&)>& visit) override {
        return base_.list(context, prefix, visit);
    }
    Result<> remove(const RequestContext& context, std::string_view key) override {
        return base_.remove(context, key);
    }
    std::string describe() const override { return base_.describe(); }
    std::vector<std::pair<std::string, std::string>> bodies() {
        const MutexLock lock(mutex_);
        return bodies_;
    }
    std::atomic<bool> hangs = false;

private:
    ObjectStore& base_;
    Mutex mutex_;
    std::vector<std::pair<std::string, std::string>> bodies_ MS_GUARDED_BY(mutex_);
};

class IngesterStore : public IngesterFault {
protected:
    IngesterStore() { process_.store = &store_; }
    ~IngesterStore() override { process_.stop(); }
    RecordingStore store_{*process_.objects};
};

TEST_F(IngesterStore, AFlushOfManyDaysGoesOnBehindThePartsThatAreStored) {
    ASSERT_TRUE(process_.start());
    for (int day = 1; day <= 10; ++day) {
        ASSERT_TRUE(process_.ingest(5, CommitMode::kAuto, "app", std::chrono::hours(24 * day)));
    }
    process_.objects->arm({.verbs = {ObjectVerb::kPut}, .plan = {.nth = 6}});
    ASSERT_TRUE(process_->flush_all(process_.context));
    EXPECT_EQ(process_.objects->fired(), 1U);
    EXPECT_EQ(process_.visible().parts, 10U);
    EXPECT_EQ(process_.visible().part_rows, 50U);
    EXPECT_EQ(store_.bodies().size(), 21U) << "only what failed is put again";
}

TEST_F(IngesterStore, APutWhoseAnswerWasLostIsRepeatedWithTheSameBytes) {
    ASSERT_TRUE(process_.start());
    process_.objects->arm({.verbs = {ObjectVerb::kPut}, .effect = ObjectFaultEffect::kErrorAfter});
    ASSERT_TRUE(process_.ingest(100, CommitMode::kForce)->flushed);
    const auto bodies = store_.bodies();
    ASSERT_EQ(bodies.size(), 3U);
    EXPECT_EQ(bodies[0], bodies[1]);
    EXPECT_EQ(process_.count_objects(), 2U);
}

TEST_F(IngesterStore, AFlushThatHangsIsCutAtTheEndOfTheStop) {
    ASSERT_TRUE(process_.start());
    store_.hangs = true;
    ASSERT_TRUE(process_.ingest(3));
    EXPECT_FALSE(process_->flush_all(within(std::chrono::milliseconds(20))));
    await([&] { return !store_.bodies().empty(); });
    ASSERT_TRUE(process_->close(within(std::chrono::milliseconds(50))));
    store_.hangs = false;
    ASSERT_TRUE(process_.restart());
    ASSERT_TRUE(process_->flush_all(process_.context));
    EXPECT_EQ(process_.visible().part_rows, 3U);
    EXPECT_EQ(process_.count_objects(), 2U);
}

/// Time stands still until the test moves it.
class IngesterTime : public ::testing::Test {
protected:
    ~IngesterTime() override { disarm_failpoints(); }
    /// Lets time pass until the flush thread has looked at what is due by then.
    void pass(std::chrono::seconds time) {
        clock_.await_waiters(1);
        clock_.advance(time);
        clock_.await_waiters(1);
    }

    QuietErrors quiet_;
    ManualClock clock_;
    SystemRandom random_;
    TestCatalogue catalogue_{clock_, random_};
    MemoryFs files_;
    IngesterProcess process_{files_, *catalogue_, clock_, random_};
};

TEST_F(IngesterTime, AShardThatCannotBeRemovedIsTriedAgainLaterAndNotAtOnce) {
    ASSERT_TRUE(process_.start());
    ASSERT_TRUE(process_.ingest(1));
    ASSERT_TRUE(process_->flush_all(process_.context));
    ASSERT_TRUE(arm_failpoints("shard_before_retire=error@1+"));
    clock_.await_waiters(1);
    clock_.advance(process_.options.shard_idle);
    await_failpoint("shard_before_retire");
    clock_.await_waiters(1);  // Would not come from a thread that spins.
    EXPECT_EQ(process_->stats().flush_failures_in_a_row, 1U);
    pass(std::chrono::seconds(60));
    EXPECT_EQ(process_->stats().flush_failures_in_a_row, 2U);
    disarm_failpoints();
    pass(std::chrono::seconds(60));
    EXPECT_EQ(process_->stats().shards, 0U);
}

TEST_F(IngesterTime, ANewShardIsNotTakenForAnIdleOne) {
    ASSERT_TRUE(process_.start());
    pass(std::chrono::hours(1));
    ASSERT_TRUE(arm_failpoints("ingest_before_append=pause"));
    std::thread writer([&] { EXPECT_EQ(process_.ingest(1)->shard, ShardId{1}); });
    await_failpoint("ingest_before_append");
    pass(std::chrono::seconds(2));
    disarm_failpoints();
    writer.join();
    EXPECT_EQ(process_.live_shards(), 1U);
}

TEST_F(IngesterTime, WhoWaitsForAFlushWaitsFiveSeconds) {
    ASSERT_TRUE(process_.start());
    std::atomic<bool> done = false;
    std::thread writer([&] {
        EXPECT_TRUE(process_.ingest(1, CommitMode::kWaitFor)->flushed);
        done = true;
    });
    clock_.await_waiters(2);  // The writer and the flush thread.
    clock_.advance(std::chrono::seconds(4));
    clock_.await_waiters(2);
    EXPECT_FALSE(done);
    clock_.advance(std::chrono::seconds(2));
    writer.join();
}

}  // namespace
}  // namespace molesignal
