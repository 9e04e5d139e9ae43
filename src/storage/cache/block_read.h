#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "storage/cache/object_reader.h"

namespace molesignal {

/// One read of a range by the blocks of the disk cache: those on disk, those that this read gets
/// from the store for all who want them, and those that others are getting. For one thread, once.
class BlockRead {
public:
    /// All outlive this.
    BlockRead(ObjectReader& reader,
              const RequestContext& context,
              const ObjectName& object,
              ReadTally& tally)
        : reader_(reader),
          context_(context),
          object_(object),
          tally_(tally),
          block_bytes_(reader.disk_->block_bytes()) {}

    Result<SharedBytes> run(std::uint64_t offset, std::uint64_t length);

private:
    struct Claim {
        std::uint64_t block;
        Flights::Ticket ticket;
    };
    using Claims = std::vector<Claim>;

    SharedBytes& at(std::uint64_t block) { return blocks_[block - first_]; }
    bool is_there(std::uint64_t block) const { return blocks_[block - first_].owner != nullptr; }
    bool look(std::uint64_t block, DiskCache::Look look);
    /// Joins the flights of what is not there yet; returns those of others.
    Result<Claims> claim_and_get();
    Result<> get_claimed(Claims& mine);
    Result<> get_run(Claims& mine, std::size_t begin, std::size_t end);
    Result<> await(Claims others);
    SharedBytes assemble(std::uint64_t offset, std::uint64_t length) const;

    ObjectReader& reader_;
    const RequestContext& context_;
    const ObjectName& object_;
    ReadTally& tally_;
    const std::uint64_t block_bytes_;
    std::uint64_t first_ = 0;
    std::vector<SharedBytes> blocks_;  ///< From `first_` on; those that are there have an owner.
    std::int64_t gets_before_ = 0;
};

}  // namespace molesignal
