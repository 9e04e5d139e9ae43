// Decides what of the log's records counts: holes, damage, torn tails, truncates, copies.
#include "wal/wal_replay.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace molesignal {
namespace {

/// A record's place in the log without its payload.
struct Noted {
    WalRecordHeader header;
    std::uint64_t segment = 0;
    std::uint64_t offset = 0;
    ByteBuffer payload;  ///< Kept for bookkeeping records only; they are small.
};

class Indexer {
public:
    explicit Indexer(WalIndex& index) : index_(index) {}

    void note(const WalScannedRecord& record) {
        Noted noted{.header = record.header,
                    .segment = record.segment,
                    .offset = record.offset,
                    .payload = {}};
        if (record.header.kind != WalRecordKind::kBatch) {
            noted.payload.assign(record.payload.begin(), record.payload.end());
        }
        durable_ = std::max(durable_, record.header.durable_lsn);
        noted_.push_back(std::move(noted));
    }

    void finish() {
        find_discarded_ranges();
        // Copies of one LSN stand in two segments after a failed sync was mended; the order is by
        // LSN.
        std::ranges::sort(noted_, [](const Noted& a, const Noted& b) {
            return a.header.lsn != b.header.lsn ? a.header.lsn < b.header.lsn
                                                : a.segment < b.segment;
        });
        accept();
        settle_queues();
    }

private:
    /// LSNs that an earlier start decided to drop: (accepted_lsn, run_first_lsn) of each segment
    /// header.
    void find_discarded_ranges() {
        for (const auto& segment : index_.segments) {
            if (!segment.header_valid) {
                continue;
            }
            const auto& header = segment.header;
            discarded_.emplace(header.accepted_lsn.value + 1, header.run_first_lsn.value);
            durable_ = std::max(durable_, header.accepted_lsn);
        }
    }

    bool discarded(Lsn lsn) const {
        return std::ranges::any_of(discarded_, [lsn](const auto& range) {
            return lsn.value >= range.first && lsn.value < range.second;
        });
    }

    /// How many LSNs in [begin, end) are neither present nor discarded by an earlier start.
    std::uint64_t missing(std::uint64_t begin, std::uint64_t end) const {
        while (begin < end) {
            const auto covering = std::ranges::find_if(discarded_, [begin](const auto& range) {
                return begin >= range.first && begin < range.second;
            });
            if (covering == discarded_.end()) {
                break;
            }
            begin = covering->second;
        }
        while (begin < end) {
            const auto covering = std::ranges::find_if(discarded_, [end](const auto& range) {
                return end - 1 >= range.first && end - 1 < range.second;
            });
            if (covering == discarded_.end()) {
                break;
            }
            end = covering->first;
        }
        return begin < end ? end - begin : 0;
    }

    void accept() {
        index_.last_lsn = noted_.empty() ? Lsn{} : noted_.back().header.lsn;
        for (const auto& segment : index_.segments) {
            if (segment.header_valid) {
                // LSNs before the first of a run were given out, even if nothing of them is left.
                index_.last_lsn =
                    std::max(index_.last_lsn, Lsn{segment.header.first_lsn.value - 1});
            }
        }
        // Nor is an LSN used again that was durable and is damaged now.
        index_.last_lsn = std::max(index_.last_lsn, durable_);
        // The oldest segment's first LSN is where the log begins; older segments were removed.
        auto expected = std::uint64_t{1};  // LSNs count from 1.
        if (!index_.segments.empty()) {
            const auto& oldest = index_.segments.front();
            expected = oldest.header_valid ? oldest.header.first_lsn.value
                       : noted_.empty()    ? 1
                                           : noted_.front().header.lsn.value;
        }
        bool torn = false;
        for (const auto& noted : noted_) {
            const auto lsn = noted.header.lsn;
            if (discarded(lsn)) {
                continue;
            }
            if (lsn.value > expected) {
                const auto lost = missing(expected, lsn.value);
                if (lost > 0 && expected > durable_.value) {
                    torn = true;
                } else if (lost > 0) {
                    // Part of the hole may lie above the last durable LSN; what follows was then
                    // never acknowledged as a whole either.
                    const auto damaged_end = std::min(lsn.value, durable_.value + 1);
                    report_damage(expected, damaged_end, missing(expected, damaged_end));
                    torn = lsn.value > durable_.value + 1 && missing(damaged_end, lsn.value) > 0;
                }
            }
            if (torn) {
                index_.stats.torn_bytes += record_bytes(noted.header.payload_bytes);
                continue;
            }
            expected = std::max(expected, lsn.value + 1);
            index_.accepted_lsn = std::max(index_.accepted_lsn, lsn);
            ++index_.stats.records;
            apply(noted);
        }
        if (!torn && expected <= durable_.value && missing(expected, durable_.value + 1) > 0) {
            report_damage(expected, durable_.value + 1, missing(expected, durable_.value + 1));
        }
        index_.accepted_lsn = std::max(index_.accepted_lsn, durable_);
    }

    void report_damage(std::uint64_t begin, std::uint64_t end, std::uint64_t lost) {
        if (lost == 0) {
            return;
        }
        index_.stats.damaged_records += lost;
        // The segment that should hold them: the last one that begins at or before the hole.
        const WalScannedSegment* holder = nullptr;
        for (const auto& segment : index_.segments) {
            if (!segment.header_valid || segment.header.first_lsn.value <= begin) {
                holder = &segment;
            }
        }
        index_.damage.push_back(
            fmt::format("{}: {} durable records between LSN {} and {} cannot be read",
                        holder == nullptr ? "log" : holder->path,
                        lost,
                        begin,
                        end - 1));
        if (holder != nullptr) {
            index_.damaged_segments.push_back(holder->number);
        }
    }

    void apply(const Noted& noted) {
        const auto& header = noted.header;
        switch (header.kind) {
            case WalRecordKind::kBatch: {
                auto& queue = index_.queues[header.queue];
                queue.extents.push_back({.begin = header.position,
                                         .rows = header.rows,
                                         .payload_bytes = header.payload_bytes,
                                         .segment = noted.segment,
                                         .offset = noted.offset,
                                         .lsn = header.lsn});
                queue.next = std::max(queue.next, queue.extents.back().end());
                break;
            }
            case WalRecordKind::kQueueCreated:
                index_.queues[header.queue].description = noted.payload;
                break;
            case WalRecordKind::kTruncate: {
                auto& queue = index_.queues[header.queue];
                queue.truncated = std::max(queue.truncated, header.position);
                queue.next = std::max(queue.next, header.position);
                break;
            }
            case WalRecordKind::kQueueDeleted:
                index_.queues[header.queue].deleted = true;
                break;
            case WalRecordKind::kCheckpoint:
                apply_checkpoint(noted);
                break;
        }
    }

    void apply_checkpoint(const Noted& noted) {
        auto queues = decode_checkpoint(noted.payload);
        if (!queues) {
            // Its checksum was right: a program wrote it wrong. Rows are kept, descriptions may
            // lack.
            index_.damage.push_back(
                fmt::format("LSN {}: {}", noted.header.lsn.value, queues.error().message()));
            return;
        }
        for (auto& entry : *queues) {
            auto& queue = index_.queues[entry.queue];
            queue.description = std::move(entry.description);
            queue.truncated = std::max(queue.truncated, entry.truncated);
            queue.next = std::max(queue.next, entry.next);
        }
    }

    void settle_queues() {
        for (auto& [id, queue] : index_.queues) {
            auto& extents = queue.extents;
            std::erase_if(extents, [&queue](const WalExtent& extent) {
                return queue.deleted || extent.end() <= queue.truncated;
            });
            // Of copies the newest wins: it lies in the segment that stays longest.
            std::ranges::sort(extents, [](const WalExtent& a, const WalExtent& b) {
                return a.begin != b.begin ? a.begin < b.begin
                       : a.lsn != b.lsn   ? a.lsn > b.lsn
                                          : a.segment > b.segment;
            });
            const auto copies = std::ranges::unique(extents, {}, &WalExtent::begin);
            extents.erase(copies.begin(), copies.end());
            for (const auto& extent : extents) {
                ++index_.stats.batches;
                index_.stats.rows += extent.rows;
            }
        }
        std::erase_if(index_.queues, [](const auto& entry) { return entry.second.deleted; });
    }

    WalIndex& index_;
    std::vector<Noted> noted_;
    std::set<std::pair<std::uint64_t, std::uint64_t>> discarded_;
    Lsn durable_;
};

}  // namespace

Result<WalIndex> index_log(const RequestContext& context,
                           FileSystem& fs,
                           const std::string& directory) {
    WalIndex index;
    Indexer indexer(index);
    MS_TRY(const auto entries, fs.list(directory));
    for (const auto& entry : entries) {
        std::uint64_t number = 0;
        if (entry.kind != EntryKind::kFile || !parse_segment_file_name(entry.name, number)) {
            continue;
        }
        MS_TRY_VOID(context.check());
        const auto path = join_path(directory, entry.name);
        MS_TRY(auto segment,
               scan_segment(
                   context, fs, path, number, [&](const WalScannedRecord& record) -> Result<> {
                       indexer.note(record);
                       return {};
                   }));
        index.last_number = std::max(index.last_number, number);
        if (segment.never_written) {
            index.unused.push_back(std::move(segment));
            continue;
        }
        if (segment.header_valid) {
            index.last_epoch = std::max(index.last_epoch, segment.header.epoch);
            index.log_id = segment.header.log_id;
        } else if (segment.records > 0) {
            index.damage.push_back(fmt::format("{}: the segment's header cannot be read", path));
            index.damaged_segments.push_back(number);
        }
        index.stats.torn_bytes += segment.unreadable_bytes;
        index.segments.push_back(std::move(segment));
    }
    index.stats.segments = index.segments.size();
    indexer.finish();
    std::ranges::sort(index.damaged_segments);
    const auto repeated = std::ranges::unique(index.damaged_segments);
    index.damaged_segments.erase(repeated.begin(), repeated.end());
    return index;
}

}  // namespace molesignal
