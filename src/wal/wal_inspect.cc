#include "wal/wal_inspect.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "wal/wal_format.h"
#include "wal/wal_replay.h"

namespace molesignal {
namespace {

constexpr std::string_view kQuarantine = "quarantine";

Result<std::vector<std::string>> quarantined(FileSystem& fs, const std::string& directory) {
    std::vector<std::string> findings;
    const auto path = join_path(directory, std::string(kQuarantine));
    MS_TRY(const auto exists, fs.exists(path));
    if (!exists) {
        return findings;
    }
    MS_TRY(const auto entries, fs.list(path));
    for (const auto& entry : entries) {
        if (std::uint64_t number = 0; !parse_segment_file_name(entry.name, number)) {
            continue;  // Set aside because it was torn, not damaged.
        }
        findings.push_back(fmt::format("{}: a damaged segment was set aside by an earlier start",
                                       join_path(path, entry.name)));
    }
    return findings;
}

void count(WalRecordCounts& counts, WalRecordKind kind) {
    switch (kind) {
        case WalRecordKind::kBatch:
            ++counts.batches;
            break;
        case WalRecordKind::kQueueCreated:
            ++counts.queues_created;
            break;
        case WalRecordKind::kTruncate:
            ++counts.truncates;
            break;
        case WalRecordKind::kQueueDeleted:
            ++counts.queues_deleted;
            break;
        case WalRecordKind::kCheckpoint:
            ++counts.checkpoints;
            break;
        case WalRecordKind::kMark:
            ++counts.marks;
            break;
    }
}

WalSegmentSummary summarize(const WalScannedSegment& scanned) {
    return {.number = scanned.number,
            .path = scanned.path,
            .file_bytes = scanned.file_bytes,
            .used_bytes = scanned.end,
            .live_bytes = 0,
            .unreadable_bytes = scanned.unreadable_bytes,
            .records = scanned.records,
            .first_lsn = scanned.header.first_lsn,
            .last_lsn = scanned.last_lsn,
            .header_valid = scanned.header_valid,
            .never_written = scanned.never_written,
            .damaged = false};
}

}  // namespace

Result<WalInspection> inspect_wal(const RequestContext& context,
                                  FileSystem& fs,
                                  const std::string& directory) {
    MS_TRY(auto index, index_log(context, fs, directory));
    WalInspection inspection{.log_id = index.log_id,
                             .accepted_lsn = index.accepted_lsn,
                             .replay = index.stats,
                             .records = {},
                             .segments = {},
                             .queues = {},
                             .damage = index.stats.findings};
    std::map<std::uint64_t, std::uint64_t> live_by_segment;
    for (const auto& [id, queue] : index.queues) {
        WalQueueSummary summary{.queue = id, .truncated = queue.truncated, .next = queue.next};
        for (const auto& extent : queue.extents) {
            const auto bytes = record_bytes(extent.payload_bytes);
            ++summary.batches;
            summary.rows += extent.rows;
            summary.live_bytes += bytes;
            live_by_segment[extent.segment] += bytes;
        }
        inspection.queues.push_back(summary);
    }
    for (const auto* group : {&index.segments, &index.unused, &index.unreadable}) {
        for (const auto& scanned : *group) {
            auto summary = summarize(scanned);
            summary.live_bytes = live_by_segment[scanned.number];
            summary.damaged = std::ranges::find(index.damaged_segments, scanned.number) !=
                              index.damaged_segments.end();
            inspection.segments.push_back(std::move(summary));
        }
    }
    std::ranges::sort(inspection.segments, {}, &WalSegmentSummary::number);
    for (const auto& segment : inspection.segments) {
        MS_TRY_VOID(scan_segment(context,
                                 fs,
                                 segment.path,
                                 segment.number,
                                 [&](const WalScannedRecord& record) -> Result<> {
                                     count(inspection.records, record.header.kind);
                                     return {};
                                 }));
    }
    MS_TRY(const auto set_aside, quarantined(fs, directory));
    inspection.damage.insert(inspection.damage.end(), set_aside.begin(), set_aside.end());
    return inspection;
}

Result<std::vector<std::string>> verify_wal(const RequestContext& context,
                                            FileSystem& fs,
                                            const std::string& directory) {
    MS_TRY(auto index, index_log(context, fs, directory));
    MS_TRY(const auto set_aside, quarantined(fs, directory));
    auto findings = std::move(index.stats.findings);
    findings.insert(findings.end(), set_aside.begin(), set_aside.end());
    return findings;
}

}  // namespace molesignal
