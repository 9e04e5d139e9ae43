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
    /// A new stream's first shard, with `parts` parts of ten rows.
    ShardInfo filled_shard(const StreamId& stream, std::uint64_t parts) {
        const auto shard = catalogue_->create_shard(context(), stream, "log");
        EXPECT_OK(shard);
        for (std::uint64_t i = 0; i < parts; ++i) {
            EXPECT_OK(flush(*shard, i * 10, i * 10 + 10));
        }
        return *shard;
    }
    /// With its intent recorded.
    CompactionCommit begin_compaction(const Lease& lease, const StreamId& stream) {
        auto commit = make_compaction(lease, snapshot(stream).parts);
        EXPECT_OK(catalogue_->add_compaction_intent(context(), intent_for(commit)));
        return commit;
    }
    std::int64_t live_rows(const StreamId& stream) {
        std::int64_t rows = 0;
        for (const auto& part : snapshot(stream).parts) {
            rows += part.rows;
        }
        return rows;
    }

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

TEST_P(CatalogueRaceTest, APartIsCompactedOnce) {
    for (int round = 0; round < 10; ++round) {
        const auto stream = make_stream("s" + std::to_string(round));
        (void)filled_shard(stream.id, 3);
        // Each under a lease of its own, which correct compactors do not do.
        std::vector<CompactionCommit> commits;
        commits.reserve(kThreads);
        for (int i = 0; i < kThreads; ++i) {
            commits.push_back(begin_compaction(take_lease("job" + std::to_string(i)), stream.id));
        }
        std::atomic<int> won{0};
        std::atomic<int> lost{0};
        race([&](int thread) {
            const auto done =
                any(thread).commit_compaction(context(), commits[static_cast<std::size_t>(thread)]);
            won += done ? 1 : 0;
            lost += !done && done.error().code() == ErrorCode::kConflict ? 1 : 0;
        });
        EXPECT_EQ(won.load(), 1);
        EXPECT_EQ(lost.load(), kThreads - 1);
        EXPECT_EQ(snapshot(stream.id).parts.size(), 1U);
        EXPECT_EQ(live_rows(stream.id), 30);
        EXPECT_EQ(snapshot(stream.id).stream.version, 4);
    }
}

TEST_P(CatalogueRaceTest, OneOfManyCommitsOfOneCompactionCounts) {
    const auto stream = make_stream();
    (void)filled_shard(stream.id, 3);
    const auto commit = begin_compaction(take_lease("job"), stream.id);
    std::atomic<int> failures{0};
    race([&](int thread) { failures += any(thread).commit_compaction(context(), commit) ? 0 : 1; });
    EXPECT_EQ(failures.load(), 0);  // All of them learn that it is committed.
    EXPECT_EQ(snapshot(stream.id).parts.size(), 1U);
    EXPECT_EQ(snapshot(stream.id).stream.version, 4);
}

TEST_P(CatalogueRaceTest, ACompactionIsCommittedOrItsLeaseTakenOver) {
    for (int round = 0; round < 20; ++round) {
        const auto stream = make_stream("s" + std::to_string(round));
        (void)filled_shard(stream.id, 2);
        const auto job = "job" + std::to_string(round);
        const auto lease = catalogue_->acquire_lease(context(), job, "old", -1, "");
        ASSERT_OK(lease);
        const auto commit = begin_compaction(*lease, stream.id);
        std::atomic<bool> committed{false};
        std::atomic<bool> abandoned{false};
        race([&](int thread) {
            if (thread == 0) {
                committed = catalogue_->commit_compaction(context(), commit).has_value();
            } else if (thread == 1) {
                // What a successor does before it begins.
                const auto taken = second_->acquire_lease(context(), job, "new", 60'000'000, "");
                EXPECT_OK(taken);
                abandoned =
                    second_->abandon_compaction_intent(context(), commit.compaction_id).has_value();
            }
        });
        ASSERT_NE(committed.load(), abandoned.load());
        EXPECT_EQ(snapshot(stream.id).parts.size(), committed ? 1U : 2U);
        EXPECT_EQ(live_rows(stream.id), 20);
    }
}

/// Once somebody has the lease, nothing is committed under its old epoch.
TEST_P(CatalogueRaceTest, WhoTakesALeaseWaitsForACompactionThatCommitsUnderIt) {
    const auto stream = make_stream();
    (void)filled_shard(stream.id, 2);
    const auto lease = catalogue_->acquire_lease(context(), "job", "old", -1, "");
    ASSERT_OK(lease);
    const auto commit = begin_compaction(*lease, stream.id);
    ASSERT_OK(arm_failpoints("catalogue_compaction_before_commit=pause"));
    Result<> done;
    std::thread compactor([&] { done = catalogue_->commit_compaction(context(), commit); });
    await_failpoint("catalogue_compaction_before_commit");
    auto short_context = context();
    short_context.deadline = clock_.steady_now() + std::chrono::milliseconds(100);
    const auto early = second_->acquire_lease(short_context, "job", "new", 60'000'000, "");
    disarm_failpoints();
    compactor.join();
    EXPECT_CODE(early, ErrorCode::kTimeout);
    EXPECT_OK(done);
    const auto taken = second_->acquire_lease(context(), "job", "new", 60'000'000, "");
    ASSERT_OK(taken);
    EXPECT_EQ(taken->epoch, Epoch{2});
    EXPECT_EQ(snapshot(stream.id).parts.size(), 1U);
}

TEST_P(CatalogueRaceTest, ExpiryAndCompactionDoNotBothTakeAPart) {
    for (int round = 0; round < 20; ++round) {
        const auto stream = make_stream("s" + std::to_string(round));
        (void)filled_shard(stream.id, 3);
        const auto commit = begin_compaction(take_lease("job" + std::to_string(round)), stream.id);
        Result<> committed;
        std::atomic<std::int64_t> expired{0};
        race([&](int thread) {
            if (thread == 0) {
                committed = catalogue_->commit_compaction(context(), commit);
            } else if (thread == 1) {
                // Of the first part only; the merged one has newer rows.
                const auto done = second_->expire_parts(context(), stream.id, 10'000'000, 10);
                EXPECT_OK(done);
                expired = done.value_or(-1);
            }
        });
        if (!committed) {
            EXPECT_CODE(committed, ErrorCode::kConflict);
        }
        EXPECT_EQ(expired.load(), committed ? 0 : 1);
        EXPECT_EQ(live_rows(stream.id), committed ? 30 : 20);
        EXPECT_EQ(snapshot(stream.id).parts.size(), committed ? 1U : 2U);
    }
}

TEST_P(CatalogueRaceTest, ADeletedStreamHasNoLivePartThoughItIsCompacted) {
    for (int round = 0; round < 10; ++round) {
        const auto stream = make_stream();
        (void)filled_shard(stream.id, 3);
        const auto commit = begin_compaction(take_lease("job" + std::to_string(round)), stream.id);
        std::atomic<int> odd{0};
        race([&](int thread) {
            if (thread == 0) {
                odd += second_->delete_stream(context(), stream.org, stream.id) ? 0 : 1;
            } else if (thread == 1) {
                const auto done = catalogue_->commit_compaction(context(), commit);
                odd += done || done.error().code() == ErrorCode::kConflict ? 0 : 1;
            }
        });
        EXPECT_EQ(odd.load(), 0);
    }
    EXPECT_EQ(database_->number("SELECT COUNT(*) FROM parquet_file_meta WHERE NOT deleted"), 0);
}

TEST_P(CatalogueRaceTest, NoRowIsMissingOrDoubleWhileFlushesAndCompactionsGoOn) {
    const auto stream = make_stream();
    const auto shard = filled_shard(stream.id, 1);
    constexpr std::int64_t kFlushes = 40;
    const auto lease = take_lease("job");
    std::atomic<bool> done{false};
    std::atomic<int> failures{0};
    std::atomic<std::int64_t> compactions{0};
    std::atomic<int> looked{0};
    const auto compact = [&] {
        auto parts = second_->list_stream_parts(context(), stream.id, "", 100);
        if (parts && parts->size() < 2) {
            return;
        }
        const auto commit = parts ? make_compaction(lease, *parts) : CompactionCommit{};
        const bool fine = parts && second_->add_compaction_intent(context(), intent_for(commit)) &&
                          second_->commit_compaction(context(), commit);
        compactions += fine ? 1 : 0;
        failures += fine ? 0 : 1;
    };
    const auto look = [&](Catalogue& catalogue) {
        std::int64_t total = 0;
        const auto seen = catalogue.snapshot(context(), stream.id, INT64_MIN, INT64_MAX, total);
        std::uint64_t rows = 0;
        for (std::size_t i = 0; seen && i < seen->parts.size(); ++i) {
            rows += static_cast<std::uint64_t>(seen->parts[i].rows);
            failures += seen->parts[i].objects.size() == 1 ? 0 : 1;
        }
        failures += seen && rows == seen->shards[0].checkpoint.value ? 0 : 1;
        ++looked;
    };
    race([&](int thread) {
        if (thread == 0) {
            for (std::uint64_t i = 1; i <= kFlushes; ++i) {
                failures += flush(shard, i * 10, i * 10 + 10) ? 0 : 1;
            }
            done = true;
        }
        while (!done && thread == 1) {
            compact();
        }
        while (!done && thread > 1 && thread < 5) {
            look(any(thread));
        }
    });
    compact();
    EXPECT_EQ(failures.load(), 0);
    EXPECT_GT(looked.load(), 0);
    EXPECT_GT(compactions.load(), 0);
    EXPECT_EQ(live_rows(stream.id), (kFlushes + 1) * 10);
    EXPECT_EQ(snapshot(stream.id).stream.version, kFlushes + 1 + compactions.load());
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
