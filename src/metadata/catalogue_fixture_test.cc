#include "metadata/catalogue_fixture.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <stdexcept>

#include <fmt/format.h>
#include <libpq-fe.h>
#include <sqlite3.h>

#include "metadata/open_catalogue.h"
#include "metadata/postgres/postgres_connection.h"
#include "metadata/sql_catalogue.h"
#include "metadata/sqlite/sqlite_checksums.h"
#include "metadata/sqlite/sqlite_connection.h"

namespace molesignal {
namespace {

void require(bool fine, const std::string& what) {
    if (!fine) {
        throw std::runtime_error(what);
    }
}

constexpr std::size_t kConnectionsMax = 12;

/// A catalogue whose every connection comes from `connect`.
std::unique_ptr<Catalogue> make_catalogue(const SqlDialect& dialect,
                                          SqlPool::Connect connect,
                                          std::size_t connections_max,
                                          Clock& clock,
                                          Random& random) {
    return std::make_unique<SqlCatalogue>(
        SqlCatalogue::Database{.dialect = dialect,
                               .description = "a test's",
                               .guard = nullptr,
                               .writers = std::make_unique<SqlPool>(
                                   std::move(connect), connections_max, "a test's", clock),
                               .readers = nullptr},
        clock,
        random);
}

std::uint64_t test_seed() {
    const char* wanted = std::getenv("MS_TEST_SEED");
    return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : SystemRandom().next_u64();
}

class SqliteTestDatabase final : public TestDatabase {
public:
    SqliteTestDatabase() {
        SystemRandom random;
        folder_ = std::filesystem::temp_directory_path() /
                  fmt::format("ms-metadata-{:016x}", random.next_u64());
        std::filesystem::create_directory(folder_);
    }
    ~SqliteTestDatabase() override { std::filesystem::remove_all(folder_); }
    std::unique_ptr<Catalogue> connect(Clock& clock, Random& random) override {
        auto opened = open_sqlite_catalogue(path(), clock, random);
        require(opened.has_value(), outcome(opened));
        return *std::move(opened);
    }
    std::unique_ptr<Catalogue> connect_through(const Wrap& wrap,
                                               Clock& clock,
                                               Random& random) override {
        const auto connect =
            [wrap, path = path(), &clock](
                const RequestContext& /*context*/) -> Result<std::unique_ptr<SqlConnection>> {
            MS_TRY(auto own, open_sqlite_connection(path, SqlAccess::kWrite, clock));
            return wrap(std::move(own));
        };
        return make_catalogue(sqlite_dialect(), connect, 1, clock, random);
    }
    void execute(const std::string& sql) override { run(sql, nullptr); }
    std::int64_t number(const std::string& sql) override {
        std::int64_t value = 0;
        run(sql, &value);
        return value;
    }

    std::shared_ptr<void> lock_stream(const StreamId& /*stream*/) override {
        sqlite3* database = nullptr;
        const int opened = sqlite3_open_v2(
            path().c_str(), &database, SQLITE_OPEN_READWRITE, checksum_file_layer());
        require(opened == SQLITE_OK, "open");
        std::shared_ptr<void> held(database,
                                   [](void* raw) { sqlite3_close(static_cast<sqlite3*>(raw)); });
        require(sqlite3_exec(database, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK,
                "lock");
        return held;
    }
    bool end_connections() override { return false; }

private:
    std::string path() const { return (folder_ / "meta.db").string(); }
    void run(const std::string& sql, std::int64_t* value) {
        sqlite3* database = nullptr;
        const int opened = sqlite3_open_v2(
            path().c_str(), &database, SQLITE_OPEN_READWRITE, checksum_file_layer());
        require(opened == SQLITE_OK, "open");
        sqlite3_busy_timeout(database, 10'000);
        const auto keep = [](void* out, int, char** texts, char**) {
            if (out != nullptr && texts[0] != nullptr) {
                *static_cast<std::int64_t*>(out) = std::strtoll(texts[0], nullptr, 10);
            }
            return 0;
        };
        const int done = sqlite3_exec(database, sql.c_str(), keep, value, nullptr);
        const std::string message = sqlite3_errmsg(database);
        sqlite3_close(database);
        require(done == SQLITE_OK, message);
    }

    std::filesystem::path folder_;
};

class PostgresTestDatabase final : public TestDatabase {
public:
    explicit PostgresTestDatabase(std::string url) : server_(std::move(url)) {
        SystemRandom random;
        schema_ = fmt::format("test_{:016x}", random.next_u64());
        run(server_, "CREATE SCHEMA " + schema_);
    }
    ~PostgresTestDatabase() override { run(server_, "DROP SCHEMA " + schema_ + " CASCADE"); }
    std::unique_ptr<Catalogue> connect(Clock& clock, Random& random) override {
        auto opened = open_postgres_catalogue(url(), kConnectionsMax, clock, random);
        require(opened.has_value(), outcome(opened));
        return *std::move(opened);
    }
    std::unique_ptr<Catalogue> connect_through(const Wrap& wrap,
                                               Clock& clock,
                                               Random& random) override {
        const auto connect =
            [wrap,
             url = url()](const RequestContext& context) -> Result<std::unique_ptr<SqlConnection>> {
            MS_TRY(auto own, open_postgres_connection(context, url));
            return wrap(std::move(own));
        };
        return make_catalogue(postgres_dialect(), connect, kConnectionsMax, clock, random);
    }
    void execute(const std::string& sql) override { run(url(), sql); }
    std::int64_t number(const std::string& sql) override { return run(url(), sql); }

    std::shared_ptr<void> lock_stream(const StreamId& stream) override {
        std::shared_ptr<PGconn> held(PQconnectdb(url().c_str()), PQfinish);
        const auto sql =
            "BEGIN; SELECT 1 FROM streams WHERE id = '" + stream.value + "' FOR UPDATE";
        const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(held.get(), sql.c_str()),
                                                                   PQclear);
        require(PQresultStatus(result.get()) == PGRES_TUPLES_OK, PQerrorMessage(held.get()));
        return held;
    }
    bool end_connections() override {
        run(server_,
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE application_name = 'molesignal'");
        return true;
    }

private:
    std::string url() const {
        return server_ + (server_.find('?') == std::string::npos ? "?" : "&") +
               "options=-csearch_path%3D" + schema_;
    }
    static std::int64_t run(const std::string& url, const std::string& sql) {
        const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(url.c_str()),
                                                                      PQfinish);
        PQsetNoticeReceiver(connection.get(), [](void*, const PGresult*) {}, nullptr);
        const std::unique_ptr<PGresult, decltype(&PQclear)> result(
            PQexec(connection.get(), sql.c_str()), PQclear);
        const auto status = PQresultStatus(result.get());
        require(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK,
                PQerrorMessage(connection.get()));
        return PQntuples(result.get()) == 0
                   ? 0
                   : std::strtoll(PQgetvalue(result.get(), 0, 0), nullptr, 10);
    }

    std::string server_;
    std::string schema_;
};

}  // namespace

std::unique_ptr<TestDatabase> make_test_database(const std::string& kind) {
    if (kind == "sqlite") {
        return std::make_unique<SqliteTestDatabase>();
    }
    const char* url = std::getenv("MS_TEST_POSTGRES_URL");
    return url == nullptr ? nullptr : std::make_unique<PostgresTestDatabase>(url);
}

void CatalogueTest::SetUp() {
    database_ = make_test_database(GetParam());
    if (database_ == nullptr) {
        GTEST_SKIP() << "needs a Postgres server: run it by tests/support/postgres_server.py";
    }
    seed_ = test_seed();
    RecordProperty("seed", std::to_string(seed_));
    catalogue_ = connect();
    ASSERT_OK(catalogue_->migrate(context()));
}

void CatalogueTest::TearDown() {
    disarm_failpoints();
    if (HasFailure()) {
        std::cerr << "MS_TEST_SEED=" << seed_ << "\n";
    }
}

StreamInfo CatalogueTest::make_stream(std::string_view name) {
    auto org = catalogue_->ensure_organization(context(), "default");
    require(org.has_value(), outcome(org));
    auto stream = catalogue_->ensure_stream(context(), org->id, StreamType::kLogs, name, 1000);
    require(stream.has_value(), outcome(stream));
    return *std::move(stream);
}

PartInfo CatalogueTest::make_part(const ShardInfo& shard, std::uint64_t begin, std::uint64_t end) {
    const auto id = make_ulid(clock_.now(), random_);
    return {.id = id,
            .stream = shard.stream,
            .objects = {{.kind = "parquet", .key = "o/" + id, .bytes = 1000, .xxh3 = ~begin}},
            .rows = static_cast<std::int64_t>(end - begin),
            .raw_bytes = 5000,
            .time_min_us = static_cast<std::int64_t>(begin) * 1'000'000,
            .time_max_us = static_cast<std::int64_t>(end) * 1'000'000 - 1,
            .shard = shard.id,
            .position_begin = Position{begin},
            .position_end = Position{end},
            .fields = {FieldId{1}, FieldId{300}},
            .zone_maps = {{.field = FieldId{1},
                           .min = std::string("a\0\xff", 3),
                           .max = "zz",
                           .null_count = 3},
                          {.field = FieldId{300}, .min = "-5", .max = "17", .null_count = 0}},
            .format_version = 1,
            .sort_order = "service,_timestamp",
            .added_version = 0};
}

FlushCommit CatalogueTest::make_commit(const ShardInfo& shard,
                                       std::uint64_t begin,
                                       std::uint64_t end) {
    return {.flush_id = make_ulid(clock_.now(), random_),
            .shard = shard.id,
            .epoch = shard.epoch,
            .expected_checkpoint = Position{begin},
            .new_checkpoint = Position{end},
            .parts = {make_part(shard, begin, end)}};
}

FlushIntent CatalogueTest::intent_for(const FlushCommit& commit, const StreamId& stream) const {
    FlushIntent intent{.flush_id = commit.flush_id,
                       .stream = stream,
                       .shard = commit.shard,
                       .epoch = commit.epoch,
                       .begin = commit.expected_checkpoint,
                       .end = commit.new_checkpoint,
                       .object_keys = {},
                       .created_us = 77};
    for (const auto& part : commit.parts) {
        for (const auto& object : part.objects) {
            intent.object_keys.push_back(object.key);
        }
    }
    return intent;
}

Result<> CatalogueTest::flush(const ShardInfo& shard, std::uint64_t begin, std::uint64_t end) {
    const auto commit = make_commit(shard, begin, end);
    MS_TRY_VOID(catalogue_->add_flush_intent(context(), intent_for(commit, shard.stream)));
    return catalogue_->commit_flush(context(), commit);
}

Lease CatalogueTest::take_lease(std::string_view name, std::string_view holder) {
    auto lease = catalogue_->acquire_lease(context(), name, holder, 60'000'000, "");
    require(lease.has_value(), outcome(lease));
    return *std::move(lease);
}

CompactionCommit CatalogueTest::make_compaction(const Lease& lease,
                                                const std::vector<PartInfo>& replaced) {
    auto merged = replaced.at(0);
    merged.id = make_ulid(clock_.now(), random_);
    merged.objects = {{.kind = "parquet", .key = "c/" + merged.id, .bytes = 2000, .xxh3 = 1}};
    merged.rows = 0;
    merged.raw_bytes = 0;
    CompactionCommit commit{.compaction_id = make_ulid(clock_.now(), random_),
                            .stream = merged.stream,
                            .lease = lease,
                            .replaced = {},
                            .parts = {}};
    for (const auto& part : replaced) {
        commit.replaced.push_back(part.id);
        merged.rows += part.rows;
        merged.raw_bytes += part.raw_bytes;
        merged.time_min_us = std::min(merged.time_min_us, part.time_min_us);
        merged.time_max_us = std::max(merged.time_max_us, part.time_max_us);
        merged.position_begin = std::min(merged.position_begin, part.position_begin);
        merged.position_end = std::max(merged.position_end, part.position_end);
        merged.shard = part.shard == merged.shard ? merged.shard : kSeveralShards;
    }
    commit.parts.push_back(std::move(merged));
    return commit;
}

CompactionIntent CatalogueTest::intent_for(const CompactionCommit& commit) const {
    CompactionIntent intent{.compaction_id = commit.compaction_id,
                            .stream = commit.stream,
                            .lease = commit.lease.name,
                            .epoch = commit.lease.epoch,
                            .object_keys = {},
                            .created_us = 78};
    for (const auto& part : commit.parts) {
        for (const auto& object : part.objects) {
            intent.object_keys.push_back(object.key);
        }
    }
    return intent;
}

StreamSnapshot CatalogueTest::snapshot(const StreamId& stream) {
    std::int64_t total = 0;
    auto taken = catalogue_->snapshot(context(), stream, INT64_MIN, INT64_MAX, total);
    require(taken.has_value(), outcome(taken));
    return *std::move(taken);
}

}  // namespace molesignal
