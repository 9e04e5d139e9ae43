// Conformance under concurrency: many threads, several catalogue objects, one database.
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <set>
#include <thread>

#include "metadata/catalogue_fixture.h"
#include "metadata/open_catalogue.h"

namespace molesignal {
namespace {

constexpr int kThreads = 8;

/// Runs `body(thread)` on kThreads threads that start together.
void race(const std::function<void(int)>& body) {
    std::atomic<int> waiting{kThreads};
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&, i] {
            --waiting;
            while (waiting.load() > 0) {
                std::this_thread::yield();
            }
            body(i);
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
}

class CatalogueRaceTest : public CatalogueTest {
protected:
    /// As another process: its own connections.
    void SetUp() override {
        CatalogueTest::SetUp();
        if (catalogue_ != nullptr) {
            second_ = connect();
        }
    }
    Catalogue& any(int thread) { return thread % 2 == 0 ? *catalogue_ : *second_; }

    std::unique_ptr<Catalogue> second_;
};
MS_CATALOGUE_SUITE(CatalogueRaceTest);

TEST_P(CatalogueRaceTest, EverybodyGetsTheSameOrganizationStreamAndFields) {
    std::array<std::string, kThreads> orgs;
    std::array<std::string, kThreads> streams;
    std::atomic<int> failures{0};
    race([&](int thread) {
        auto org = any(thread).ensure_organization(context(), "acme");
        if (!org) {
            ++failures;
            return;
        }
        orgs[static_cast<std::size_t>(thread)] = org->id.value;
        auto stream = any(thread).ensure_stream(context(), org->id, StreamType::kLogs, "app", 1);
        if (!stream) {
            ++failures;
            return;
        }
        streams[static_cast<std::size_t>(thread)] = stream->id.value;
        for (int i = 0; i < 20; ++i) {
            // Every thread brings the fields in another order.
            const int first = (i * 3 + thread) % 20;
            auto schema = any(thread).ensure_fields(
                context(),
                stream->id,
                {{.name = "f" + std::to_string(first), .type = FieldType::kString},
                 {.name = "f" + std::to_string((first + 7) % 20), .type = FieldType::kString}});
            failures += schema ? 0 : 1;
        }
    });
    EXPECT_EQ(failures.load(), 0);
    EXPECT_EQ(std::set<std::string>(orgs.begin(), orgs.end()).size(), 1U);
    EXPECT_EQ(std::set<std::string>(streams.begin(), streams.end()).size(), 1U);
    const auto schema = snapshot(StreamId{streams[0]}).schema;
    ASSERT_EQ(schema.variants.size(), 20U);
    std::set<std::string> names;
    for (std::size_t i = 0; i < schema.variants.size(); ++i) {
        EXPECT_EQ(schema.variants[i].id, FieldId{static_cast<std::int32_t>(i + 1)});
        names.insert(schema.variants[i].name);
    }
    EXPECT_EQ(names.size(), 20U);
}

TEST_P(CatalogueRaceTest, TheLimitOfStreamsHoldsForAll) {
    const auto org = catalogue_->ensure_organization(context(), "acme");
    ASSERT_OK(org);
    std::atomic<int> made{0};
    std::atomic<int> refused{0};
    race([&](int thread) {
        auto stream = any(thread).ensure_stream(
            context(), org->id, StreamType::kLogs, "s" + std::to_string(thread), 3);
        if (stream) {
            ++made;
        } else if (stream.error().code() == ErrorCode::kLimitReached) {
            ++refused;
        }
    });
    EXPECT_EQ(made.load(), 3);
    EXPECT_EQ(refused.load(), kThreads - 3);
}

TEST_P(CatalogueRaceTest, CommitsOfManyShardsCountOneVersionEach) {
    const auto stream = make_stream();
    std::atomic<int> failures{0};
    constexpr std::uint64_t kFlushes = 5;
    race([&](int thread) {
        auto shard = any(thread).create_shard(context(), stream.id, "log");
        for (std::uint64_t i = 0; shard && i < kFlushes; ++i) {
            const auto commit = make_commit(*shard, i * 10, i * 10 + 10);
            auto done = any(thread).add_flush_intent(context(), intent_for(commit, stream.id));
            if (done) {
                done = any(thread).commit_flush(context(), commit);
            }
            failures += done ? 0 : 1;
        }
        failures += shard ? 0 : 1;
    });
    EXPECT_EQ(failures.load(), 0);
    const auto seen = snapshot(stream.id);
    EXPECT_EQ(seen.stream.version, static_cast<std::int64_t>(kThreads * kFlushes));
    std::set<std::int64_t> versions;
    for (const auto& part : seen.parts) {
        versions.insert(part.added_version);
    }
    EXPECT_EQ(versions.size(), kThreads * kFlushes);
}

TEST_P(CatalogueRaceTest, OneOfManyCommitsOfOneFlushCounts) {
    const auto stream = make_stream();
    const auto shard = catalogue_->create_shard(context(), stream.id, "log");
    ASSERT_OK(shard);
    const auto commit = make_commit(*shard, 0, 10);
    ASSERT_OK(catalogue_->add_flush_intent(context(), intent_for(commit, stream.id)));
    std::atomic<int> failures{0};
    race([&](int thread) { failures += any(thread).commit_flush(context(), commit) ? 0 : 1; });
    EXPECT_EQ(failures.load(), 0);  // All of them learn that it is committed.
    const auto seen = snapshot(stream.id);
    EXPECT_EQ(seen.parts.size(), 1U);
    EXPECT_EQ(seen.stream.version, 1);
}

TEST_P(CatalogueRaceTest, AnIntentIsEitherCommittedOrAbandoned) {
    const auto stream = make_stream();
    for (int round = 0; round < 20; ++round) {
        const auto shard = catalogue_->create_shard(context(), stream.id, "log");
        ASSERT_OK(shard);
        const auto commit = make_commit(*shard, 0, 10);
        ASSERT_OK(catalogue_->add_flush_intent(context(), intent_for(commit, stream.id)));
        std::atomic<bool> committed{false};
        std::atomic<bool> abandoned{false};
        race([&](int thread) {
            if (thread == 0) {
                committed = catalogue_->commit_flush(context(), commit).has_value();
            } else if (thread == 1) {
                abandoned = second_->abandon_flush_intent(context(), commit.flush_id).has_value();
            }
        });
        ASSERT_NE(committed.load(), abandoned.load());
        const auto now = catalogue_->get_shard(context(), shard->id);
        ASSERT_OK(now);
        EXPECT_EQ((*now)->checkpoint, committed ? Position{10} : Position{0});
    }
}

TEST_P(CatalogueRaceTest, ASnapshotNeverShowsHalfAFlush) {
    const auto stream = make_stream();
    const auto shard = catalogue_->create_shard(context(), stream.id, "log");
    ASSERT_OK(shard);
    std::atomic<bool> done{false};
    std::atomic<int> failures{0};
    std::atomic<int> looked{0};
    race([&](int thread) {
        if (thread == 0) {
            for (std::uint64_t i = 0; i < 40; ++i) {
                failures += flush(*shard, i * 10, i * 10 + 10) ? 0 : 1;
            }
            done = true;
            return;
        }
        while (!done && thread < 4) {
            std::int64_t total = 0;
            auto seen = any(thread).snapshot(context(), stream.id, INT64_MIN, INT64_MAX, total);
            if (!seen) {
                ++failures;
                continue;
            }
            std::uint64_t rows = 0;
            for (const auto& part : seen->parts) {
                rows += static_cast<std::uint64_t>(part.rows);
                failures += part.objects.size() == 1 ? 0 : 1;
                failures += part.added_version <= seen->stream.version ? 0 : 1;
            }
            failures += rows == seen->shards[0].checkpoint.value ? 0 : 1;
            failures += total == static_cast<std::int64_t>(seen->parts.size()) ? 0 : 1;
            ++looked;
        }
    });
    EXPECT_EQ(failures.load(), 0);
    EXPECT_GT(looked.load(), 0);
    EXPECT_EQ(snapshot(stream.id).parts.size(), 40U);
}

TEST_P(CatalogueRaceTest, ALeaseIsTakenOverByOne) {
    ASSERT_OK(catalogue_->acquire_lease(context(), "job", "old", -1, ""));
    std::atomic<int> won{0};
    std::atomic<int> lost{0};
    race([&](int thread) {
        auto lease = any(thread).acquire_lease(
            context(), "job", "h" + std::to_string(thread), 60'000'000, "");
        if (lease) {
            ++won;
        } else if (lease.error().code() == ErrorCode::kConflict) {
            ++lost;
        }
    });
    EXPECT_EQ(won.load(), 1);
    EXPECT_EQ(lost.load(), kThreads - 1);
}

TEST_P(CatalogueRaceTest, DeletingAStreamWhileItIsFlushedLeavesNoLivePart) {
    for (int round = 0; round < 10; ++round) {
        const auto stream = make_stream();
        const auto shard = catalogue_->create_shard(context(), stream.id, "log");
        ASSERT_OK(shard);
        std::atomic<bool> deleted{false};
        std::atomic<int> odd{0};
        race([&](int thread) {
            if (thread == 0) {
                deleted = second_->delete_stream(context(), stream.org, stream.id).has_value();
            } else if (thread == 1) {
                for (std::uint64_t i = 0; i < 3; ++i) {
                    const auto flushed = flush(*shard, i * 10, i * 10 + 10);
                    odd += flushed || flushed.error().code() == ErrorCode::kNotFound ? 0 : 1;
                }
            }
        });
        EXPECT_TRUE(deleted.load());
        EXPECT_EQ(odd.load(), 0);
    }
    EXPECT_EQ(database_->number("SELECT COUNT(*) FROM parquet_file_meta WHERE NOT deleted"), 0);
}

TEST_P(CatalogueRaceTest, WaitsForALockUntilTheDeadlineOnly) {
    const auto stream = make_stream();
    const auto shard = catalogue_->create_shard(context(), stream.id, "log");
    ASSERT_OK(shard);
    const auto commit = make_commit(*shard, 0, 10);
    ASSERT_OK(catalogue_->add_flush_intent(context(), intent_for(commit, stream.id)));
    auto held = database_->lock_stream(stream.id);
    auto short_context = context();
    short_context.deadline = clock_.steady_now() + std::chrono::milliseconds(100);
    EXPECT_CODE(catalogue_->commit_flush(short_context, commit), ErrorCode::kTimeout);
    // Readers do not wait for writers.
    EXPECT_TRUE(snapshot(stream.id).parts.empty());
    held.reset();
    ASSERT_OK(catalogue_->commit_flush(context(), commit));
    EXPECT_EQ(snapshot(stream.id).parts.size(), 1U);
}

TEST_P(CatalogueRaceTest, ConnectsAgainAfterTheServerEndedItsSessions) {
    const auto stream = make_stream();
    race([&](int thread) { EXPECT_OK(any(thread).ping(context())); });
    if (!database_->end_connections()) {
        GTEST_SKIP() << "SQLite has no server";
    }
    EXPECT_OK(catalogue_->ping(context()));
    EXPECT_TRUE(snapshot(stream.id).parts.empty());
    database_->end_connections();
    const auto shard = catalogue_->create_shard(context(), stream.id, "log");
    ASSERT_OK(shard);
    EXPECT_OK(flush(*shard, 0, 10));
}

TEST(OpenCatalogue, SaysWhyAndKeepsThePassword) {
    SystemClock clock;
    SystemRandom random;
    const auto context = RequestContext::background(clock, "test");
    const auto nowhere = open_postgres_catalogue(
        "postgresql://user:hunter2@127.0.0.1:1/catalogue", 2, clock, random);
    ASSERT_OK(nowhere);
    EXPECT_EQ((*nowhere)->describe(), "postgres 127.0.0.1/catalogue");
    const auto refused = (*nowhere)->migrate(context);
    EXPECT_CODE(refused, ErrorCode::kUnavailable);
    EXPECT_THAT(refused.error().message(), ::testing::Not(::testing::HasSubstr("hunter2")));
    const auto garbled = open_postgres_catalogue("hunter2", 2, clock, random);
    EXPECT_CODE(garbled, ErrorCode::kInvalidArgument);
    EXPECT_THAT(garbled.error().message(), ::testing::Not(::testing::HasSubstr("hunter2")));
    EXPECT_CODE(open_postgres_catalogue("dbname=x", 0, clock, random), ErrorCode::kInvalidArgument);
    EXPECT_CODE(open_sqlite_catalogue("/nonexistent/folder/meta.db", clock, random),
                ErrorCode::kUnavailable);
    EXPECT_CODE(open_sqlite_catalogue(":memory:", clock, random), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace molesignal
