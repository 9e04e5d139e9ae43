// Decides what of the log's records counts: holes, damage, torn tails,
// truncates, copies.
#include "wal/wal_replay.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <set>

#include <fmt/format.h>

namespace molesignal {
namespace {

/// A record's place in the log without its payload. Kept small: a log may hold
/// millions.
struct Noted {
    Lsn lsn;
    QueueId queue;
    Position position;
    std::uint64_t offset = 0;
    std::uint32_t segment = 0;  ///< Index into WalIndex::segments.
    std::uint32_t payload_bytes = 0;
    std::uint32_t rows = 0;
    WalRecordKind kind = WalRecordKind::kBatch;
};

/// LSNs [begin, end).
struct LsnRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
};

class Indexer {
public:
    explicit Indexer(WalIndex& index) : index_(index) {}

    void note(const WalScannedRecord& record) {
        const auto& header = record.header;
        noted_.push_back({.lsn = header.lsn,
                          .queue = header.queue,
                          .position = header.position,
                          .offset = record.offset,
                          .segment = static_cast<std::uint32_t>(index_.segments.size()),
                          .payload_bytes = header.payload_bytes,
                          .rows = header.rows,
                          .kind = header.kind});
        durable_ = std::max(durable_, header.durable_lsn);
        if (header.kind == WalRecordKind::kQueueCreated) {
            payloads_[header.lsn].assign(record.payload.begin(), record.payload.end());
        } else if (header.kind == WalRecordKind::kCheckpoint) {
            note_checkpoint(record);
        }
    }

    void finish() {
        for (const auto& segment : index_.segments) {
            if (segment.header_valid) {
                note_run(segment.header.accepted_lsn, segment.header.run_first_lsn);
            }
        }
        merge_discarded();
        // Copies of one LSN stand in two segments after a failed sync was mended.
        const auto before = [](const Noted& a, const Noted& b) {
            return a.lsn != b.lsn ? a.lsn < b.lsn : a.segment < b.segment;
        };
        if (!std::ranges::is_sorted(noted_, before)) {
            std::ranges::sort(noted_, before);
        }
        accept();
        report_headers();
        report_cut_files();
        report_bad_blocks();
        settle_queues();
        index_.durable_lsn = durable_;
    }

private:
    void note_checkpoint(const WalScannedRecord& record) {
        auto checkpoint = decode_checkpoint(record.payload);
        if (!checkpoint) {
            // Its checksum was right: a program wrote it wrong. Rows are kept,
            // descriptions may lack.
            index_.stats.findings.push_back(
                fmt::format("LSN {}: {}", record.header.lsn.value, checkpoint.error().message()));
            return;
        }
        checkpoints_[record.header.lsn] = std::move(*checkpoint);
    }

    /// LSNs between the two were dropped by the start of that run.
    void note_run(Lsn accepted, Lsn run_first) {
        if (accepted.value + 1 < run_first.value) {
            discarded_.push_back({accepted.value + 1, run_first.value});
        }
        durable_ = std::max(durable_, accepted);
        run_first_max_ = std::max(run_first_max_, run_first);
    }

    void merge_discarded() {
        std::ranges::sort(discarded_, {}, &LsnRange::begin);
        std::vector<LsnRange> merged;
        for (const auto& range : discarded_) {
            if (merged.empty() || range.begin > merged.back().end) {
                merged.push_back(range);
            } else {
                merged.back().end = std::max(merged.back().end, range.end);
            }
        }
        discarded_ = std::move(merged);
    }

    bool discarded(Lsn lsn) const {
        const auto after = std::ranges::upper_bound(discarded_, lsn.value, {}, &LsnRange::begin);
        return after != discarded_.begin() && lsn.value < std::prev(after)->end;
    }

    /// How many LSNs in [begin, end) were not dropped by an earlier start.
    std::uint64_t missing(std::uint64_t begin, std::uint64_t end) const {
        auto count = end > begin ? end - begin : 0;
        for (const auto& range : discarded_) {
            const auto from = std::max(begin, range.begin);
            const auto to = std::min(end, range.end);
            count -= from < to ? to - from : 0;
        }
        return count;
    }

    /// Where the log begins: older segments were removed.
    std::uint64_t first_expected() {
        if (index_.segments.empty()) {
            return 1;  // LSNs count from 1.
        }
        const auto& oldest = index_.segments.front();
        if (oldest.header_valid) {
            return oldest.header.first_lsn.value;
        }
        if (oldest.number == 1) {
            return 1;  // The log's first segment has its first records.
        }
        if (oldest.first_record_offset != kSegmentHeaderBytes) {
            // Nothing says how many records stood there.
            ++index_.stats.damaged_records;
            index_.stats.findings.push_back(
                fmt::format("{} at offset 0: the begin cannot be read", oldest.path));
            index_.damaged_segments.push_back(oldest.number);
        }
        return noted_.empty() ? 1 : noted_.front().lsn.value;
    }

    void accept() {
        index_.last_lsn = noted_.empty() ? Lsn{} : noted_.back().lsn;
        // LSNs before the first of a run were given out, even if nothing of them is
        // left. Nor is an LSN used again that was durable and is damaged now.
        if (run_first_max_.value > 0) {
            index_.last_lsn = std::max(index_.last_lsn, Lsn{run_first_max_.value - 1});
        }
        for (const auto& segment : index_.segments) {
            if (segment.header_valid) {
                index_.last_lsn =
                    std::max(index_.last_lsn, Lsn{segment.header.first_lsn.value - 1});
            }
        }
        index_.last_lsn = std::max(index_.last_lsn, durable_);
        auto expected = first_expected();
        bool torn = false;
        std::uint32_t newest = 0;  // Segment of a record so far.
        // Taken off one by one: their memory becomes that of the extents.
        for (; !noted_.empty(); noted_.pop_front()) {
            const auto& noted = noted_.front();
            const auto lsn = noted.lsn;
            if (discarded(lsn)) {
                continue;
            }
            if (lsn.value > expected && !torn) {
                const auto lost = missing(expected, lsn.value);
                // Part of the hole may lie above the last durable LSN; what follows was
                // then never acknowledged as a whole either.
                const auto damaged_end = std::clamp(durable_.value + 1, expected, lsn.value);
                const auto damaged = missing(expected, damaged_end);
                report_damage(expected, damaged_end, damaged);
                torn = lost > damaged;
            }
            if (torn) {
                ++index_.stats.suspect_records;
                index_.stats.torn_bytes += record_bytes(noted.payload_bytes);
                continue;
            }
            const bool is_copy = lsn.value < expected;
            expected = std::max(expected, lsn.value + 1);
            index_.accepted_lsn = std::max(index_.accepted_lsn, lsn);
            if (!is_copy) {
                ++index_.stats.records;
                index_.is_shuffled = index_.is_shuffled || noted.segment < newest;
                newest = std::max(newest, noted.segment);
            }
            apply(noted, is_copy);
        }
        if (!torn && expected <= durable_.value) {
            report_damage(expected, durable_.value + 1, missing(expected, durable_.value + 1));
        }
        index_.accepted_lsn = std::max(index_.accepted_lsn, durable_);
    }

    /// A header is written with the first records behind it: it is damaged, not
    /// torn, if they are durable. No record is lost by that, so the segment is
    /// rewritten but not set aside.
    void report_headers() {
        for (const auto& segment : index_.segments) {
            if (!segment.header_valid && segment.records > 0 &&
                segment.first_record_lsn <= durable_) {
                index_.stats.findings.push_back(fmt::format(
                    "{} at offset 0: the segment's header cannot be read", segment.path));
            }
        }
    }

    /// The size of a file is durable before the first record goes in: one that is smaller was cut.
    /// Whether something stood behind the cut nobody knows.
    void report_cut_files() {
        for (const auto* group : {&index_.segments, &index_.unreadable}) {
            for (const auto& segment : *group) {
                const bool begun = segment.header_valid || segment.records > 0 ||
                                   segment.file_bytes < kSegmentHeaderBytes;
                const auto made =
                    std::max<std::uint64_t>(segment.made_bytes, begun ? kSegmentBytesMin : 0);
                if (segment.file_bytes < made) {
                    index_.stats.findings.push_back(
                        fmt::format("{} at offset {}: the file was cut here, it had {}{} bytes",
                                    segment.path,
                                    segment.file_bytes,
                                    segment.made_bytes == 0 ? "at least " : "",
                                    made));
                    index_.damaged_segments.push_back(segment.number);
                }
            }
        }
    }

    /// Loud whatever stood there: the device fails.
    void report_bad_blocks() {
        for (const auto* group : {&index_.segments, &index_.unreadable}) {
            for (const auto& segment : *group) {
                if (segment.bad_bytes > 0) {
                    index_.stats.findings.push_back(fmt::format(
                        "{}: the device cannot read {} bytes", segment.path, segment.bad_bytes));
                    index_.damaged_segments.push_back(segment.number);
                }
            }
        }
    }

    /// Where records [begin, end) stood.
    struct Place {
        const WalScannedSegment* segment = nullptr;
        std::uint64_t offset = 0;
    };

    /// The hole of `segment` that records [begin, end) can have stood in; `certain`: something that
    /// is not zero is there.
    static Place find_place(const WalScannedSegment& segment,
                            std::uint64_t begin,
                            std::uint64_t end,
                            bool& certain) {
        certain = true;
        if (segment.records == 0 ||
            (!segment.header_valid && segment.first_record_lsn.value > begin)) {
            return Place{.segment = &segment, .offset = 0};
        }
        for (const auto& hole : segment.holes) {
            // Where LSNs do not rise, a sector went to the wrong place: anything can have been
            // there.
            if (hole.after <= hole.before ||
                (hole.before.value < end && hole.after.value > begin)) {
                return Place{.segment = &segment, .offset = hole.begin};
            }
        }
        certain = segment.tail_bytes > 0 && segment.last_lsn.value < end;
        if (segment.holes.empty() || certain) {
            return Place{.segment = &segment, .offset = segment.end};
        }
        return Place{.segment = &segment, .offset = segment.holes.front().begin};
    }

    /// Those that count, and those with nothing but zeros before them: they go in order, so these
    /// had something.
    std::vector<const WalScannedSegment*> begun_segments() const {
        std::vector<const WalScannedSegment*> begun;
        for (const auto& segment : index_.segments) {
            begun.push_back(&segment);
        }
        for (const auto& segment : index_.unused) {
            if (!index_.segments.empty() && segment.number < index_.segments.back().number) {
                begun.push_back(&segment);
            }
        }
        std::ranges::sort(begun, {}, &WalScannedSegment::number);
        return begun;
    }

    /// The places that can have held the missing records: those where something unreadable stands,
    /// or else where records may have been zeroed.
    std::vector<Place> places_of(std::uint64_t begin, std::uint64_t end) const {
        std::vector<Place> places;
        std::vector<Place> guesses;
        std::uint64_t lowest = 0;  // What the segment can begin with.
        const auto segments = begun_segments();
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const auto& segment = *segments[i];
            lowest = segment.header_valid ? segment.header.first_lsn.value : lowest;
            auto highest = end;
            for (auto later = i + 1; later < segments.size(); ++later) {
                if (segments[later]->header_valid) {
                    highest = segments[later]->header.first_lsn.value;
                    break;
                }
            }
            const auto from = std::max(begin, lowest);
            const auto to = std::min(end, highest);
            if (missing(from, to) == 0) {
                continue;
            }
            bool certain = false;
            const auto place = find_place(segment, from, to, certain);
            (certain ? places : guesses).push_back(place);
        }
        return places.empty() ? guesses : places;
    }

    void report_damage(std::uint64_t begin, std::uint64_t end, std::uint64_t lost) {
        if (lost == 0) {
            return;
        }
        index_.stats.damaged_records += lost;
        std::string where;
        for (const auto& place : places_of(begin, end)) {
            where += fmt::format(
                "{}{} at offset {}", where.empty() ? "" : ", ", place.segment->path, place.offset);
            index_.damaged_segments.push_back(place.segment->number);
        }
        index_.stats.findings.push_back(
            fmt::format("{}: {} durable records between LSN {} and {} cannot be read",
                        where.empty() ? "a segment that is gone" : where,
                        lost,
                        begin,
                        end - 1));
    }

    /// The queue that a record of it means. A deleted one whose creation is
    /// missing begins anew.
    WalReplayQueue& queue_of(const Noted& noted) {
        auto& queue = index_.queues[noted.queue];
        if (queue.deleted) {
            queue = {};
        }
        return queue;
    }

    void apply(const Noted& noted, bool is_copy) {
        switch (noted.kind) {
            case WalRecordKind::kBatch: {
                if (is_copy && index_.queues[noted.queue].deleted) {
                    break;
                }
                auto& queue = queue_of(noted);
                queue.extents.push_back({.begin = noted.position,
                                         .rows = noted.rows,
                                         .payload_bytes = noted.payload_bytes,
                                         .segment = index_.segments[noted.segment].number,
                                         .offset = noted.offset,
                                         .lsn = noted.lsn});
                queue.next = std::max(queue.next, queue.extents.back().end());
                break;
            }
            case WalRecordKind::kQueueCreated:
                if (!is_copy) {
                    index_.queues[noted.queue] = {};
                    index_.queues[noted.queue].description = std::move(payloads_[noted.lsn]);
                }
                break;
            case WalRecordKind::kTruncate: {
                auto& queue = queue_of(noted);
                queue.truncated = std::max(queue.truncated, noted.position);
                queue.next = std::max(queue.next, noted.position);
                break;
            }
            case WalRecordKind::kQueueDeleted:
                index_.queues[noted.queue] = {};
                index_.queues[noted.queue].deleted = true;
                break;
            case WalRecordKind::kMark:
                break;  // Its durable LSN is all that it says.
            case WalRecordKind::kCheckpoint:
                if (const auto found = checkpoints_.find(noted.lsn); found != checkpoints_.end()) {
                    apply_checkpoint(found->second);
                    checkpoints_.erase(found);
                }
                break;
        }
    }

    void apply_checkpoint(std::vector<WalCheckpointQueue>& entries) {
        std::set<QueueId> named;
        for (auto& entry : entries) {
            named.insert(entry.queue);
            auto& queue = index_.queues[entry.queue];
            if (queue.deleted) {
                queue = {};
            }
            queue.description = std::move(entry.description);
            queue.truncated = std::max(queue.truncated, entry.truncated);
            queue.next = std::max(queue.next, entry.next);
        }
        for (auto& [id, queue] : index_.queues) {
            if (!named.contains(id)) {
                queue = {};
                queue.deleted = true;
            }
        }
    }

    void settle_queues() {
        for (auto& [id, queue] : index_.queues) {
            auto& extents = queue.extents;
            std::erase_if(extents, [&queue](const WalExtent& extent) {
                return queue.deleted || extent.end() <= queue.truncated;
            });
            remove_copies(extents);
            for (const auto& extent : extents) {
                ++index_.stats.batches;
                index_.stats.rows += extent.rows;
            }
        }
        std::erase_if(index_.queues, [](const auto& entry) { return entry.second.deleted; });
    }

    /// Of copies the newest wins: it lies in the segment that stays longest.
    /// Batches that overlap without being copies can only come from a tail that
    /// an earlier start dropped; the newest wins too.
    static void remove_copies(std::deque<WalExtent>& extents) {
        const auto before = [](const WalExtent& a, const WalExtent& b) {
            return a.begin != b.begin ? a.begin < b.begin
                   : a.lsn != b.lsn   ? a.lsn > b.lsn
                                      : a.segment > b.segment;
        };
        if (!std::ranges::is_sorted(extents, before)) {
            std::ranges::sort(extents, before);
        }
        const auto copies = std::ranges::unique(extents, {}, &WalExtent::begin);
        extents.erase(copies.begin(), copies.end());
        const auto overlap = [](const WalExtent& a, const WalExtent& b) {
            return a.end() > b.begin;
        };
        if (std::ranges::adjacent_find(extents, overlap) == extents.end()) {
            return;
        }
        std::ranges::sort(extents, std::greater<>(), &WalExtent::lsn);
        std::map<Position, WalExtent> kept;
        for (const auto& extent : extents) {
            const auto after = kept.lower_bound(extent.begin);
            const bool before_fits =
                after == kept.begin() || std::prev(after)->second.end() <= extent.begin;
            if (before_fits && (after == kept.end() || extent.end() <= after->first)) {
                kept.emplace(extent.begin, extent);
            }
        }
        extents.clear();
        for (const auto& [begin, extent] : kept) {
            extents.push_back(extent);
        }
    }

    WalIndex& index_;
    std::deque<Noted> noted_;
    std::map<Lsn, ByteBuffer> payloads_;
    std::map<Lsn, std::vector<WalCheckpointQueue>> checkpoints_;
    std::vector<LsnRange> discarded_;
    Lsn durable_;
    Lsn run_first_max_;
};

/// Moves the newest segments that hold nothing readable out of the log.
void set_unreadable_apart(WalIndex& index) {
    auto& segments = index.segments;
    while (!segments.empty() && !segments.back().header_valid && segments.back().records == 0) {
        index.stats.torn_bytes += segments.back().unreadable_bytes;
        index.unreadable.push_back(std::move(segments.back()));
        segments.pop_back();
    }
}

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
            if (index.log_id != 0 && segment.header.log_id != index.log_id) {
                return Error(ErrorCode::kConflict,
                             fmt::format("{} belongs to another log than the segments before it: "
                                         "move it out of the directory",
                                         path));
            }
            index.log_id = segment.header.log_id;
        }
        index.segments.push_back(std::move(segment));
    }
    set_unreadable_apart(index);
    for (const auto& segment : index.segments) {
        index.stats.torn_bytes += segment.unreadable_bytes;
    }
    index.stats.segments = index.segments.size();
    indexer.finish();
    std::ranges::sort(index.damaged_segments);
    const auto repeated = std::ranges::unique(index.damaged_segments);
    index.damaged_segments.erase(repeated.begin(), repeated.end());
    return index;
}

}  // namespace molesignal
