// A SQLite file that is not what was written: an error that says so, or the right answer.
// MS_DAMAGE_CASES sets the number of flips.
#include <cstdlib>

#include <fmt/format.h>
#include <sqlite3.h>

#include "io/posix_fs.h"
#include "metadata/catalogue_fixture.h"
#include "metadata/open_catalogue.h"
#include "metadata/sqlite/sqlite_file_state.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

std::uint64_t cases_of(std::uint64_t standard) {
    const auto text = test_variable("MS_DAMAGE_CASES");
    return text.empty() ? standard : std::strtoull(text.c_str(), nullptr, 10);
}

class SqliteDamage : public CatalogueTest {
protected:
    void SetUp() override {
        folder_ = std::filesystem::temp_directory_path() /
                  fmt::format("ms-sqlite-damage-{:016x}", SystemRandom().next_u64());
        std::filesystem::create_directories(folder_);
        seed_ = test_seed();
        chance_ = std::make_unique<SeededRandom>(seed_);
        ASSERT_TRUE(open().has_value());
        ASSERT_OK(catalogue_->migrate(context()));
    }
    void TearDown() override {
        catalogue_.reset();
        std::filesystem::remove_all(folder_);
        CatalogueTest::TearDown();
    }

    std::string path() const { return (folder_ / "meta.db").string(); }
    std::string journal() const { return path() + "-wal"; }
    Result<> open() {
        catalogue_.reset();
        MS_TRY(catalogue_, open_sqlite_catalogue(path(), clock_, random_));
        return {};
    }
    void close() { catalogue_.reset(); }

    /// Streams with fields, shards, parts, and an intent.
    void fill(int streams, std::uint64_t flushes) {
        for (int i = 0; i < streams; ++i) {
            const auto stream = make_stream(fmt::format("stream_{}", i));
            ASSERT_OK(catalogue_->ensure_fields(
                context(),
                stream.id,
                {{.name = "level"}, {.name = "n", .type = FieldType::kInt64}}));
            const auto shard = catalogue_->create_shard(context(), stream.id, "owner");
            ASSERT_OK(shard);
            for (std::uint64_t at = 0; at < flushes; ++at) {
                ASSERT_OK(flush(*shard, at * 10, at * 10 + 10));
            }
            const auto pending = make_commit(*shard, flushes * 10, flushes * 10 + 10);
            ASSERT_OK(catalogue_->add_flush_intent(context(), intent_for(pending, stream.id)));
        }
    }

    /// All that decides about rows, as text.
    Result<std::string> describe() {
        std::string out;
        MS_TRY(const auto organizations, catalogue_->list_organizations(context()));
        for (const auto& org : organizations) {
            out += fmt::format("org {} {}\n", org.id.value, org.slug);
            MS_TRY(const auto streams, catalogue_->list_streams(context(), org.id));
            for (const auto& stream : streams) {
                MS_TRY_VOID(describe_stream(stream, out));
            }
        }
        MS_TRY(const auto intents, catalogue_->list_flush_intents(context()));
        for (const auto& intent : intents) {
            out += fmt::format("intent {} {} {}\n",
                               intent.flush_id,
                               intent.shard.value,
                               fmt::join(intent.object_keys, ","));
        }
        return out;
    }

    ByteBuffer content(const std::string& file) { return *read_file(fs_, file, 1U << 30U); }
    void store(const std::string& file, Bytes bytes) {
        (void)fs_.remove(file);
        const auto opened = *fs_.open(file, OpenMode::kCreateNew);
        ASSERT_TRUE(opened->write_at(0, bytes));
    }
    /// The database as `bytes`, and its journal.
    void restore(const ByteBuffer& database, const ByteBuffer* log) {
        close();
        (void)fs_.remove(path() + "-shm");
        (void)fs_.remove(journal());
        store(path(), database);
        if (log != nullptr) {
            store(journal(), *log);
        }
    }

    /// The closed database anew, as SQLite makes it by itself: table by table, then the indexes.
    void copy_without_room() {
        const auto plain = path() + ".plain";
        sqlite3* database = nullptr;
        ASSERT_EQ(sqlite3_open(plain.c_str(), &database), SQLITE_OK);
        const auto run = [&](const std::string& sql, auto&& each) {
            using Each = std::remove_reference_t<decltype(each)>;
            const auto row = [](void* out, int count, char** texts, char**) {
                (*static_cast<Each*>(out))(count > 0 && texts[0] != nullptr ? texts[0] : "");
                return 0;
            };
            ASSERT_EQ(sqlite3_exec(database, sql.c_str(), row, &each, nullptr), SQLITE_OK)
                << sql << ": " << sqlite3_errmsg(database);
        };
        std::vector<std::string> statements;
        auto ignore = [](const std::string&) {};
        auto keep = [&](const std::string& sql) { statements.push_back(sql); };
        run("ATTACH '" + path() + "' AS old", ignore);
        run("PRAGMA foreign_keys=OFF", ignore);
        run("SELECT sql FROM old.sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
            " ORDER BY type DESC",
            keep);
        run("SELECT 'INSERT INTO main.' || name || ' SELECT * FROM old.' || name"
            " FROM old.sqlite_master WHERE type = 'table' AND name <> 'sqlite_sequence'",
            keep);
        for (const auto& sql : statements) {
            run(sql, ignore);
        }
        run("DELETE FROM main.sqlite_sequence", ignore);
        run("INSERT INTO main.sqlite_sequence SELECT * FROM old.sqlite_sequence", ignore);
        run("DETACH old", ignore);
        // Left behind by a process that was killed: with a write-ahead log.
        run("PRAGMA journal_mode=WAL", ignore);
        sqlite3_close(database);
        ASSERT_TRUE(fs_.rename(plain, path()));
    }

    std::uint64_t below(std::uint64_t limit) { return chance_->next_u64() % limit; }

    PosixFs fs_;
    std::filesystem::path folder_;
    std::unique_ptr<SeededRandom> chance_;

private:
    Result<> describe_stream(const StreamInfo& stream, std::string& out) {
        std::int64_t total = 0;
        MS_TRY(const auto seen,
               catalogue_->snapshot(context(), stream.id, INT64_MIN, INT64_MAX, total));
        out += fmt::format(
            "stream {} {} {} {}\n", stream.id.value, stream.name, stream.version, total);
        for (const auto& field : seen.schema.variants) {
            out += fmt::format(
                "field {} {} {}\n", field.id.value, field.name, static_cast<int>(field.type));
        }
        for (const auto& part : seen.parts) {
            out += fmt::format("part {} {} {} {} {} {} {} {:x} {}\n",
                               part.id,
                               part.rows,
                               part.time_min_us,
                               part.time_max_us,
                               part.position_begin.value,
                               part.position_end.value,
                               part.objects.front().key,
                               part.objects.front().xxh3,
                               part.zone_maps.size());
        }
        for (const auto& shard : seen.shards) {
            out += fmt::format("shard {} {} {} {}\n",
                               shard.id.value,
                               shard.epoch.value,
                               shard.checkpoint.value,
                               static_cast<int>(shard.state));
        }
        return {};
    }
};

TEST_P(SqliteDamage, AFlippedBitIsAnErrorOrChangesNothing) {
    fill(8, 12);
    close();
    const auto good = content(path());
    ASSERT_EQ(*look_at_sqlite_file(fs_, path()), SqliteFileState::kChecked);
    ASSERT_TRUE(open());
    const auto expected = *describe();
    const auto cases = cases_of(800);
    std::uint64_t errors = 0;
    for (std::uint64_t i = 0; i < cases; ++i) {
        auto bad = good;
        const auto bit = below(good.size() * 8);
        bad[bit / 8] ^= std::byte{1} << (bit % 8);
        restore(bad, nullptr);
        auto opened = open();
        auto seen = opened ? describe() : Result<std::string>(opened.error());
        if (seen) {
            ASSERT_EQ(*seen, expected) << "a wrong answer: bit " << bit;
            continue;
        }
        ++errors;
        ASSERT_EQ(seen.error().code(), ErrorCode::kCorruption)
            << "bit " << bit << ": " << seen.error().message();
        ASSERT_NE(seen.error().message().find(path()), std::string::npos) << seen.error().message();
    }
    record_figure(
        "damaged-files",
        "unit/metadata",
        fmt::format(
            "{} flips of the SQLite file: {} errors that name it, no wrong answer", cases, errors),
        seed_);
    EXPECT_GT(errors, cases / 3);
}

TEST_P(SqliteDamage, EveryBitOfTheFileHeaderIsGuarded) {
    fill(2, 2);
    close();
    const auto good = content(path());
    ASSERT_TRUE(open());
    const auto expected = *describe();
    for (std::size_t bit = 0; bit < std::size_t{100} * 8; ++bit) {
        auto bad = good;
        bad[bit / 8] ^= std::byte{1} << (bit % 8);
        restore(bad, nullptr);
        auto opened = open();
        auto seen = opened ? describe() : Result<std::string>(opened.error());
        ASSERT_FALSE(seen) << "bit " << bit;
        ASSERT_EQ(seen.error().code(), ErrorCode::kCorruption) << seen.error().message();
    }
}

TEST_P(SqliteDamage, OfWhatIsReadBackFromTheJournalIsSeenWhileRunning) {
    fill(4, 10);
    const auto good = content(journal());
    ASSERT_GT(good.size(), 100'000U) << "nothing is in the file yet";
    const auto expected = *describe();
    std::uint64_t errors = 0;
    for (std::uint64_t i = 0; i < 60; ++i) {
        auto bad = good;
        for (int flips = 0; flips < 20; ++flips) {
            const auto bit = below(good.size() * 8);
            bad[bit / 8] ^= std::byte{1} << (bit % 8);
        }
        const auto file = *fs_.open(journal(), OpenMode::kReadWrite);
        ASSERT_TRUE(file->write_at(0, bad));
        // Another catalogue object: its connections have nothing in memory yet.
        auto other = open_sqlite_catalogue(path(), clock_, random_);
        auto seen = other ? Result<std::string>(std::string()) : Result<std::string>(other.error());
        if (other) {
            std::swap(*other, catalogue_);
            seen = describe();
            std::swap(*other, catalogue_);
        }
        ASSERT_TRUE(file->write_at(0, good));
        if (seen) {
            ASSERT_EQ(*seen, expected);
        } else {
            ++errors;
            ASSERT_EQ(seen.error().code(), ErrorCode::kCorruption) << seen.error().message();
        }
    }
    EXPECT_GT(errors, 10U);
}

TEST_P(SqliteDamage, OfAJournalThatAKilledProcessLeftIsReported) {
    std::vector<std::string> states{*describe()};
    ASSERT_OK(catalogue_->ensure_organization(context(), "default"));
    states.push_back(*describe());
    const auto stream = make_stream();
    states.push_back(*describe());
    const auto shard = *catalogue_->create_shard(context(), stream.id, "owner");
    states.push_back(*describe());
    for (std::uint64_t at = 0; at < 12; ++at) {
        const auto commit = make_commit(shard, at * 10, at * 10 + 10);
        ASSERT_OK(catalogue_->add_flush_intent(context(), intent_for(commit, stream.id)));
        states.push_back(*describe());
        ASSERT_OK(catalogue_->commit_flush(context(), commit));
        states.push_back(*describe());
    }
    const auto database = content(path());
    const auto good = content(journal());
    close();
    ASSERT_EQ(*find_journal_damage(fs_, path()), "") << "there is no journal";
    restore(database, &good);
    ASSERT_EQ(*find_journal_damage(fs_, path()), "");
    std::uint64_t reported = 0;
    for (std::uint64_t i = 0; i < 200; ++i) {
        auto bad = good;
        const auto bit = below(good.size() * 8);
        bad[bit / 8] ^= std::byte{1} << (bit % 8);
        restore(database, &bad);
        const auto damage = *find_journal_damage(fs_, path());
        reported += damage.empty() ? 0 : 1;
        ASSERT_TRUE(open());
        const auto seen = describe();
        if (!seen) {
            ASSERT_FALSE(damage.empty()) << "tables are gone; bit " << bit;
            continue;
        }
        const auto state = std::ranges::find(states, *seen);
        ASSERT_NE(state, states.end()) << "never a state in between; bit " << bit;
        // The last transaction may be torn; of more than that somebody hears.
        ASSERT_TRUE(!damage.empty() || states.end() - state <= 2) << "bit " << bit;
    }
    EXPECT_GT(reported, 100U);
}

TEST_P(SqliteDamage, AFileOfAnEarlierVersionGetsChecksums) {
    fill(3, 5);
    const auto expected = *describe();
    close();
    copy_without_room();
    ASSERT_EQ(*look_at_sqlite_file(fs_, path()), SqliteFileState::kPlain);
    store(path() + ".checked", as_bytes("left over"));
    ASSERT_OK(open());
    EXPECT_EQ(*describe(), expected);
    fill(1, 1);
    const auto more = *describe();
    close();
    EXPECT_EQ(*look_at_sqlite_file(fs_, path()), SqliteFileState::kChecked);
    EXPECT_FALSE(*fs_.exists(path() + ".checked"));
    ASSERT_OK(open());
    EXPECT_EQ(*describe(), more);
}

TEST_P(SqliteDamage, AnotherProgramsPagesAreNotTakenForOurs) {
    fill(1, 2);
    close();
    {
        sqlite3* database = nullptr;
        ASSERT_EQ(sqlite3_open(path().c_str(), &database), SQLITE_OK);
        ASSERT_EQ(sqlite3_exec(database,
                               "UPDATE shards SET checkpoint = checkpoint + 1",
                               nullptr,
                               nullptr,
                               nullptr),
                  SQLITE_OK);
        sqlite3_close(database);
    }
    const auto opened = open();
    const auto seen = opened ? describe() : Result<std::string>(opened.error());
    ASSERT_FALSE(seen);
    EXPECT_EQ(seen.error().code(), ErrorCode::kCorruption);
    EXPECT_NE(seen.error().message().find("checksum"), std::string::npos) << seen.error().message();
}

TEST_P(SqliteDamage, WhatAnotherProgramTookOverFromTheLogIsAccepted) {
    fill(2, 3);
    const auto expected = *describe();
    const auto database = content(path());
    const auto log = content(journal());
    close();
    EXPECT_FALSE(*fs_.exists(path() + "-open")) << "closed cleanly";
    // A killed server: the log and the mark are there. `sqlite3` looks into it and is closed.
    restore(database, &log);
    store(path() + "-open", {});
    {
        sqlite3* plain = nullptr;
        ASSERT_EQ(sqlite3_open(path().c_str(), &plain), SQLITE_OK);
        ASSERT_EQ(sqlite3_exec(plain, "SELECT count(*) FROM shards", nullptr, nullptr, nullptr),
                  SQLITE_OK);
        sqlite3_close(plain);
    }
    ASSERT_FALSE(*fs_.exists(journal()));
    ASSERT_TRUE(*is_written_by_others(fs_, path()));
    auto looking = open_sqlite_catalogue_for_reading(path(), clock_, random_);
    ASSERT_FALSE(looking);
    EXPECT_EQ(looking.error().code(), ErrorCode::kConflict) << looking.error().message();
    ASSERT_OK(open());
    EXPECT_EQ(*describe(), expected);
    close();
    ASSERT_OK(open());
    EXPECT_EQ(*describe(), expected);
    // Damage without such a visit stays damage.
    close();
    auto bad = content(path());
    bad[bad.size() / 2] ^= std::byte{1};
    restore(bad, nullptr);
    EXPECT_FALSE(*is_written_by_others(fs_, path()));
}

INSTANTIATE_TEST_SUITE_P(Database, SqliteDamage, ::testing::Values("sqlite"), [](const auto& info) {
    return std::string(info.param);
});

}  // namespace
}  // namespace molesignal
