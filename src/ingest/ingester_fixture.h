#pragma once

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "common/failpoint.h"
#include "ingest/ingester.h"
#include "io/memory_fs.h"
#include "metadata/open_catalogue.h"
#include "objectstore/local_object_store.h"
#include "tests/support/fault_fs.h"
#include "tests/support/faulty_object_store.h"
#include "tests/support/manual_clock.h"

namespace molesignal {

/// A catalogue in a temporary directory, shared by the processes of a test.
class TestCatalogue {
public:
    TestCatalogue(Clock& clock, Random& random) {
        static std::atomic<int> instances = 0;
        directory_ = std::filesystem::temp_directory_path() /
                     fmt::format("molesignal-ingester-{}-{}", ::getpid(), ++instances);
        std::filesystem::create_directories(directory_);
        catalogue_ = *open_sqlite_catalogue(directory_ / "meta.db", clock, random);
        MS_ASSERT(catalogue_->migrate(RequestContext::background(clock, "test")));
    }
    TestCatalogue(const TestCatalogue&) = delete;
    TestCatalogue& operator=(const TestCatalogue&) = delete;
    ~TestCatalogue() {
        catalogue_.reset();
        std::filesystem::remove_all(directory_);
    }
    Catalogue& operator*() { return *catalogue_; }
    Catalogue* operator->() { return catalogue_.get(); }

private:
    std::filesystem::path directory_;
    std::unique_ptr<Catalogue> catalogue_;
};

/// One process with an ingester: files in memory, which can fail, and an object store on them,
/// which can fail too. The catalogue belongs to the test.
class IngesterProcess {
public:
    IngesterProcess(FileSystem& base, Catalogue& catalogue, Clock& clock, Random& random)
        : clock(clock), random_(random), catalogue_(catalogue), files(base) {
        org = catalogue.ensure_organization(context, "default")->id;
        stored_ = *LocalObjectStore::open(context, files, "objects", random);
        objects = std::make_unique<FaultyObjectStore>(*stored_);
        store = objects.get();
        options.wal_directory = "wal";
        options.wal.segment_bytes = 1 << 16;
        options.wal.reserve_bytes = 0;
        options.flush_interval = std::chrono::seconds(3600);
    }
    IngesterProcess(const IngesterProcess&) = delete;
    IngesterProcess& operator=(const IngesterProcess&) = delete;
    ~IngesterProcess() { stop(); }

    Result<> start() {
        MS_TRY(ingester_,
               Ingester::open(context,
                              options,
                              files,
                              catalogue_,
                              *store,
                              clock,
                              random_,
                              metrics,
                              MemoryBudget::make_root("test", "none", 1LL << 30),
                              [](std::uint64_t) {}));
        return {};
    }
    void stop() {
        if (ingester_ != nullptr) {
            EXPECT_TRUE(ingester_->close(context));
        }
        ingester_.reset();
    }
    Result<> restart() {
        stop();
        return start();
    }
    Ingester& operator*() { return *ingester_; }
    Ingester* operator->() { return ingester_.get(); }

    /// `rows` rows with the next numbers in the column "n", `age` old.
    Result<IngestReceipt> ingest(std::uint32_t rows,
                                 CommitMode mode = CommitMode::kAuto,
                                 const std::string& stream = "app",
                                 std::chrono::nanoseconds age = std::chrono::nanoseconds(0)) {
        return ingest(context, rows, mode, stream, age);
    }
    Result<IngestReceipt> ingest(const RequestContext& caller,
                                 std::uint32_t rows,
                                 CommitMode mode,
                                 const std::string& stream,
                                 std::chrono::nanoseconds age = std::chrono::nanoseconds(0)) {
        RowBatch batch;
        const auto time = clock.now().value - age.count();
        for (std::uint32_t row = 0; row < rows; ++row) {
            batch.timestamps.push_back(time);
            // Scrambled, so that rows take space.
            batch.columns[batch.find_or_add("n", FieldType::kInt64)].append_fixed(
                row, next_row++ * 0x9e3779b97f4a7c15ULL);
        }
        batch.finish();
        std::vector<RowBatch> batches;
        batches.push_back(std::move(batch));
        return ingester_->ingest(
            caller, org, StreamType::kLogs, stream, std::move(batches), rows, mode);
    }

    struct Visible {
        std::multiset<std::uint64_t> hot;  ///< Values of "n" that are not in parts.
        std::uint64_t part_rows = 0;
        std::size_t parts = 0;
        std::uint64_t rows() const { return hot.size() + part_rows; }
    };
    /// What a query would see, by the snapshot rule.
    Visible visible(const std::string& stream = "app") {
        Visible seen;
        const auto info = catalogue_.find_stream(context, org, StreamType::kLogs, stream);
        if (!info || !info->has_value()) {
            return seen;
        }
        auto hot = ingester_->hot_snapshot((*info)->id);
        std::int64_t parts_total = 0;
        const auto snapshot =
            catalogue_.snapshot(context, (*info)->id, INT64_MIN, INT64_MAX, parts_total);
        std::vector<std::pair<ShardId, Position>> checkpoints;
        for (const auto& shard : snapshot->shards) {
            checkpoints.emplace_back(shard.id, shard.checkpoint);
        }
        drop_flushed_rows(hot, checkpoints);
        for (const auto& chunk : hot.chunks) {
            for (auto row = chunk.begin; row < chunk.rows; ++row) {
                seen.hot.insert(chunk.find("n", FieldType::kInt64)->fixed_at(row));
            }
        }
        seen.parts = snapshot->parts.size();
        for (const auto& part : snapshot->parts) {
            seen.part_rows += static_cast<std::uint64_t>(part.rows);
        }
        return seen;
    }
    std::size_t live_shards() { return catalogue_.list_live_shards(context)->size(); }
    std::size_t count_objects() {
        std::size_t count = 0;
        EXPECT_TRUE(store->list(context, "", [&](const ObjectMeta&) { return ++count > 0; }));
        return count;
    }

    Clock& clock;

private:
    Random& random_;
    Catalogue& catalogue_;

public:
    RequestContext context = RequestContext::background(clock, "test");
    FaultFs files;
    std::unique_ptr<FaultyObjectStore> objects;
    ObjectStore* store = nullptr;  ///< What the ingester uses; `objects` by default.
    MetricRegistry metrics;
    IngesterOptions options;
    OrgId org;
    std::uint64_t next_row = 0;

private:
    std::unique_ptr<LocalObjectStore> stored_;
    std::unique_ptr<Ingester> ingester_;
};

/// Looks again and again, without a limit of its own: the test's time-out ends what never comes.
inline void await(const std::function<bool()>& condition) {
    while (!condition()) {
        std::this_thread::yield();
    }
}

/// Keeps expected errors out of the output.
class QuietErrors {
public:
    QuietErrors() { testing::internal::CaptureStderr(); }
    QuietErrors(const QuietErrors&) = delete;
    QuietErrors& operator=(const QuietErrors&) = delete;
    ~QuietErrors() { (void)testing::internal::GetCapturedStderr(); }
};

}  // namespace molesignal
