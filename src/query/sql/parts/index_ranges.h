#pragma once

#include <cstdint>
#include <memory>

#include "common/request_context.h"
#include "index/sidecar_reader.h"
#include "io/range_reader.h"
#include "query/sql/scan_source.h"
#include "storage/cache/object_reader.h"

namespace molesignal {

/// An index object, read through the caches by a query's deadline and on its counters. For one
/// thread; `reader` and `object` outlive it.
class IndexRanges final : public RangeReader {
public:
    /// `counters` may be null.
    IndexRanges(ObjectReader& reader,
                RequestContext context,
                std::shared_ptr<ScanCounters> counters,
                const ObjectName& object);
    ~IndexRanges() override;
    IndexRanges(const IndexRanges&) = delete;
    IndexRanges& operator=(const IndexRanges&) = delete;

    std::uint64_t size() const override { return object_.bytes; }
    std::uint64_t gap_bytes() const override { return reader_.gap_bytes(); }
    Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) override;
    Block find_checked(std::uint64_t offset) override;
    void keep_checked(std::uint64_t offset, Bytes block) override;

    /// Opens the index, a second time if it seems to be damaged. Errors as of SidecarReader::open.
    Result<std::shared_ptr<const SidecarReader>> open();
    /// Whether the object is to be read once more before the error is believed: what was read may
    /// have been damaged in a cache or on its way. Then nothing of it is cached any more.
    bool may_be_repeated(const Error& error);

private:
    Result<std::shared_ptr<const SidecarReader>> open_once();
    MemoryCache::Key key_of(std::uint64_t offset) const;

    ObjectReader& reader_;
    RequestContext context_;
    std::shared_ptr<ScanCounters> counters_;
    const ObjectName& object_;
    ObjectHash hash_;
    ReadTally tally_;
};

}  // namespace molesignal
