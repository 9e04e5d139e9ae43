#include <atomic>
#include <iostream>
#include <thread>

#include "metadata/catalogue_fixture.h"
#include "metadata/migrations.h"
#include "metadata/sql_catalogue.h"

namespace molesignal {
namespace {

TEST(Migrations, AreNumberedInOrder) {
    std::int64_t version = 0;
    for (const auto& step : migrations()) {
        EXPECT_EQ(step.version, ++version);
        EXPECT_FALSE(step.statements.empty());
    }
}

/// Starts on an empty database.
class MigrationTest : public CatalogueTest {
protected:
    void SetUp() override {
        database_ = make_test_database(GetParam());
        if (database_ == nullptr) {
            GTEST_SKIP() << "needs a Postgres server: run it by tests/support/postgres_server.py";
        }
        catalogue_ = connect();
    }
    std::int64_t applied() { return database_->number("SELECT COUNT(*) FROM schema_migrations"); }
};
MS_CATALOGUE_SUITE(MigrationTest);

TEST_P(MigrationTest, RunTwiceChangesNothing) {
    ASSERT_OK(catalogue_->migrate(context()));
    const auto stream = make_stream();
    ASSERT_OK(catalogue_->migrate(context()));
    EXPECT_EQ(applied(), static_cast<std::int64_t>(migrations().size()));
    EXPECT_EQ(make_stream().id, stream.id);
}

TEST_P(MigrationTest, GoesOnAfterAFailureAtEachStep) {
    for (std::size_t step = 1; step <= migrations().size(); ++step) {
        database_ = make_test_database(GetParam());
        catalogue_ = connect();
        ASSERT_OK(arm_failpoints("migration_step=error@" + std::to_string(step)));
        EXPECT_CODE(catalogue_->migrate(context()), ErrorCode::kUnavailable);
        disarm_failpoints();
        if (step > 1) {
            // What came before stays; the failed step left nothing.
            EXPECT_EQ(applied(), static_cast<std::int64_t>(step - 1));
        }
        catalogue_ = connect();
        ASSERT_OK(catalogue_->migrate(context()));
        EXPECT_EQ(applied(), static_cast<std::int64_t>(migrations().size()));
        EXPECT_EQ(make_stream().version, 0);
        catalogue_.reset();
    }
}

TEST_P(MigrationTest, ACatalogueWithoutCompactionsGetsThem) {
    ASSERT_OK(arm_failpoints("migration_step=error@7"));
    EXPECT_CODE(catalogue_->migrate(context()), ErrorCode::kUnavailable);
    disarm_failpoints();
    ASSERT_EQ(applied(), 6);
    const auto stream = make_stream();
    const auto shard = catalogue_->create_shard(context(), stream.id, "log");
    ASSERT_OK(shard);
    ASSERT_OK(flush(*shard, 0, 10));
    ASSERT_OK(flush(*shard, 10, 20));

    catalogue_ = connect();
    ASSERT_OK(catalogue_->migrate(context()));
    const auto commit = make_compaction(take_lease("job"), snapshot(stream.id).parts);
    ASSERT_OK(catalogue_->add_compaction_intent(context(), intent_for(commit)));
    ASSERT_OK(catalogue_->commit_compaction(context(), commit));
    const auto seen = snapshot(stream.id);
    ASSERT_EQ(seen.parts.size(), 1U);
    EXPECT_EQ(seen.parts[0].rows, 20);
}

TEST_P(MigrationTest, ManyProcessesAtOnce) {
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    threads.reserve(6);
    for (int i = 0; i < 6; ++i) {
        threads.emplace_back([&] {
            const auto own = connect();
            const auto done = own->migrate(context());
            if (!done) {
                ++failures;
                std::cerr << outcome(done) << "\n";
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(failures.load(), 0);
    EXPECT_EQ(applied(), static_cast<std::int64_t>(migrations().size()));
}

TEST_P(MigrationTest, SaysWhetherThereIsSomethingToDo) {
    auto& catalogue = dynamic_cast<SqlCatalogue&>(*catalogue_);
    ASSERT_OK(catalogue.migrate(context()));
    EXPECT_OK(catalogue.check_version(context()));
    database_->execute("INSERT INTO schema_migrations VALUES (99, 'from_the_future', 0)");
    const auto newer = catalogue.check_version(context());
    EXPECT_CODE(newer, ErrorCode::kConflict);
    EXPECT_THAT(newer.error().message(), ::testing::HasSubstr("99 (from_the_future)"));
    database_->execute("DELETE FROM schema_migrations WHERE version >= 2");
    const auto older = catalogue.check_version(context());
    EXPECT_CODE(older, ErrorCode::kConflict);
    EXPECT_THAT(older.error().message(), ::testing::HasSubstr("it has 1 migrations"));
}

TEST_P(MigrationTest, ANewerDatabaseIsLeftAlone) {
    ASSERT_OK(catalogue_->migrate(context()));
    database_->execute("INSERT INTO schema_migrations VALUES (99, 'from_the_future', 0)");
    const auto refused = catalogue_->migrate(context());
    EXPECT_CODE(refused, ErrorCode::kConflict);
    EXPECT_THAT(refused.error().message(), ::testing::HasSubstr("99 (from_the_future)"));
}

}  // namespace
}  // namespace molesignal
