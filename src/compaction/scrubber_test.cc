#include "compaction/scrubber.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include "common/random.h"
#include "io/memory_fs.h"
#include "metadata/open_catalogue.h"
#include "objectstore/memory_object_store.h"
#include "tests/support/faulty_object_store.h"
#include "tests/support/manual_clock.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

class ScrubberTest : public ::testing::Test {
protected:
    ScrubberTest() {
        catalogue_ = *open_sqlite_catalogue(directory_.path() + "/meta.db", clock_, random_);
        EXPECT_TRUE(catalogue_->migrate(context_));
        const auto org = catalogue_->ensure_organization(context_, "default")->id;
        stream_ = *catalogue_->ensure_stream(context_, org, StreamType::kLogs, "app", 100);
        make();
    }
    void make() {
        scrubber_ =
            std::make_unique<Scrubber>(options_, *catalogue_, objects_, fs_, clock_, metrics_);
    }
    PartInfo add_part(std::size_t bytes) {
        const auto shard = *catalogue_->create_shard(context_, stream_.id, "log");
        const std::string body(bytes, static_cast<char>('a' + parts_ % 26));
        PartInfo part;
        part.id = fmt::format("part{:022}", ++parts_);
        part.stream = stream_.id;
        part.objects.push_back({.kind = "parquet",
                                .key = part.id + ".parquet",
                                .bytes = static_cast<std::int64_t>(bytes),
                                .xxh3 = XXH3_64bits(body.data(), body.size())});
        part.rows = 1;
        part.time_min_us = part.time_max_us = clock_.now().value / 1000;
        part.shard = shard.id;
        part.position_end = Position{1};
        EXPECT_TRUE(objects_.put(context_, part.objects[0].key, as_bytes(body)));
        const FlushIntent intent{.flush_id = part.id,
                                 .stream = stream_.id,
                                 .shard = shard.id,
                                 .epoch = shard.epoch,
                                 .begin = Position{0},
                                 .end = Position{1},
                                 .object_keys = {part.objects[0].key}};
        EXPECT_TRUE(catalogue_->add_flush_intent(context_, intent));
        EXPECT_TRUE(catalogue_->commit_flush(context_,
                                             {.flush_id = part.id,
                                              .shard = shard.id,
                                              .epoch = shard.epoch,
                                              .expected_checkpoint = Position{0},
                                              .new_checkpoint = Position{1},
                                              .parts = {part}}));
        return part;
    }
    void flip(const PartInfo& part) {
        const auto& key = part.objects[0].key;
        auto bytes = *objects_.get(context_, key, 0, 1U << 30U);
        bytes[bytes.size() / 2] ^= std::byte{1};
        EXPECT_TRUE(objects_.put(context_, key, bytes));
    }
    void second() {
        clock_.advance(std::chrono::seconds(1));
        EXPECT_TRUE(scrubber_->work(context_));
    }
    void seconds(int count) {
        for (int i = 0; i < count; ++i) {
            second();
        }
    }
    std::string metric(const std::string& name) {
        const auto text = metrics_.expose();
        const auto at = text.find("\n" + name + " ");
        return at == std::string::npos
                   ? "none"
                   : text.substr(at + name.size() + 2,
                                 text.find('\n', at + 1) - at - name.size() - 2);
    }

    TemporaryDirectory directory_;
    ManualClock clock_;
    SeededRandom random_{1};
    RequestContext context_ = RequestContext::background(clock_, "test");
    MemoryFs fs_;
    MetricRegistry metrics_;
    std::unique_ptr<Catalogue> catalogue_;
    MemoryObjectStore memory_;
    FaultyObjectStore objects_{memory_};
    ScrubberOptions options_{.bytes_per_second = 1U << 20U,
                             .interval = std::chrono::hours(24),
                             .position_file = "scrub_position"};
    StreamInfo stream_;
    int parts_ = 0;
    std::unique_ptr<Scrubber> scrubber_;
};

TEST_F(ScrubberTest, ReadsAllOnceInARoundAndNamesWhatIsDamaged) {
    add_part(100);
    const auto bad = add_part(5000);
    const auto missing = add_part(10);
    const auto longer = add_part(10);
    flip(bad);
    ASSERT_TRUE(objects_.remove(context_, missing.objects[0].key));
    ASSERT_TRUE(objects_.put(context_, longer.objects[0].key, as_bytes("ddddddddddd")));
    seconds(3);
    const auto damaged = scrubber_->damaged();
    ASSERT_EQ(damaged.size(), 3U);
    EXPECT_EQ(
        damaged[0],
        fmt::format(
            "part {}: object {}: its hash is not the catalogue's", bad.id, bad.objects[0].key));
    EXPECT_NE(damaged[1].find("it is missing"), std::string::npos);
    EXPECT_NE(damaged[2].find("it is longer than 10 bytes"), std::string::npos);
    EXPECT_EQ(metric("scrub_objects_total"), "4");
    EXPECT_EQ(metric("scrub_damaged_total"), "3");
    EXPECT_EQ(metric("scrub_damaged_objects"), "3");
    seconds(100);
    EXPECT_EQ(metric("scrub_objects_total"), "4") << "the next round is tomorrow's";
}

TEST_F(ScrubberTest, FindsEachDamageAndNothingElse) {
    const auto seed = test_seed();
    SeededRandom chance(seed);
    constexpr int kParts = 300;
    std::set<std::string> spoiled;
    for (int i = 0; i < kParts; ++i) {
        const auto part = add_part(1 + chance.next_u64() % 5000);
        const auto& key = part.objects[0].key;
        auto bytes = *objects_.get(context_, key, 0, 1U << 20U);
        switch (chance.next_u64() % 8) {
            case 0:
                bytes[chance.next_u64() % bytes.size()] ^=
                    static_cast<std::byte>(1U << chance.next_u64() % 8);
                break;
            case 1:
                bytes.resize(chance.next_u64() % bytes.size());
                break;
            case 2:
                bytes.push_back(std::byte{0});
                break;
            default:
                continue;
        }
        spoiled.insert(part.id);
        ASSERT_TRUE(objects_.put(context_, key, bytes));
    }
    seconds(kParts);
    const auto damaged = scrubber_->damaged();
    EXPECT_EQ(metric("scrub_objects_total"), std::to_string(kParts));
    EXPECT_EQ(metric("scrub_damaged_objects"), std::to_string(spoiled.size()));
    for (const auto& id : spoiled) {
        EXPECT_TRUE(std::ranges::any_of(damaged, [&](const std::string& text) {
            return text.starts_with(fmt::format("part {}: ", id));
        })) << id;
    }
    record_figure(
        "scrub",
        "unit/compaction",
        fmt::format("{} objects, {} of them with a flipped bit, cut or grown: all of these "
                    "are named, no other",
                    kParts,
                    spoiled.size()),
        seed);
}

TEST_F(ScrubberTest, WhatIsGoodAgainOrGoneIsNotNamedAnyMore) {
    const auto mended = add_part(100);
    const auto expired = add_part(100);
    const auto good = *objects_.get(context_, mended.objects[0].key, 0, 1000);
    flip(mended);
    flip(expired);
    seconds(2);
    ASSERT_EQ(scrubber_->damaged().size(), 2U);
    ASSERT_TRUE(objects_.put(context_, mended.objects[0].key, good));
    ASSERT_TRUE(catalogue_->purge_part(context_, expired.id).error().code() ==
                ErrorCode::kConflict);
    ASSERT_EQ(*catalogue_->expire_parts(context_, stream_.id, INT64_MAX, 1), 1);
    clock_.advance(std::chrono::hours(24));
    seconds(2);
    EXPECT_LE(scrubber_->damaged().size(), 1U);
    ASSERT_EQ(*catalogue_->expire_parts(context_, stream_.id, INT64_MAX, 1), 1);
    clock_.advance(std::chrono::hours(24));
    seconds(2);
    EXPECT_TRUE(scrubber_->damaged().empty());
    EXPECT_EQ(metric("scrub_damaged_objects"), "0");
}

TEST_F(ScrubberTest, KeepsToItsRate) {
    options_.bytes_per_second = 100'000;
    make();
    for (int i = 0; i < 30; ++i) {
        add_part(100'000);
    }
    seconds(10);
    EXPECT_GE(std::stod(metric("scrub_bytes_total")), 800'000);
    EXPECT_LE(std::stod(metric("scrub_bytes_total")), 1'200'000);
    scrubber_->set_rate(0, std::chrono::hours(24));
    const auto before = metric("scrub_bytes_total");
    seconds(10);
    EXPECT_EQ(metric("scrub_bytes_total"), before) << "0 is off";
    scrubber_->set_rate(1U << 30U, std::chrono::hours(24));
    seconds(2);
    EXPECT_EQ(metric("scrub_bytes_total"), "3000000");
}

TEST_F(ScrubberTest, ObjectsOfManyReadsAreHashedAsAWhole) {
    const auto part = add_part(std::size_t{3} << 20U);
    const auto exact = add_part(1U << 20U);
    seconds(8);
    EXPECT_EQ(metric("scrub_objects_total"), "2");
    EXPECT_TRUE(scrubber_->damaged().empty());
    flip(part);
    ASSERT_TRUE(
        objects_.put(context_, exact.objects[0].key, as_bytes(std::string((1U << 20U) - 1, 'b'))));
    clock_.advance(std::chrono::hours(24));
    seconds(8);
    EXPECT_EQ(scrubber_->damaged().size(), 2U);
}

TEST_F(ScrubberTest, GoesOnWhereItWasAfterARestart) {
    options_.bytes_per_second = 1000;
    make();
    for (int i = 0; i < 200; ++i) {
        add_part(1000);
    }
    seconds(130);
    const auto first = std::stod(metric("scrub_objects_total"));
    EXPECT_GT(first, 100);
    make();
    seconds(100);
    const auto both = std::stod(metric("scrub_objects_total"));
    EXPECT_LT(both, 200 + 70) << "at most a minute's worth is read again";
    EXPECT_NE(metric("scrub_last_round_timestamp_seconds"), "0");
    make();
    seconds(50);
    EXPECT_EQ(std::stod(metric("scrub_objects_total")), both) << "a round that ended stays ended";
}

TEST_F(ScrubberTest, APositionThatIsDamagedBeginsTheRoundAnew) {
    for (int i = 0; i < 5; ++i) {
        add_part(1000);
    }
    make();
    seconds(10);
    ASSERT_EQ(metric("scrub_objects_total"), "5");
    make();
    seconds(10);
    ASSERT_EQ(metric("scrub_objects_total"), "5") << "the round has ended";
    const auto good = *read_file(fs_, "scrub_position", 1024);
    for (std::size_t at = 0; at < good.size(); ++at) {
        auto bad = good;
        bad[at] ^= std::byte{1};
        ASSERT_TRUE(write_file_atomically(fs_, "scrub_position", bad));
        make();
        seconds(10);
        ASSERT_EQ(std::stod(metric("scrub_objects_total")), 5.0 * static_cast<double>(at + 2))
            << at;
    }
}

TEST_F(ScrubberTest, AStoreThatDoesNotAnswerIsNoDamage) {
    add_part(100);
    add_part(100);
    objects_.arm({.verbs = {ObjectVerb::kGet},
                  .key_contains = {},
                  .plan = {.nth = 1, .times = FaultTimes::kForEver}});
    for (int i = 0; i < 20; ++i) {
        clock_.advance(std::chrono::seconds(1));
        const auto worked = scrubber_->work(context_);
        if (!worked) {
            EXPECT_EQ(worked.error().code(), ErrorCode::kUnavailable);
        }
    }
    EXPECT_TRUE(scrubber_->damaged().empty());
    EXPECT_EQ(metric("scrub_failures_total"), "2");
}

}  // namespace
}  // namespace molesignal
