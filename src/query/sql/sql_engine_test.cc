// What an engine does with many queries, their memory and their end. What SQL answers is in
// tests/scenario/store and tests/logic.
#include <filesystem>
#include <fstream>
#include <thread>

#include "query/sql/engine_fixture.h"
#include "query/sql/query_memory.h"
#include "tests/support/manual_clock.h"

namespace molesignal {
namespace {

class Engine : public EngineFixture {
protected:
    std::vector<std::string> spill_entries() {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(options_.spill_directory)) {
            names.push_back(entry.path().filename());
        }
        std::ranges::sort(names);
        return names;
    }
    /// Sorts more than fits into 128 MB.
    static constexpr const char* kSpills =
        "SELECT count(*) FROM (SELECT b.body || a.body AS y FROM logs.app a, logs.app b ORDER BY y "
        "OFFSET 5) WHERE length(y) > 0";
};

TEST_F(Engine, SpillDirectoriesOfAnEarlierProcessAreRemovedAndNothingElse) {
    const auto spill = std::filesystem::path(options_.spill_directory);
    std::filesystem::create_directories(spill / "instance-7" / "deep");
    std::ofstream(spill / "instance-7" / "duckdb_temp_storage.tmp") << "x";
    std::ofstream(spill / "mine.txt") << "x";
    std::filesystem::create_directories(spill / "other");
    add_hot("app", numbered_chunk(3));
    EXPECT_EQ(answer("SELECT count(*) FROM logs.app"), "3\n");
    engine_.reset();
    EXPECT_EQ(spill_entries(), (std::vector<std::string>{"mine.txt", "other"}));
}

TEST_F(Engine, TwoInstancesThatSpillDoNotMeet) {
    options_.memory_bytes = 128 << 20;
    options_.concurrency_max = 2;
    add_hot("app", numbered_chunk(700, 0, 200));
    const auto other = catalogue_->ensure_organization(context(), "other")->id;
    const auto mine = org_;
    std::filesystem::create_directories(options_.spill_directory);
    (void)engine();
    org_ = other;
    add_hot("app", numbered_chunk(600, 0, 200));
    const auto run = [this](const OrgId& org, const std::string& id) {
        SqlQuery query;
        query.id = id;
        query.org = org;
        query.statement = kSpills;
        auto result = engine().run(context(), std::move(query));
        return result ? rest(**result) : "error: " + result.error().message();
    };
    std::string theirs;
    std::thread thread([&] { theirs = run(other, "b"); });
    const auto ours = run(mine, "a");
    thread.join();
    EXPECT_EQ(ours, "489995\n");
    EXPECT_EQ(theirs, "359995\n");
    EXPECT_EQ(spill_entries().size(), 2U) << "one directory for each instance";
    engine_.reset();
    EXPECT_TRUE(spill_entries().empty());
}

TEST_F(Engine, MemoryOfHotRowsReturnsAfterAResultThatWasNotReadToItsEnd) {
    options_.rows_max = 1;
    std::weak_ptr<const void> owner;
    {
        auto chunk = numbered_chunk(16'000);
        owner = chunk.owner;
        add_hot("app", std::move(chunk));
    }
    {
        auto limited = start("SELECT * FROM logs.app");
        ASSERT_TRUE(limited);
        hot_.rows.clear();
        std::string out;
        EXPECT_FALSE(*(*limited)->next(SqlFormat::kCsv, out));
        EXPECT_TRUE((*limited)->partial());
        EXPECT_TRUE(owner.expired()) << "the rows are gone with the last line";
    }
    auto chunk = numbered_chunk(16'000);
    owner = chunk.owner;
    add_hot("app", std::move(chunk));
    {
        auto abandoned = start("SELECT * FROM logs.app");
        ASSERT_TRUE(abandoned);
        hot_.rows.clear();
    }
    EXPECT_TRUE(owner.expired()) << "the result was never read";
}

TEST_F(Engine, AStreamHasOneSnapshotForAllItsMentions) {
    add_hot("app", numbered_chunk(3));
    add_part("app", numbered_chunk(2, 100));
    EXPECT_EQ(answer("WITH w AS (SELECT * FROM app) SELECT count(*) FROM logs.app a JOIN LOGS.app "
                     "b USING (n) JOIN w USING (n) WHERE n IN (SELECT n FROM app)"),
              "5\n");
    EXPECT_EQ(hot_.snapshots, 1);
}

TEST_F(Engine, StreamsOfAStatementAreBounded) {
    std::string statement = "SELECT 1";
    for (int i = 0; i < 17; ++i) {
        stream(fmt::format("s{}", i));
        statement += fmt::format(" UNION ALL SELECT n FROM logs.s{}", i);
    }
    EXPECT_NE(answer(statement).find("more than 16 streams"), std::string::npos);
}

TEST_F(Engine, EveryFailureIsCounted) {
    const auto errors = [this] { return metric("query_errors_total{language=\"sql\"}"); };
    (void)answer("SELECT getenv('X')");
    EXPECT_EQ(errors(), 1);
    (void)answer("SELECT * FROM logs.nothing");
    EXPECT_EQ(errors(), 2);
    (void)answer("SELECT 'x'::INT");
    EXPECT_EQ(errors(), 3);
    auto first = start("SELECT 1", "same");
    EXPECT_EQ(start("SELECT 1", "same").error().code(), ErrorCode::kConflict);
    EXPECT_EQ(errors(), 4);
    (void)answer("SELECT 1");
    EXPECT_EQ(errors(), 4);
}

TEST_F(Engine, ALongNameIsNotComparedWithEveryStream) {
    for (int i = 0; i < 50; ++i) {
        stream(std::string(200, 'a') + std::to_string(i));
    }
    EXPECT_EQ(answer("SELECT * FROM \"" + std::string(4'000, 'a') + "\"").substr(0, 30),
              "error: no stream is called 'aa");
    EXPECT_NE(answer("SELECT * FROM " + std::string(200, 'a') + "x0").find("the nearest are"),
              std::string::npos);
}

TEST_F(Engine, ExplainShowsThePlanAndNoObject) {
    add_hot("app", numbered_chunk(3));
    const auto part = add_part("app", numbered_chunk(2, 100));
    const auto plan = answer("EXPLAIN SELECT body FROM logs.app WHERE n > 5");
    EXPECT_NE(plan.find("MS_PARTS"), std::string::npos) << plan;
    EXPECT_NE(plan.find("n>5"), std::string::npos) << plan;
    EXPECT_EQ(plan.find("ms://"), std::string::npos) << plan;
    EXPECT_EQ(plan.find(part.objects[0].key), std::string::npos) << plan;
}

TEST_F(Engine, ExplainSaysHowEachStreamIsRead) {
    add_hot("app", numbered_chunk(3));
    const auto part = add_part("app", numbered_chunk(2, 100));
    add_part("app", numbered_chunk(4, 200));
    add_hot("other", numbered_chunk(1));
    const auto plan =
        answer("EXPLAIN SELECT count(*) FROM logs.app, other WHERE app.n > 150 AND app.body = 'x'");
    EXPECT_NE(plan.find("logs.app: 2 parts; skipped: 0 by the time range, 0 by times, 2 by zone "
                        "maps, 0 by index\nhot rows: 3"),
              std::string::npos)
        << plan;
    EXPECT_NE(plan.find("logs.other: 0 parts;"), std::string::npos) << plan;
    const auto timed = answer(
        "EXPLAIN SELECT n FROM logs.app WHERE _timestamp < TIMESTAMPTZ '2001-01-01 00:00:00+00'");
    EXPECT_NE(timed.find("2 by times, 0 by zone maps"), std::string::npos) << timed;
    const auto unindexed = answer("EXPLAIN SELECT n FROM logs.app WHERE body LIKE '%00%'");
    EXPECT_NE(unindexed.find("index asked: a test of body, needs body contains '00'\nconditions "
                             "answered by index alone: 0 of 1\n2 parts whole, 6 rows: no index"),
              std::string::npos)
        << unindexed;
    EXPECT_NE(answer("EXPLAIN SELECT n FROM logs.app").find("2 parts whole, 6 rows: no condition"),
              std::string::npos);
    const auto json = answer("EXPLAIN (FORMAT json) SELECT n FROM logs.app WHERE n > 103");
    EXPECT_NE(json.find(R"(""skipped_by_zone_maps"":1,""skipped_by_index"":0,""conditions"":[],)"
                        R"(""conditions_answered"":0,""readings"":[{""how"":""no_condition"",)"
                        R"(""parts"":1,""rows"":4,""rows_left"":4}],""hot_rows"":3})"),
              std::string::npos)
        << json;
    EXPECT_EQ(json.find(part.objects[0].key), std::string::npos) << json;
    EXPECT_EQ(json.find("ms://"), std::string::npos) << json;
    EXPECT_NE(answer("EXPLAIN (FORMAT html) SELECT n FROM logs.app").find("only SELECT"),
              std::string::npos);
}

TEST_F(Engine, ConditionsOfOurFunctionsReachTheScan) {
    add_part("app", numbered_chunk(2, 100));
    for (const auto* condition : {"regexp_matches(body, '10+1x')",
                                  "body SIMILAR TO '10[01].*'",
                                  "body LIKE '%1_0%'",
                                  "body LIKE '%1$%0%' ESCAPE '$'",
                                  "match(body, '100')",
                                  "NOT regexp_matches(body, '10+1x')"}) {
        const auto plan = answer(std::string("EXPLAIN SELECT n FROM logs.app WHERE ") + condition);
        const bool is_asked = plan.find("index asked") != std::string::npos;
        // The index has the words of a text, and no values to test.
        EXPECT_EQ(is_asked, !std::string_view(condition).starts_with("NOT")) << plan;
    }
}

TEST_F(Engine, WhatDuckDbDoesNotCountIsBoundedToo) {
    options_.memory_bytes = 64 << 20;
    options_.memory = MemoryBudget::make_root("process", "memory.limit_mb", 1LL << 30);
    add_hot("app", numbered_chunk(2'048, 0, 200));
    const std::string text(30'000, 'y');
    std::vector<std::string> statements = {
        "SELECT sum(length(replace(body, 'x', '" + text + "'))) FROM logs.app",
        "SELECT sum(length(regexp_replace(body, 'x', '" + text + "', 'g'))) FROM logs.app",
        "SELECT max(length(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(body)"
        "))))))))))))))))) FROM logs.app"};
    if (QueryMemory::counts_operator_new()) {
        statements.emplace_back("SELECT mode(a.n * 2048 + b.n) FROM logs.app a, logs.app b");
        statements.emplace_back("SELECT entropy(a.n * 2048 + b.n) FROM logs.app a, logs.app b");
        statements.emplace_back(
            "SELECT median(a.n * b.n + c.n) FROM logs.app a, logs.app b, logs.app c");
    }
    for (const auto& statement : statements) {
        const auto error = failure(statement);
        EXPECT_EQ(error.code(), ErrorCode::kLimitReached)
            << statement.substr(0, 60) << ": " << error.message();
        EXPECT_NE(error.message().find("query.memory_mb"), std::string::npos) << error.message();
    }
    EXPECT_EQ(answer("SELECT count(*) FROM logs.app"), "2048\n");
    EXPECT_LE(options_.memory->peak_bytes(), options_.memory_bytes + (1 << 20));
    EXPECT_EQ(options_.memory->used_bytes(), 0);
}

TEST_F(Engine, FootersAreReadOnce) {
    add_part("app", numbered_chunk(3));
    add_part("app", numbered_chunk(3, 100));
    const auto gets = [this] {
        auto result = start("SELECT count(*), sum(n) FROM logs.app WHERE n >= 0");
        EXPECT_EQ(rest(**result), "6,306\n");
        return (*result)->stats().object_gets;
    };
    EXPECT_EQ(gets(), 4) << "each is opened twice, and read as a whole, for its end";
    EXPECT_EQ(gets(), 4) << "no cache";
    close_engine();
    options_.reader = std::make_shared<ObjectReader>(
        objects_,
        ObjectReaderOptions{},
        std::make_unique<MemoryCache>(MemoryBudget::make_root("cache", "cache.memory_mb", 1 << 20),
                                      metrics_),
        nullptr,
        system_clock_,
        metrics_);
    EXPECT_EQ(gets(), 2);
    EXPECT_EQ(gets(), 0);
    // By the parser, which looks three times; later queries need no more than what it has made.
    EXPECT_EQ(metric(R"(cache_hits_total{cache="footer"})"), 4);
    EXPECT_EQ(metric(R"(cache_hits_total{cache="parsed_footer"})"), 2);
}

TEST_F(Engine, WhatIsReadOfObjectsDoesNotLoosenTheLimit) {
    if (!QueryMemory::counts_operator_new()) {
        GTEST_SKIP() << "a sanitizer's allocator is not counted";
    }
    // Does not compress: as much is read as is kept.
    constexpr std::size_t kRows = 12'000;
    constexpr std::size_t kBodyBytes = 2'000;
    std::vector<std::int64_t> times;
    std::vector<std::optional<std::string>> bodies;
    for (std::size_t row = 0; row < kRows; ++row) {
        times.push_back(1'700'000'000'000'000'000 + static_cast<std::int64_t>(row) * 1'000);
        std::string body;
        while (body.size() < kBodyBytes) {
            body += fmt::format("{:016x}", random_.next_u64());
        }
        bodies.emplace_back(std::move(body));
    }
    for (const auto* stream : {"app", "app", "app"}) {
        add_part(stream, ChunkBuilder(0, times).text("body", FieldType::kString, bodies).build());
    }
    options_.memory_bytes = 64 << 20;
    const auto error = failure("SELECT mode(body) FROM logs.app");
    EXPECT_EQ(error.code(), ErrorCode::kLimitReached) << error.message();
    EXPECT_EQ(answer("SELECT count(body) FROM logs.app"), "36000\n");
}

TEST_F(Engine, QueriesShareTheProcesssMemory) {
    options_.memory = MemoryBudget::make_root("process", "memory.limit_mb", 24 << 20);
    add_hot("app", numbered_chunk(2'048, 0, 200));
    const auto refused =
        answer("SELECT count(*) FROM (SELECT DISTINCT a.body || b.n FROM logs.app a, logs.app b)");
    EXPECT_NE(refused.find("memory.limit_mb"), std::string::npos) << refused;
    EXPECT_EQ(options_.memory->used_bytes(), 0);
    EXPECT_GT(options_.memory->peak_bytes(), 1 << 20);
    EXPECT_EQ(answer("SELECT count(*) FROM logs.app"), "2048\n");
}

class EngineDeadline : public Engine {
protected:
    /// The engine's threads wait by the clock, which ends before the fixture.
    ~EngineDeadline() override { close_engine(); }
    Clock& clock() override { return manual_clock_; }
    ManualClock manual_clock_;
};

TEST_F(EngineDeadline, ASlowReaderDoesNotKeepItsSlotBeyondItsDeadline) {
    options_.concurrency_max = 1;
    add_hot("app", numbered_chunk(16'000));
    auto slow = start("SELECT * FROM logs.app");
    ASSERT_TRUE(slow);
    std::string out;
    ASSERT_TRUE(*(*slow)->next(SqlFormat::kNdjson, out));
    manual_clock_.advance(options_.timeout - std::chrono::seconds(1));
    std::string other;
    std::thread waiting([&] { other = answer("SELECT 42"); });
    // The watch, and the query that waits for a slot.
    manual_clock_.await_waiters(2);
    manual_clock_.advance(std::chrono::seconds(1));
    waiting.join();
    EXPECT_EQ(other, "42\n");
    EXPECT_EQ(registry_.size(), 0U);
    const auto late = (*slow)->next(SqlFormat::kNdjson, out);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::kTimeout);
}

}  // namespace
}  // namespace molesignal
