#include "objectstore/object_store.h"

#include "common/random.h"
#include "io/posix_fs.h"
#include "objectstore/local_object_store.h"
#include "objectstore/memory_object_store.h"
#include "objectstore/s3_fixture.h"
#include "tests/support/object_store_conformance.h"

namespace molesignal {
namespace {

TEST(ObjectKey, Shape) {
    for (const std::string key : {"a", "a/b.c", "x=1/y-2_3/.hidden", "a/..b"}) {
        EXPECT_TRUE(check_object_key(key)) << key;
    }
    EXPECT_TRUE(check_object_key(std::string(1024, 'a')));
    EXPECT_FALSE(check_object_key(std::string(1025, 'a')));
    for (const std::string key : {"", "/", "a/", "/a", "a//b", ".", "a/..", "a\n", "a\\b", "a%"}) {
        EXPECT_FALSE(check_object_key(key)) << key;
    }
}

struct Parts {
    TemporaryDirectory directory;
    PosixFs posix;
    MemoryFs memory;
    SystemRandom random;
    SystemClock clock;
};

ObjectStoreUnderTest make_memory() {
    auto parts = std::make_shared<Parts>();
    return {.keeps_alive = parts,
            .store = std::make_shared<MemoryObjectStore>(&parts->memory),
            .files = &parts->memory,
            .directory = "/",
            .skip_reason = {}};
}

ObjectStoreUnderTest make_local(const std::shared_ptr<Parts>& parts,
                                FileSystem& fs,
                                const std::string& directory) {
    const auto context = RequestContext::background(parts->clock, "test");
    return {.keeps_alive = parts,
            .store = LocalObjectStore::open(
                         context, fs, join_path(directory, "deep/objects"), parts->random)
                         .value(),
            .files = &fs,
            .directory = directory,
            .skip_reason = {}};
}

ObjectStoreUnderTest make_local_posix() {
    auto parts = std::make_shared<Parts>();
    return make_local(parts, parts->posix, parts->directory.path());
}

ObjectStoreUnderTest make_local_memory() {
    auto parts = std::make_shared<Parts>();
    return make_local(parts, parts->memory, "/");
}

/// Each test has its own prefix, so that nothing needs to be emptied.
ObjectStoreUnderTest make_s3() {
    auto options = s3_test_options();
    if (options.endpoint.empty()) {
        return {.keeps_alive = nullptr,
                .store = nullptr,
                .files = nullptr,
                .directory = {},
                .skip_reason = "no S3 server: run with tests/support/s3_server.py"};
    }
    ensure_s3_library();
    auto parts = std::make_shared<Parts>();
    options.prefix = "test/" + std::to_string(parts->random.next_u64());
    return {
        .keeps_alive = parts,
        .store = S3ObjectStore::open(options, parts->memory, parts->clock, parts->random).value(),
        .files = &parts->memory,
        .directory = "/",
        .skip_reason = {}};
}

INSTANTIATE_TEST_SUITE_P(Memory, ObjectStoreConformance, testing::Values(&make_memory));
INSTANTIATE_TEST_SUITE_P(LocalPosix, ObjectStoreConformance, testing::Values(&make_local_posix));
INSTANTIATE_TEST_SUITE_P(LocalMemory, ObjectStoreConformance, testing::Values(&make_local_memory));
INSTANTIATE_TEST_SUITE_P(S3, ObjectStoreConformance, testing::Values(&make_s3));

}  // namespace
}  // namespace molesignal
