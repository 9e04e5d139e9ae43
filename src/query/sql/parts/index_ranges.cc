#include "query/sql/parts/index_ranges.h"

#include <utility>

namespace molesignal {

IndexRanges::IndexRanges(ObjectReader& reader,
                         RequestContext context,
                         std::shared_ptr<ScanCounters> counters,
                         const ObjectName& object)
    : reader_(reader),
      context_(std::move(context)),
      counters_(std::move(counters)),
      object_(object),
      hash_(ObjectHash::of(object.key)) {}

IndexRanges::~IndexRanges() {
    if (counters_ != nullptr) {
        counters_->add(tally_);
    }
}

Result<ByteBuffer> IndexRanges::read(std::uint64_t offset, std::uint64_t length) {
    MS_TRY(const auto read, reader_.read(context_, object_, offset, length, tally_));
    return ByteBuffer(read.bytes.begin(), read.bytes.end());
}

RangeReader::Block IndexRanges::find_checked(std::uint64_t offset) {
    auto* const memory = reader_.memory();
    if (memory == nullptr) {
        return nullptr;
    }
    auto found = std::static_pointer_cast<const ByteBuffer>(memory->find(key_of(offset)));
    tally_.hits += found != nullptr ? 1 : 0;
    return found;
}

void IndexRanges::keep_checked(std::uint64_t offset, Bytes block) {
    if (auto* const memory = reader_.memory(); memory != nullptr) {
        memory->keep(key_of(offset),
                     std::make_shared<const ByteBuffer>(block.begin(), block.end()),
                     block.size());
    }
}

Result<std::shared_ptr<const SidecarReader>> IndexRanges::open() {
    auto opened = open_once();
    if (!opened && may_be_repeated(opened.error())) {
        opened = open_once();
    }
    return opened;
}

Result<std::shared_ptr<const SidecarReader>> IndexRanges::open_once() {
    const auto load = [this]() -> Result<ObjectReader::Loaded> {
        MS_TRY(auto reader, SidecarReader::open(*this));
        const auto bytes = reader.memory_bytes();
        return ObjectReader::Loaded{std::make_shared<const SidecarReader>(std::move(reader)),
                                    bytes};
    };
    MS_TRY(const auto value, reader_.load(context_, object_, CachedKind::kIndexHead, load, tally_));
    return std::static_pointer_cast<const SidecarReader>(value);
}

bool IndexRanges::may_be_repeated(const Error& error) {
    if (error.code() != ErrorCode::kCorruption) {
        return false;
    }
    reader_.forget(object_.key);
    return true;
}

MemoryCache::Key IndexRanges::key_of(std::uint64_t offset) const {
    return {.object = hash_, .kind = CachedKind::kIndexBlock, .offset = offset};
}

}  // namespace molesignal
