#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "common/memory_budget.h"
#include "common/request_context.h"
#include "common/result.h"
#include "common/xxh3.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"
#include "parquet/part_reader.h"

namespace molesignal {

/// The object of `part` of this kind, or nullptr.
const PartObject* find_object(const PartInfo& part, std::string_view kind);

/// An object of the store as a range reader. Ranges that follow each other from the object's begin
/// are hashed on their way.
class ObjectRange final : public RangeReader {
public:
    /// `context`, `objects` and `object` outlive the reader.
    ObjectRange(const RequestContext& context, ObjectStore& objects, const PartObject& object);
    std::uint64_t size() const override { return static_cast<std::uint64_t>(object_.bytes); }
    /// kCorruption: the object is shorter than the catalogue says.
    Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) override;

    std::uint64_t bytes_read() const { return bytes_read_; }
    /// Reads what is left behind the hashed ranges. kCorruption: the object is not the one that the
    /// catalogue describes.
    Result<> verify();

private:
    const RequestContext& context_;
    ObjectStore& objects_;
    const PartObject& object_;
    Xxh3 hash_;
    std::uint64_t hashed_ = 0;  ///< Bytes from the begin.
    std::uint64_t bytes_read_ = 0;
};

/// A part being read, row group after row group. One thread at a time.
class PartInput {
public:
    /// All arguments outlive the input. Errors name the part.
    static Result<PartInput> open(const RequestContext& context,
                                  ObjectStore& objects,
                                  const PartInfo& part,
                                  const StreamSchema& schema,
                                  const std::shared_ptr<MemoryBudget>& memory);

    const PartInfo& part() const { return *part_; }
    PartReader& reader() { return *reader_; }
    bool at_end() const { return next_group_ == reader_->groups(); }
    /// No row of the next row group is newer.
    std::int64_t next_time_max_ns() const;
    Result<std::vector<PartChunk>> read_next();
    /// After the last row group: whether the object was the one that the catalogue describes.
    Result<> verify();
    std::uint64_t bytes_read() const { return object_->bytes_read(); }

private:
    PartInput(const PartInfo& part,
              std::unique_ptr<ObjectRange> object,
              std::unique_ptr<PartReader> reader)
        : part_(&part), object_(std::move(object)), reader_(std::move(reader)) {}
    Error named(Error error) const;

    const PartInfo* part_;
    std::unique_ptr<ObjectRange> object_;
    std::unique_ptr<PartReader> reader_;
    std::size_t next_group_ = 0;
    std::uint64_t rows_read_ = 0;
};

}  // namespace molesignal
