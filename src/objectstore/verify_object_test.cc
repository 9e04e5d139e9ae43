#include "objectstore/verify_object.h"

#include <gtest/gtest.h>

#include "objectstore/memory_object_store.h"
#include "tests/support/faulty_object_store.h"

namespace molesignal {
namespace {

/// A store that says an MD5 of its own.
class Claiming final : public ObjectStore {
public:
    explicit Claiming(ObjectStore& base) : base_(base) {}
    Result<> put(const RequestContext& context, std::string_view key, Bytes body) override {
        return base_.put(context, key, body);
    }
    Result<> put_file(const RequestContext& context,
                      std::string_view key,
                      const std::string& path) override {
        return base_.put_file(context, key, path);
    }
    Result<ByteBuffer> get(const RequestContext& context,
                           std::string_view key,
                           std::uint64_t offset,
                           std::uint64_t length) override {
        ++gets;
        return base_.get(context, key, offset, length);
    }
    Result<std::optional<ObjectMeta>> head(const RequestContext& context,
                                           std::string_view key) override {
        MS_TRY(auto meta, base_.head(context, key));
        if (meta.has_value()) {
            meta->md5_hex = claim;
        }
        return meta;
    }
    Result<> list(const RequestContext& context,
                  std::string_view prefix,
                  const std::function<bool(const ObjectMeta&)>& visit) override {
        return base_.list(context, prefix, visit);
    }
    Result<> remove(const RequestContext& context, std::string_view key) override {
        return base_.remove(context, key);
    }
    std::string describe() const override { return base_.describe(); }

    std::string claim;
    int gets = 0;

private:
    ObjectStore& base_;
};

class VerifyObjectTest : public testing::Test {
protected:
    SystemClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    MemoryObjectStore memory_;
    Claiming store_{memory_};
};

TEST_F(VerifyObjectTest, SizeAndChecksumDecideWithoutReading) {
    ASSERT_TRUE(store_.put(context_, "k", as_bytes("0123456789")));
    EXPECT_TRUE(verify_object(context_, store_, "k", as_bytes("0123456789")));
    EXPECT_EQ(verify_object(context_, store_, "k", as_bytes("012345678")).error().code(),
              ErrorCode::kUnavailable);
    EXPECT_EQ(verify_object(context_, store_, "other", as_bytes("x")).error().code(),
              ErrorCode::kUnavailable);
    store_.claim = md5_hex(as_bytes("0123456789"));
    EXPECT_EQ(store_.claim, "781e5e245d69b566979b86e28d23f2c7");
    EXPECT_TRUE(verify_object(context_, store_, "k", as_bytes("0123456789")));
    EXPECT_EQ(store_.gets, 0);
}

TEST_F(VerifyObjectTest, BytesOfTheRightSizeThatWereChangedAreSeen) {
    ASSERT_TRUE(store_.put(context_, "k", as_bytes("0123456789")));
    store_.claim = md5_hex(as_bytes("0123456789"));
    const auto changed = verify_object(context_, store_, "k", as_bytes("0123456780"));
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().code(), ErrorCode::kUnavailable);
}

TEST_F(VerifyObjectTest, AnEtagThatIsNoMd5CostsARead) {
    ASSERT_TRUE(store_.put(context_, "k", as_bytes("0123456789")));
    store_.claim = std::string(32, 'a');  // Encrypted with a key of a key service.
    EXPECT_TRUE(verify_object(context_, store_, "k", as_bytes("0123456789")));
    EXPECT_EQ(store_.gets, 1);
}

}  // namespace
}  // namespace molesignal
