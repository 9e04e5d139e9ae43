#include "storage/part_dump/part_dump_reader.h"

#include <gmock/gmock.h>
#include <xxhash.h>

#include "objectstore/memory_object_store.h"
#include "storage/part_dump/part_list_file.h"
#include "storage/part_dump/part_list_fixture.h"
#include "tests/support/faulty_object_store.h"
#include "tests/support/manual_clock.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

using ::testing::HasSubstr;

class PartDumpReaderTest : public ::testing::Test {
protected:
    PartDumpReaderTest() { make(1 << 20, 0); }
    /// A reader with so much memory for what it keeps, and so many threads.
    void make(std::int64_t memory_bytes, std::size_t threads) {
        auto memory = memory_bytes == 0
                          ? nullptr
                          : std::make_unique<MemoryCache>(
                                MemoryBudget::make_root("c", "none", memory_bytes), metrics_);
        objects_ = std::make_shared<ObjectReader>(
            store_, ObjectReaderOptions{}, std::move(memory), nullptr, clock_, metrics_);
        reader_ = std::make_unique<CachedPartDumpReader>(
            objects_,
            PartDumpReaderOptions{.threads = threads, .memory = memory_},
            clock_,
            metrics_);
    }
    PartDump add(std::size_t parts) {
        PartDump dump;
        dump.id = "dump" + std::to_string(dumps_++);
        dump.partition = "2026-11-26";
        parts_[dump.id] = random_parts(random_, parts);
        const auto file = *encode_part_list(parts_[dump.id], dump.partition, nullptr);
        for (const auto& part : parts_[dump.id]) {
            add_to_dump(dump, part);
        }
        dump.object = {.kind = "parts",
                       .key = dump.id + ".parquet",
                       .bytes = static_cast<std::int64_t>(file.size()),
                       .xxh3 = XXH3_64bits(file.data(), file.size())};
        EXPECT_TRUE(store_.put(context_, dump.object.key, file));
        return dump;
    }
    void flip(const PartDump& dump) {
        auto bytes = *base_.get(context_, dump.object.key, 0, UINT64_MAX);
        bytes[random_.next_u64() % bytes.size()] ^= std::byte{1};
        EXPECT_TRUE(base_.put(context_, dump.object.key, bytes));
    }
    Result<PartList> read(const PartDump& dump) {
        auto lists = reader_->read(context_, std::span(&dump, 1));
        if (!lists) {
            return lists.error();
        }
        return lists->front();
    }
    void expect_parts(const PartDump& dump, const PartList& list) {
        auto expected = parts_[dump.id];
        for (auto& part : expected) {
            part.dump = dump.id;
        }
        EXPECT_TRUE(*list == expected);
    }

    SeededRandom random_{test_seed()};
    ManualClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    MetricRegistry metrics_;
    MemoryObjectStore base_;
    FaultyObjectStore store_{base_};
    std::shared_ptr<MemoryBudget> memory_ = MemoryBudget::make_root("process", "none", 1LL << 30);
    std::shared_ptr<ObjectReader> objects_;
    std::unique_ptr<CachedPartDumpReader> reader_;
    std::map<std::string, std::vector<PartInfo>> parts_;
    int dumps_ = 0;
};

TEST_F(PartDumpReaderTest, AListIsReadOnceAndKept) {
    const auto dump = add(50);
    const auto first = read(dump);
    ASSERT_TRUE(first) << first.error().message();
    expect_parts(dump, *first);
    ASSERT_TRUE(base_.remove(context_, dump.object.key));
    const auto second = read(dump);
    ASSERT_TRUE(second);
    EXPECT_EQ(second->get(), first->get());
    EXPECT_EQ(memory_->used_bytes(), 0) << "what is kept is counted by the cache";
    // Who removes the object tells the caches.
    objects_->forget(dump.object.key);
    const auto third = read(dump);
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().code(), ErrorCode::kCorruption);
    EXPECT_THAT(third.error().message(), HasSubstr("it is missing"));
}

TEST_F(PartDumpReaderTest, NothingIsKeptBeyondTheCachesMemory) {
    make(20'000, 0);
    for (int i = 0; i < 20; ++i) {
        const auto dump = add(20);
        ASSERT_TRUE(read(dump));
        ASSERT_TRUE(base_.remove(context_, dump.object.key));
    }
    const auto text = metrics_.expose();
    const std::string name = R"(cache_bytes{cache="part_list"} )";
    const auto at = text.find(name);
    ASSERT_NE(at, std::string::npos);
    const auto bytes = std::stod(text.substr(at + name.size()));
    EXPECT_GT(bytes, 0);
    EXPECT_LE(bytes, 20'000);
}

TEST_F(PartDumpReaderTest, ADamagedListIsNamedAndNeverBelieved) {
    for (int i = 0; i < 200; ++i) {
        const auto dump = add(3);
        flip(dump);
        const auto list = read(dump);
        ASSERT_FALSE(list);
        EXPECT_EQ(list.error().code(), ErrorCode::kCorruption);
        EXPECT_THAT(list.error().message(), HasSubstr("the list of the parts of 2026-11-26"));
        EXPECT_THAT(list.error().message(), HasSubstr(dump.object.key));
    }
    // A list of other parts than the catalogue thinks.
    auto dump = add(3);
    ++dump.rows;
    EXPECT_EQ(read(dump).error().code(), ErrorCode::kCorruption);
    --dump.rows;
    ++dump.parts;
    EXPECT_EQ(read(dump).error().code(), ErrorCode::kCorruption);
    dump.object.bytes += 1;
    EXPECT_EQ(read(dump).error().code(), ErrorCode::kCorruption);
    dump.object.bytes -= 2;
    EXPECT_EQ(read(dump).error().code(), ErrorCode::kCorruption);
}

TEST_F(PartDumpReaderTest, AnAnswerThatIsWrongOnceIsAskedForAgain) {
    const auto dump = add(30);
    ObjectFault fault;
    fault.verbs = {ObjectVerb::kGet};
    fault.effect = ObjectFaultEffect::kCorruptBody;
    fault.plan = {.nth = 1};
    store_.arm(fault);
    const auto list = read(dump);
    ASSERT_TRUE(list) << list.error().message();
    EXPECT_EQ(store_.fired(), 1U);
    expect_parts(dump, *list);
}

TEST_F(PartDumpReaderTest, ManyAreReadAtOnceInTheirOrder) {
    std::vector<PartDump> dumps;
    for (int i = 0; i < 60; ++i) {
        dumps.push_back(add(5));
    }
    for (const std::size_t threads : {0U, 3U, 16U}) {
        make(0, threads);
        const auto lists = reader_->read(context_, dumps);
        ASSERT_TRUE(lists) << lists.error().message();
        ASSERT_EQ(lists->size(), dumps.size());
        for (std::size_t i = 0; i < dumps.size(); ++i) {
            expect_parts(dumps[i], (*lists)[i]);
        }
    }
    flip(dumps[40]);
    const auto damaged = reader_->read(context_, dumps);
    ASSERT_FALSE(damaged);
    EXPECT_THAT(damaged.error().message(), HasSubstr(dumps[40].object.key));
    EXPECT_TRUE(reader_->read(context_, {})->empty());
}

TEST_F(PartDumpReaderTest, EndsWithTheRequestAndWithinMemory) {
    const auto dump = add(100);
    context_.cancel.cancel();
    EXPECT_EQ(read(dump).error().code(), ErrorCode::kCancelled);
    context_ = RequestContext::background(clock_, "test");
    memory_ = MemoryBudget::make_root("process", "memory.limit_mb", 1'000);
    make(1 << 20, 0);
    const auto refused = read(dump);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_THAT(refused.error().message(), HasSubstr("memory.limit_mb"));
}

}  // namespace
}  // namespace molesignal
