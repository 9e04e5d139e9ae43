#include "compaction/part_input.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {
namespace {

constexpr std::uint64_t kVerifyBytes = std::uint64_t{8} << 20U;

}  // namespace

const PartObject* find_object(const PartInfo& part, std::string_view kind) {
    const auto found = std::ranges::find(part.objects, kind, &PartObject::kind);
    return found == part.objects.end() ? nullptr : &*found;
}

ObjectRange::ObjectRange(const RequestContext& context,
                         ObjectStore& objects,
                         const PartObject& object)
    : context_(context), objects_(objects), object_(object) {}

Result<ByteBuffer> ObjectRange::read(std::uint64_t offset, std::uint64_t length) {
    MS_TRY_VOID(context_.check());
    MS_TRY(auto content, objects_.get(context_, object_.key, offset, length));
    if (content.size() != length) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("object {} has {} bytes at offset {} where {} are wanted",
                                 object_.key,
                                 content.size(),
                                 offset,
                                 length));
    }
    bytes_read_ += length;
    if (offset == hashed_) {
        hash_.update(content);
        hashed_ += length;
    }
    return content;
}

Result<> ObjectRange::verify() {
    while (hashed_ < size()) {
        MS_TRY_VOID(read(hashed_, std::min(kVerifyBytes, size() - hashed_)));
    }
    if (hash_.digest() != object_.xxh3) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("object {} does not have the hash that was recorded when it was "
                                 "stored",
                                 object_.key));
    }
    return {};
}

Error PartInput::named(Error error) const {
    return std::move(error).wrap(fmt::format("part {}", part_->id));
}

Result<PartInput> PartInput::open(const RequestContext& context,
                                  ObjectStore& objects,
                                  const PartInfo& part,
                                  const StreamSchema& schema,
                                  const std::shared_ptr<MemoryBudget>& memory) {
    const auto wrap = [&part](Error error) {
        return std::move(error).wrap(fmt::format("part {}", part.id));
    };
    const auto* object = find_object(part, "parquet");
    if (object == nullptr) {
        return wrap(Error(ErrorCode::kCorruption, "it has no Parquet object"));
    }
    auto range = std::make_unique<ObjectRange>(context, objects, *object);
    auto reader = PartReader::open(*range, schema, memory);
    if (!reader) {
        return wrap(std::move(reader).error());
    }
    return PartInput(part, std::move(range), std::move(*reader));
}

std::int64_t PartInput::next_time_max_ns() const {
    return reader_->group_time_max_ns(next_group_)
        .value_or(std::numeric_limits<std::int64_t>::max());
}

Result<std::vector<PartChunk>> PartInput::read_next() {
    MS_ASSERT(!at_end());
    auto chunks = reader_->read_group(next_group_);
    if (!chunks) {
        return named(std::move(chunks).error());
    }
    rows_read_ += reader_->group_rows(next_group_);
    ++next_group_;
    return chunks;
}

Result<> PartInput::verify() {
    MS_ASSERT(at_end());
    if (rows_read_ != static_cast<std::uint64_t>(part_->rows)) {
        return named(
            Error(ErrorCode::kCorruption,
                  fmt::format("it has {} rows, the catalogue says {}", rows_read_, part_->rows)));
    }
    if (auto verified = object_->verify(); !verified) {
        return named(std::move(verified).error());
    }
    return {};
}

}  // namespace molesignal
