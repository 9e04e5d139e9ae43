#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/random.h"
#include "metadata/catalogue.h"
#include "metadata/sql_connection.h"

namespace molesignal {

/// The machine's clock plus an offset, so that a test can let a lease end.
class OffsetClock final : public Clock {
public:
    UnixNanos now() const override { return {system_.now().value + offset.load()}; }
    SteadyNanos steady_now() const override { return system_.steady_now(); }
    void wait_until(Mutex& mutex, CondVar& condition, SteadyNanos deadline) override
        MS_REQUIRES(mutex) {
        system_.wait_until(mutex, condition, deadline);
    }
    std::atomic<std::int64_t> offset{0};

private:
    SystemClock system_;
};

/// A fresh database of one kind: a SQLite file in a new folder, or a schema of the Postgres server
/// at $MS_TEST_POSTGRES_URL. Removed by the destructor.
class TestDatabase {
public:
    virtual ~TestDatabase() = default;
    /// Another catalogue object on the same database.
    virtual std::unique_ptr<Catalogue> connect(Clock& clock, Random& random) = 0;
    /// The same through connections that `wrap` makes of the database's own.
    using Wrap = std::function<std::unique_ptr<SqlConnection>(std::unique_ptr<SqlConnection>)>;
    virtual std::unique_ptr<Catalogue> connect_through(const Wrap& wrap,
                                                       Clock& clock,
                                                       Random& random) = 0;
    /// Runs statements beside the catalogue.
    virtual void execute(const std::string& sql) = 0;
    /// A number that `sql` selects.
    virtual std::int64_t number(const std::string& sql) = 0;
    /// Locks the stream's row, as another process in the middle of a transaction, until the result
    /// is destroyed.
    virtual std::shared_ptr<void> lock_stream(const StreamId& stream) = 0;
    /// Ends the catalogue's idle connections, as a server that restarts. False: there is no server.
    virtual bool end_connections() = 0;
};

/// "sqlite" or "postgres"; null if there is no Postgres server to test with.
std::unique_ptr<TestDatabase> make_test_database(const std::string& kind);

/// The conformance suite's base: runs every test on both databases.
class CatalogueTest : public ::testing::TestWithParam<const char*> {
protected:
    void SetUp() override;
    void TearDown() override;

    RequestContext context() const { return RequestContext::background(clock_, "test"); }
    std::unique_ptr<Catalogue> connect() { return database_->connect(clock_, random_); }
    StreamInfo make_stream(std::string_view name = "app");
    /// A part of one object for rows [begin, end) of the shard; times are the positions in seconds.
    PartInfo make_part(const ShardInfo& shard, std::uint64_t begin, std::uint64_t end);
    FlushIntent intent_for(const FlushCommit& commit, const StreamId& stream) const;
    /// A commit of one part that moves the shard from `begin` to `end`.
    FlushCommit make_commit(const ShardInfo& shard, std::uint64_t begin, std::uint64_t end);
    /// Intent and commit of rows [begin, end).
    Result<> flush(const ShardInfo& shard, std::uint64_t begin, std::uint64_t end);
    Lease take_lease(std::string_view name, std::string_view holder = "compactor");
    /// A compaction of `replaced` to one part with all their rows.
    CompactionCommit make_compaction(const Lease& lease, const std::vector<PartInfo>& replaced);
    CompactionIntent intent_for(const CompactionCommit& commit) const;
    StreamSnapshot snapshot(const StreamId& stream);

    OffsetClock clock_;
    std::uint64_t seed_ = 0;
    SeededRandom random_{0};
    std::unique_ptr<TestDatabase> database_;
    std::unique_ptr<Catalogue> catalogue_;
};

#define MS_CATALOGUE_SUITE(suite)                                                        \
    INSTANTIATE_TEST_SUITE_P(                                                            \
        Database, suite, ::testing::Values("sqlite", "postgres"), [](const auto& info) { \
            return std::string(info.param);                                              \
        })

/// "ok" or the error's code and message: for messages that say what came instead.
template <class T>
std::string outcome(const Result<T>& result) {
    return result.has_value() ? "ok"
                              : std::to_string(static_cast<int>(result.error().code())) + " " +
                                    result.error().message();
}

#define EXPECT_OK(expression)                                                     \
    do {                                                                          \
        const auto& ms_outcome = (expression);                                    \
        EXPECT_TRUE(ms_outcome.has_value()) << ::molesignal::outcome(ms_outcome); \
    } while (false)
#define ASSERT_OK(expression)                                                     \
    do {                                                                          \
        const auto& ms_outcome = (expression);                                    \
        ASSERT_TRUE(ms_outcome.has_value()) << ::molesignal::outcome(ms_outcome); \
    } while (false)
#define EXPECT_CODE(expression, wanted)                                                      \
    do {                                                                                     \
        const auto& ms_outcome = (expression);                                               \
        ASSERT_FALSE(ms_outcome.has_value());                                                \
        EXPECT_EQ(ms_outcome.error().code(), (wanted)) << ::molesignal::outcome(ms_outcome); \
    } while (false)

}  // namespace molesignal
