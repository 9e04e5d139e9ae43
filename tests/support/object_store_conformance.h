#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "common/random.h"
#include "io/memory_fs.h"
#include "objectstore/object_store.h"
#include "tests/support/test_environment.h"

namespace molesignal {

/// A store under test with all that it needs. `store` is null if it cannot be tested here.
struct ObjectStoreUnderTest {
    std::shared_ptr<void> keeps_alive;
    std::shared_ptr<ObjectStore> store;
    FileSystem* files = nullptr;  ///< What put_file reads from.
    std::string directory;        ///< Exists in `files`.
    std::string skip_reason;
};

/// What every ObjectStore promises. Included by one source file of a test program, which says:
/// INSTANTIATE_TEST_SUITE_P(Memory, ObjectStoreConformance, testing::Values(make_memory));
class ObjectStoreConformance : public testing::TestWithParam<ObjectStoreUnderTest (*)()> {
protected:
    void SetUp() override {
        under_test_ = GetParam()();
        if (under_test_.store == nullptr) {
            GTEST_SKIP() << under_test_.skip_reason;
        }
    }

    ObjectStore& store() { return *under_test_.store; }
    void put(std::string_view key, std::string_view body) {
        const auto done = store().put(context_, key, as_bytes(body));
        ASSERT_TRUE(done) << done.error().message();
    }
    std::string get(std::string_view key,
                    std::uint64_t offset = 0,
                    std::uint64_t length = UINT64_MAX) {
        const auto body = store().get(context_, key, offset, length);
        return body.has_value() ? std::string(as_text(*body)) : "error: " + body.error().message();
    }
    std::vector<std::string> keys(std::string_view prefix) {
        std::vector<std::string> found;
        const auto listed = store().list(context_, prefix, [&](const ObjectMeta& object) {
            found.push_back(object.key);
            return true;
        });
        EXPECT_TRUE(listed) << listed.error().message();
        return found;
    }
    static std::string random_text(std::size_t bytes) {
        std::string text(bytes, '\0');
        SeededRandom(bytes).fill(std::as_writable_bytes(std::span(text)));
        return text;
    }

    SystemClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    ObjectStoreUnderTest under_test_;
};

TEST_P(ObjectStoreConformance, WhatIsPutIsRead) {
    put("a/b/c.parquet", "hello");
    EXPECT_EQ(get("a/b/c.parquet"), "hello");
    const auto meta = store().head(context_, "a/b/c.parquet").value();
    ASSERT_TRUE(meta.has_value());
    EXPECT_EQ(meta->key, "a/b/c.parquet");
    EXPECT_EQ(meta->size_bytes, 5);
}

TEST_P(ObjectStoreConformance, EmptyObject) {
    put("empty", "");
    EXPECT_EQ(get("empty"), "");
    EXPECT_EQ(store().head(context_, "empty").value()->size_bytes, 0);
    EXPECT_EQ(keys(""), std::vector<std::string>{"empty"});
}

TEST_P(ObjectStoreConformance, RangesAreCutAtTheEnd) {
    put("r", "0123456789");
    EXPECT_EQ(get("r", 0, 3), "012");
    EXPECT_EQ(get("r", 7, 3), "789");
    EXPECT_EQ(get("r", 7, 100), "789");
    EXPECT_EQ(get("r", 3, 0), "");
    EXPECT_EQ(get("r", 10, 5), "");
    const auto past = store().get(context_, "r", 11, 1);
    ASSERT_FALSE(past);
    EXPECT_EQ(past.error().code(), ErrorCode::kInvalidArgument);
}

TEST_P(ObjectStoreConformance, MissingObject) {
    const auto body = store().get(context_, "none/here", 0, 1);
    ASSERT_FALSE(body);
    EXPECT_EQ(body.error().code(), ErrorCode::kNotFound) << body.error().message();
    EXPECT_EQ(store().head(context_, "none/here").value(), std::nullopt);
    EXPECT_TRUE(store().remove(context_, "none/here"));
    EXPECT_TRUE(keys("none").empty());
}

TEST_P(ObjectStoreConformance, PutReplaces) {
    put("k", "first, and longer");
    put("k", "second");
    EXPECT_EQ(get("k"), "second");
    EXPECT_EQ(keys(""), std::vector<std::string>{"k"});
}

TEST_P(ObjectStoreConformance, RemovedObjectIsGone) {
    put("d/x", "1");
    put("d/y", "2");
    ASSERT_TRUE(store().remove(context_, "d/x"));
    EXPECT_EQ(store().head(context_, "d/x").value(), std::nullopt);
    EXPECT_EQ(keys("d/"), std::vector<std::string>{"d/y"});
    ASSERT_TRUE(store().remove(context_, "d/y"));
    EXPECT_TRUE(keys("").empty());
}

TEST_P(ObjectStoreConformance, ListIsInKeyOrderBelowThePrefix) {
    for (const auto* key : {"b/2", "a/z", "a.b", "a/1", "a-b/c", "b/10", "ab", "b/1/x"}) {
        put(key, key);
    }
    EXPECT_EQ(
        keys(""),
        (std::vector<std::string>{"a-b/c", "a.b", "a/1", "a/z", "ab", "b/1/x", "b/10", "b/2"}));
    EXPECT_EQ(keys("a"), (std::vector<std::string>{"a-b/c", "a.b", "a/1", "a/z", "ab"}));
    EXPECT_EQ(keys("a/"), (std::vector<std::string>{"a/1", "a/z"}));
    EXPECT_EQ(keys("b/1"), (std::vector<std::string>{"b/1/x", "b/10"}));
    EXPECT_TRUE(keys("c").empty());
}

TEST_P(ObjectStoreConformance, ListTellsSizesAndStopsWhenAsked) {
    put("l/1", "a");
    put("l/2", "bb");
    put("l/3", "ccc");
    std::vector<std::uint64_t> sizes;
    ASSERT_TRUE(store().list(context_, "l/", [&](const ObjectMeta& object) {
        sizes.push_back(object.size_bytes);
        return sizes.size() < 2;
    }));
    EXPECT_EQ(sizes, (std::vector<std::uint64_t>{1, 2}));
}

TEST_P(ObjectStoreConformance, LargeFileIsStoredInParts) {
    const auto text = random_text((21U << 20U) + 12'345);
    const auto path = join_path(under_test_.directory, "source");
    ASSERT_TRUE(write_file_atomically(*under_test_.files, path, as_bytes(text)));
    const auto done = store().put_file(context_, "big/file", path);
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(store().head(context_, "big/file").value()->size_bytes, text.size());
    EXPECT_TRUE(get("big/file") == text);
    EXPECT_TRUE(get("big/file", 10'000'000, 5'000'000) == text.substr(10'000'000, 5'000'000));
    EXPECT_TRUE(under_test_.files->exists(path).value());
    const auto missing = store().put_file(context_, "x", path + ".missing");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
    EXPECT_EQ(store().head(context_, "x").value(), std::nullopt);
}

TEST_P(ObjectStoreConformance, BadKeysAreRefusedByEveryVerb) {
    for (const auto* key : {"", "/a", "a/", "a//b", "a/../b", "./a", "a b", "ä"}) {
        EXPECT_EQ(store().put(context_, key, {}).error().code(), ErrorCode::kInvalidArgument)
            << key;
        EXPECT_EQ(store().get(context_, key, 0, 1).error().code(), ErrorCode::kInvalidArgument);
        EXPECT_EQ(store().head(context_, key).error().code(), ErrorCode::kInvalidArgument);
        EXPECT_EQ(store().remove(context_, key).error().code(), ErrorCode::kInvalidArgument);
        EXPECT_EQ(store().put_file(context_, key, "x").error().code(), ErrorCode::kInvalidArgument);
    }
}

TEST_P(ObjectStoreConformance, EndedContextStopsEveryVerb) {
    put("k", "v");
    auto late = context_;
    late.deadline = clock_.steady_now();
    EXPECT_EQ(store().put(late, "k", {}).error().code(), ErrorCode::kTimeout);
    EXPECT_EQ(store().get(late, "k", 0, 1).error().code(), ErrorCode::kTimeout);
    EXPECT_EQ(store().head(late, "k").error().code(), ErrorCode::kTimeout);
    EXPECT_EQ(store().remove(late, "k").error().code(), ErrorCode::kTimeout);
    const auto visit = [](const ObjectMeta&) { return true; };
    EXPECT_EQ(store().list(late, "", visit).error().code(), ErrorCode::kTimeout);
    auto cancelled = context_;
    cancelled.cancel = CancelToken();
    cancelled.cancel.cancel();
    EXPECT_EQ(store().get(cancelled, "k", 0, 1).error().code(), ErrorCode::kCancelled);
    EXPECT_EQ(get("k"), "v");
}

TEST_P(ObjectStoreConformance, ManyThreadsAtOnce) {
    constexpr int kThreads = 6;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([this, t] {
            for (int i = 0; i < 10; ++i) {
                const auto key = "t/" + std::to_string(i) + "/" + std::to_string(t);
                put(key, key);
                EXPECT_EQ(get(key), key);
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(keys("t/").size(), kThreads * 10);
}

}  // namespace molesignal
