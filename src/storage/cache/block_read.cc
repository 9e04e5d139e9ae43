#include "storage/cache/block_read.h"

#include <algorithm>
#include <utility>

namespace molesignal {

Result<SharedBytes> BlockRead::run(std::uint64_t offset, std::uint64_t length) {
    first_ = offset / block_bytes_;
    blocks_.resize((offset + length - 1) / block_bytes_ + 1 - first_);
    gets_before_ = tally_.gets;
    for (auto block = first_; block < first_ + blocks_.size(); ++block) {
        look(block, DiskCache::Look::kCounted);
    }
    while (
        !std::ranges::all_of(blocks_, [](const auto& bytes) { return bytes.owner != nullptr; })) {
        MS_TRY(auto others, claim_and_get());
        // Whoever leads has landed: waiting here holds nobody up.
        MS_TRY_VOID(await(std::move(others)));
    }
    tally_.hits += tally_.gets == gets_before_ ? 1 : 0;
    return assemble(offset, length);
}

bool BlockRead::look(std::uint64_t block, DiskCache::Look look) {
    auto found = reader_.disk_->find(object_, block, look);
    if (!found) {
        return false;
    }
    at(block) = std::move(*found);
    return true;
}

Result<BlockRead::Claims> BlockRead::claim_and_get() {
    Claims mine;
    Claims others;
    for (auto block = first_; block < first_ + blocks_.size(); ++block) {
        if (is_there(block)) {
            continue;
        }
        auto ticket = reader_.ranges_.join({.object = object_.key, .offset = block * block_bytes_});
        if (!ticket.leads()) {
            others.push_back({block, std::move(ticket)});
        } else if (look(block, DiskCache::Look::kAgain)) {
            // It has landed between the look and the join.
            ticket.land(std::make_shared<const SharedBytes>(at(block)));
        } else {
            mine.push_back({block, std::move(ticket)});
        }
    }
    MS_TRY_VOID(get_claimed(mine));
    return others;
}

Result<> BlockRead::get_claimed(Claims& mine) {
    const auto gap_blocks = reader_.options_.gap_bytes / block_bytes_;
    for (std::size_t begin = 0; begin < mine.size();) {
        auto end = begin + 1;
        while (end < mine.size() && mine[end].block - mine[end - 1].block <= gap_blocks + 1) {
            ++end;
        }
        MS_TRY_VOID(get_run(mine, begin, end));
        begin = end;
    }
    return {};
}

Result<> BlockRead::get_run(Claims& mine, std::size_t begin, std::size_t end) {
    const auto offset = mine[begin].block * block_bytes_;
    const auto last = std::min(object_.bytes, (mine[end - 1].block + 1) * block_bytes_);
    MS_TRY(auto content, reader_.get(context_, object_, offset, last - offset, tally_));
    const auto run = SharedBytes::of(std::move(content));
    for (auto i = begin; i < end; ++i) {
        auto& [block, ticket] = mine[i];
        const auto from = block * block_bytes_ - offset;
        at(block) = run.sub(from, std::min(block_bytes_, run.bytes.size() - from));
        // Who waits goes on before the disk is written.
        ticket.land(std::make_shared<const SharedBytes>(at(block)));
    }
    for (auto i = begin; i < end; ++i) {
        reader_.disk_->keep(object_, mine[i].block, at(mine[i].block).bytes);
    }
    return {};
}

Result<> BlockRead::await(Claims others) {
    for (auto& [block, ticket] : others) {
        MS_TRY(const auto value, ticket.wait(context_));
        if (value != nullptr) {  // Else its leader failed, and this read tries itself.
            at(block) = *std::static_pointer_cast<const SharedBytes>(value);
            reader_.merged_.add();
        }
    }
    return {};
}

SharedBytes BlockRead::assemble(std::uint64_t offset, std::uint64_t length) const {
    const auto from = offset - first_ * block_bytes_;
    const auto& front = blocks_.front();
    // Blocks of one request lie one behind the other.
    const bool is_one_piece = std::ranges::all_of(
        blocks_, [&](const SharedBytes& bytes) { return bytes.owner == front.owner; });
    if (is_one_piece) {
        const auto at = static_cast<std::size_t>(front.bytes.data() - front.owner->data()) + from;
        return {front.owner, Bytes(*front.owner).subspan(at, length)};
    }
    ByteBuffer content;
    content.reserve(length);
    auto skip = from;
    for (const auto& block : blocks_) {
        const auto count =
            std::min<std::uint64_t>(length - content.size(), block.bytes.size() - skip);
        append_bytes(content, block.bytes.subspan(skip, count));
        skip = 0;
    }
    return SharedBytes::of(std::move(content));
}

}  // namespace molesignal
