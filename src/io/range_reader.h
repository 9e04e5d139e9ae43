#pragma once

#include <cstdint>
#include <memory>

#include "common/bytes.h"
#include "common/result.h"
#include "io/file_system.h"

namespace molesignal {

/// Where the bytes of one object come from; implemented by the caller, over an object store, a
/// cache, a file or memory. Used by one thread at a time.
class RangeReader {
public:
    virtual ~RangeReader() = default;
    /// Bytes of the whole object.
    virtual std::uint64_t size() const = 0;
    /// Exactly `length` bytes from `offset`, which lie in the object. Its errors end the caller's
    /// work on the object.
    virtual Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) = 0;

    /// A block at `offset` that has passed its check before, if the reader keeps such; else null.
    /// Without a word of its own a reader keeps none.
    using Block = std::shared_ptr<const ByteBuffer>;
    virtual Block find_checked(std::uint64_t offset) {
        (void)offset;
        return nullptr;
    }
    /// Takes a block that has passed its check.
    virtual void keep_checked(std::uint64_t offset, Bytes block) {
        (void)offset;
        (void)block;
    }
    /// Blocks with no more between them are read together.
    virtual std::uint64_t gap_bytes() const { return std::uint64_t{32} << 10U; }
};

/// A file, which outlives the reader and does not change meanwhile.
class FileRange final : public RangeReader {
public:
    FileRange(File& file, std::uint64_t size) : file_(file), size_(size) {}
    std::uint64_t size() const override { return size_; }
    Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) override {
        ByteBuffer content(length);
        MS_TRY(const auto got, file_.read_at(offset, content));
        if (got != length) {
            return Error(ErrorCode::kCorruption, "a file is shorter than it was");
        }
        return content;
    }

private:
    File& file_;
    std::uint64_t size_;
};

}  // namespace molesignal
