// Every bit, every truncation and thousands of random damages: what is not hit replays, what is hit
// is never misread and never lost in silence. MS_DAMAGE_CASES sets the number of random ones.
#include <cstdlib>
#include <map>
#include <optional>
#include <set>

#include "io/memory_fs.h"
#include "wal/wal_fixture.h"
#include "wal/wal_format.h"
#include "wal/wal_inspect.h"
#include "wal/wal_replay.h"

namespace molesignal {
namespace {

using Files = std::map<std::string, ByteBuffer>;

/// A record as the undamaged log holds it.
struct Original {
    WalRecordHeader header;
    std::string path;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;  ///< Header and payload.
    std::string payload;
};

struct Shape {
    std::uint64_t segment_bytes = 4096;
    std::uint64_t records = 0;
    std::uint64_t payload_bytes_max = 0;
    bool closes = true;  ///< With a mark, so that every record is known to be durable.
};

/// A log, its bytes, and what is in them.
class DamagedLog {
public:
    DamagedLog(const Shape& shape, Random& random) {
        write(shape, random);
        const auto entries = *fs_.list("wal");
        for (const auto& entry : entries) {
            std::uint64_t number = 0;
            const auto path = "wal/" + entry.name;
            if (!parse_segment_file_name(entry.name, number)) {
                (void)fs_.remove(path);
                continue;
            }
            files_[path] = *read_file(fs_, path, 1U << 30U);
            scan(path, number);
            if (originals_.empty() || originals_.back().path != path) {
                (void)fs_.remove(path);  // Prepared, never used.
                files_.erase(path);
            }
        }
        now_ = files_;
    }

    const Files& files() const { return files_; }
    const std::vector<Original>& originals() const { return originals_; }
    /// Of the last check.
    const std::vector<std::string>& findings() const { return findings_; }
    std::uint64_t silent() const { return silent_; }
    std::uint64_t lost() const { return lost_; }

    void change(const std::string& path, std::uint64_t offset, Bytes bytes) {
        auto& content = now_.at(path);
        std::ranges::copy(bytes, content.begin() + static_cast<std::ptrdiff_t>(offset));
        put(path, offset, bytes);
    }
    void cut(const std::string& path, std::uint64_t size) {
        now_.at(path).resize(size);
        auto file = *fs_.open(path, OpenMode::kReadWrite);
        ASSERT_TRUE(file->truncate(size));
    }
    void grow(const std::string& path, Bytes garbage) {
        auto& content = now_.at(path);
        put(path, content.size(), garbage);
        append_bytes(content, garbage);
    }
    const ByteBuffer& content(const std::string& path) const { return now_.at(path); }

    /// Undoes all damage.
    void restore() {
        for (const auto& [path, bytes] : files_) {
            auto& now = now_.at(path);
            if (now != bytes) {
                now = bytes;
                auto file = *fs_.open(path, OpenMode::kReadWrite);
                ASSERT_TRUE(file->truncate(bytes.size()));
                ASSERT_TRUE(file->write_at(0, bytes));
            }
        }
    }

    bool hit(const Original& record) const {
        const auto& content = now_.at(record.path);
        const auto& whole = files_.at(record.path);
        const auto begin = static_cast<std::ptrdiff_t>(record.offset);
        return content.size() < record.offset + record.bytes ||
               !std::equal(whole.begin() + begin,
                           whole.begin() + begin + static_cast<std::ptrdiff_t>(record.bytes),
                           content.begin() + begin);
    }

    /// What is wrong with what a replay makes of the damaged log, or nothing.
    std::string check() {
        const auto index = index_log(context_, fs_, "wal");
        if (!index) {
            return "does not open: " + index.error().message();
        }
        std::map<WalLedger::Key, WalLedger::Batch> replayed;
        WalRecordReader reader(fs_);
        for (const auto& [queue, entry] : index->queues) {
            for (const auto& extent : entry.extents) {
                const auto payload =
                    reader.read("wal/" + segment_file_name(extent.segment), extent);
                if (!payload) {
                    return "accepted, then not read: " + payload.error().message();
                }
                const WalLedger::Key key{queue.value, extent.begin.value};
                if (!replayed.try_emplace(key, extent.rows, std::string(as_text(*payload)))
                         .second) {
                    return "a batch twice";
                }
            }
        }
        findings_ = index->stats.findings;
        return judge(*index, replayed);
    }

    /// Opens it as a server does; what is replayed must be what `check` accepts, and the next start
    /// must find nothing new. Leaves the log changed.
    std::string open_twice() {
        std::map<WalLedger::Key, WalLedger::Batch> first;
        for (int start = 0; start < 2; ++start) {
            MetricRegistry metrics;
            auto wal = Wal::open(context_, "wal", options_, fs_, clock_, metrics);
            if (!wal) {
                return "does not open: " + wal.error().message();
            }
            std::map<WalLedger::Key, WalLedger::Batch> replayed;
            const auto done = (*wal)->replay(context_, [&](const WalBatch& batch) -> Result<> {
                replayed[{batch.queue.value, batch.begin.value}] = {
                    .rows = batch.rows, .text = std::string(as_text(batch.payload))};
                return {};
            });
            if (!done) {
                return "does not replay: " + done.error().message();
            }
            const auto stats = (*wal)->replay_stats();
            if (start == 0) {
                first = replayed;
                const auto index_fault = counted(stats, metrics);
                if (!index_fault.empty()) {
                    return index_fault;
                }
            } else if (replayed != first) {
                return "the second start replays something else";
            } else if (stats.damaged_records > 0 || !stats.findings.empty()) {
                return fmt::format("the second start finds more: {} lost, {}",
                                   stats.damaged_records,
                                   fmt::join(stats.findings, "; "));
            }
            if (!(*wal)->close(context_)) {
                return "does not close";
            }
        }
        return {};
    }

private:
    void put(const std::string& path, std::uint64_t offset, Bytes bytes) {
        auto file = *fs_.open(path, OpenMode::kReadWrite);
        ASSERT_TRUE(file->write_at(offset, bytes));
    }

    void write(const Shape& shape, Random& random) {
        options_ = {
            .segment_bytes = shape.segment_bytes, .total_bytes_max = 1U << 30U, .reserve_bytes = 0};
        MetricRegistry metrics;
        auto wal = *Wal::open(context_, "wal", options_, fs_, clock_, metrics);
        constexpr std::uint64_t kQueues = 3;
        std::uint64_t next[kQueues] = {};
        for (std::uint64_t queue = 0; queue < kQueues; ++queue) {
            ASSERT_TRUE(wal->create_queue(context_, QueueId{queue + 1}, as_bytes("description")));
        }
        for (std::uint64_t i = 0; i < shape.records; ++i) {
            const auto queue = random.next_u64() % kQueues;
            const auto rows = static_cast<std::uint32_t>(1 + random.next_u64() % 9);
            std::string text(1 + random.next_u64() % shape.payload_bytes_max, ' ');
            for (std::size_t at = 0; at < text.size(); at += 8) {
                const auto word = random.next_u64();
                text.replace(at, 8, reinterpret_cast<const char*>(&word), 8);
            }
            const Bytes pieces[] = {as_bytes(text)};
            const auto lsn = wal->append(QueueId{queue + 1}, Position{next[queue]}, rows, pieces);
            ASSERT_TRUE(lsn);
            ASSERT_TRUE(wal->commit(context_, *lsn));
            next[queue] += rows;
        }
        if (shape.closes) {
            ASSERT_TRUE(wal->close(context_));
        }
    }

    void scan(const std::string& path, std::uint64_t number) {
        ASSERT_TRUE(scan_segment(
            context_, fs_, path, number, [&](const WalScannedRecord& record) -> Result<> {
                originals_.push_back({.header = record.header,
                                      .path = path,
                                      .offset = record.offset,
                                      .bytes = kRecordHeaderBytes + record.header.payload_bytes,
                                      .payload = std::string(as_text(record.payload))});
                return {};
            }));
    }

    /// The highest LSN that what is left knows to be durable.
    Lsn known_durable() const {
        Lsn durable;
        for (const auto& record : originals_) {
            if (record.header.durable_lsn > durable && !hit(record)) {
                durable = record.header.durable_lsn;
            }
        }
        return durable;
    }

    std::string judge(const WalIndex& index,
                      const std::map<WalLedger::Key, WalLedger::Batch>& replayed) {
        const auto durable = known_durable();
        const auto& stats = index.stats;
        std::size_t found = 0;
        std::uint64_t lost = 0;
        std::uint64_t lost_tail = 0;
        bool tail_begun = false;
        for (const auto& record : originals_) {
            const bool is_hit = hit(record);
            tail_begun = tail_begun || (is_hit && record.header.lsn > durable);
            if (record.header.kind != WalRecordKind::kBatch) {
                continue;
            }
            const auto at =
                replayed.find({record.header.queue.value, record.header.position.value});
            if (at == replayed.end()) {
                if (record.header.lsn > durable && tail_begun) {
                    ++lost_tail;
                    continue;
                }
                if (!is_hit) {
                    return fmt::format("LSN {} was not hit and is lost", record.header.lsn.value);
                }
                ++lost;
                if (auto unnamed = find_unnamed(record, stats); !unnamed.empty()) {
                    return unnamed;
                }
                continue;
            }
            ++found;
            if (at->second.rows != record.header.rows || at->second.text != record.payload) {
                return fmt::format("LSN {}: a wrong row", record.header.lsn.value);
            }
        }
        if (found != replayed.size()) {
            return "a batch that was never written";
        }
        if (lost > stats.damaged_records) {
            return fmt::format("{} lost, {} counted", lost, stats.damaged_records);
        }
        lost_ += lost;
        silent_ += lost_tail > 0 && stats.findings.empty() && stats.suspect_records == 0 &&
                           stats.torn_bytes == 0
                       ? 1
                       : 0;
        return {};
    }

    /// A lost record must be named by its file, with an offset.
    static std::string find_unnamed(const Original& record, const WalReplayStats& stats) {
        for (const auto& finding : stats.findings) {
            if (finding.find(record.path + " at offset ") != std::string::npos) {
                return {};
            }
        }
        return fmt::format("LSN {} is lost and {} is not named by: {}",
                           record.header.lsn.value,
                           record.path,
                           fmt::join(stats.findings, "; "));
    }

    std::string counted(const WalReplayStats& stats, const MetricRegistry& metrics) {
        const auto exposed = metrics.expose();
        if (exposed.find(fmt::format("wal_damaged_records_total {}\n", stats.damaged_records)) ==
            std::string::npos) {
            return "the metric says something else";
        }
        if (stats.damaged_records > 0 && stats.quarantined_segments.empty() &&
            stats.quarantined_before == 0) {
            return "damaged, and nothing is in quarantine";
        }
        if (!stats.quarantined_segments.empty()) {
            const auto findings = verify_wal(context_, fs_, "wal");
            if (!findings || findings->size() < stats.quarantined_segments.size()) {
                return "verify does not name what is in quarantine";
            }
        }
        return {};
    }

    MemoryFs fs_;
    ManualClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    WalOptions options_;
    Files files_;
    Files now_;
    std::vector<Original> originals_;
    std::vector<std::string> findings_;
    std::uint64_t silent_ = 0;
    std::uint64_t lost_ = 0;
};

std::uint64_t cases_of(const char* variable, std::uint64_t standard) {
    const auto text = test_variable(variable);
    return text.empty() ? standard : std::strtoull(text.c_str(), nullptr, 10);
}

TEST(WalDamageProgramme, EveryBitOfASegment) {
    const QuietLog quiet;
    SeededRandom random(test_seed());
    DamagedLog log({.records = 18, .payload_bytes_max = 200}, random);
    const auto path = log.files().begin()->first;
    ASSERT_EQ(log.files().begin()->second.size(), 4096U);
    for (std::uint64_t bit = 0; bit < 4096 * 8; ++bit) {
        const auto byte = log.content(path)[bit / 8];
        const std::byte flipped[] = {byte ^ (std::byte{1} << (bit % 8))};
        log.change(path, bit / 8, flipped);
        ASSERT_EQ(log.check(), "") << "bit " << bit;
        const std::byte back[] = {byte};
        log.change(path, bit / 8, back);
    }
    EXPECT_EQ(log.silent(), 0U);
    EXPECT_GT(log.lost(), 0U);
}

TEST(WalDamageProgramme, EveryEighthByteOfASegmentInARealStart) {
    const QuietLog quiet;
    const auto seed = test_seed();
    for (std::uint64_t at = 0; at < 4096; at += 8) {
        SeededRandom random(seed);
        DamagedLog log({.records = 18, .payload_bytes_max = 200}, random);
        const auto path = log.files().begin()->first;
        const std::byte flipped[] = {log.content(path)[at] ^ std::byte{0x10}};
        log.change(path, at, flipped);
        ASSERT_EQ(log.check(), "") << "byte " << at;
        ASSERT_EQ(log.open_twice(), "") << "byte " << at;
    }
}

/// Cuts the first segment at each byte of its last 64 KiB.
void cut_everywhere(bool closes, std::uint64_t records) {
    const QuietLog quiet;
    SeededRandom random(test_seed());
    constexpr std::uint64_t kBytes = 64U << 10U;
    constexpr std::uint64_t kSegmentBytes = kBytes + 4096;
    DamagedLog log({.segment_bytes = kSegmentBytes,
                    .records = records,
                    .payload_bytes_max = 2000,
                    .closes = closes},
                   random);
    const auto path = log.files().begin()->first;
    for (auto size = kSegmentBytes - 1; size >= kSegmentBytes - kBytes; --size) {
        log.cut(path, size);
        ASSERT_EQ(log.check(), "") << path << " cut to " << size;
        ASSERT_FALSE(log.findings().empty()) << path << " cut to " << size << " in silence";
        ASSERT_NE(log.findings().back().find(path + " at offset "), std::string::npos);
    }
    log.restore();
    ASSERT_EQ(log.check(), "");
    ASSERT_TRUE(log.findings().empty());
}

TEST(WalDamageProgramme, ACutAtEveryByteOfTheFirstOfTwoSegments) {
    cut_everywhere(true, 75);
}

TEST(WalDamageProgramme, ACutAtEveryByteOfTheOnlySegmentOfAKilledServer) {
    cut_everywhere(false, 50);
}

TEST(WalDamageProgramme, ACutOfASmallSegmentIsSeenDownToItsLastByte) {
    const QuietLog quiet;
    SeededRandom random(test_seed());
    DamagedLog log({.records = 18, .payload_bytes_max = 200, .closes = false}, random);
    const auto path = log.files().rbegin()->first;
    for (std::uint64_t size = 4095; size > 0; --size) {
        log.cut(path, size);
        ASSERT_EQ(log.check(), "") << size;
        ASSERT_FALSE(log.findings().empty()) << size;
    }
}

/// One damage of random kind and place.
class RandomDamage {
public:
    RandomDamage(DamagedLog& log, Random& random) : log_(log), random_(random) {
        for (const auto& [path, bytes] : log.files()) {
            paths_.push_back(path);
        }
    }

    std::string apply() {
        const auto path = paths_[random_.next_u64() % paths_.size()];
        switch (random_.next_u64() % 6) {
            case 0:
                return flip(path);
            case 1:
                return zero(path);
            case 2:
                return swap_sectors(path);
            case 3:
                return cut(path);
            case 4:
                return append_garbage(path);
            default:
                return duplicate(path);
        }
    }

private:
    std::uint64_t below(std::uint64_t limit) { return limit == 0 ? 0 : random_.next_u64() % limit; }
    ByteBuffer read(const std::string& path, std::uint64_t offset, std::uint64_t count) {
        const auto& content = log_.content(path);
        const auto begin = content.begin() + static_cast<std::ptrdiff_t>(offset);
        return {begin,
                begin + static_cast<std::ptrdiff_t>(std::min(count, content.size() - offset))};
    }
    std::string flip(const std::string& path) {
        const auto flips = 1 + below(16);
        for (std::uint64_t i = 0; i < flips; ++i) {
            const auto at = below(log_.content(path).size());
            auto byte = read(path, at, 1);
            byte[0] ^= std::byte{1} << below(8);
            log_.change(path, at, byte);
        }
        return fmt::format("{} flips in {}", flips, path);
    }
    std::string zero(const std::string& path) {
        const auto at = below(log_.content(path).size());
        const auto count =
            std::min<std::uint64_t>(1 + below(64U << 10U), log_.content(path).size() - at);
        log_.change(path, at, ByteBuffer(count));
        return fmt::format("{} zeros at {} of {}", count, at, path);
    }
    std::string swap_sectors(const std::string& path) {
        const auto& other = paths_[below(paths_.size())];
        const auto sector = below(2) == 0 ? 512U : 4096U;
        const auto first = below(log_.content(path).size() / sector) * sector;
        const auto second = below(log_.content(other).size() / sector) * sector;
        const auto a = read(path, first, sector);
        const auto b = read(other, second, sector);
        log_.change(path, first, Bytes(b).first(std::min(b.size(), a.size())));
        log_.change(other, second, Bytes(a).first(std::min(b.size(), a.size())));
        return fmt::format(
            "{} bytes swapped: {} of {}, {} of {}", sector, first, path, second, other);
    }
    std::string cut(const std::string& path) {
        const auto size = 1 + below(log_.content(path).size() - 1);
        log_.cut(path, size);
        return fmt::format("{} cut to {}", path, size);
    }
    std::string append_garbage(const std::string& path) {
        ByteBuffer garbage(1 + below(4096));
        for (auto& byte : garbage) {
            byte = static_cast<std::byte>(random_.next_u64());
        }
        if (below(2) == 0) {
            log_.cut(path, 1 + below(log_.content(path).size() - 1));
        }
        log_.grow(path, garbage);
        return fmt::format("{} bytes of garbage at the end of {}", garbage.size(), path);
    }
    /// A range of a segment over another place of it: whole records again, if it is aligned.
    std::string duplicate(const std::string& path) {
        const auto size = log_.content(path).size();
        const auto unit = below(2) == 0 ? 8U : 512U;
        const auto from = below(size / unit) * unit;
        const auto to = below(size / unit) * unit;
        const auto count =
            std::min<std::uint64_t>(1 + below(64U << 10U), size - std::max(from, to));
        log_.change(path, to, read(path, from, count));
        return fmt::format("{} bytes of {} copied from {} to {}", count, path, from, to);
    }

    DamagedLog& log_;
    Random& random_;
    std::vector<std::string> paths_;
};

TEST(WalDamageProgramme, RandomDamagesOfALargeLog) {
    const QuietLog quiet;
    const auto seed = test_seed();
    SeededRandom random(seed);
    DamagedLog log({.segment_bytes = 4U << 20U, .records = 2000, .payload_bytes_max = 16'000},
                   random);
    const auto cases = cases_of("MS_DAMAGE_CASES", 150);
    RandomDamage damage(log, random);
    for (std::uint64_t i = 0; i < cases; ++i) {
        std::string what = damage.apply();
        while (random.next_u64() % 3 == 0) {
            what += "; " + damage.apply();
        }
        ASSERT_EQ(log.check(), "") << "case " << i << ": " << what;
        log.restore();
    }
    record_figure(
        "damage",
        "unit/wal large log",
        fmt::format("every bit of a segment, a cut at every byte of 64 KiB, {} random damages of "
                    "16 MiB of log: no wrong row, every other record is there, {} records lost "
                    "and named, {} at the very end taken for a torn write",
                    cases,
                    log.lost(),
                    log.silent()),
        seed);
}

TEST(WalDamageProgramme, RandomDamagesInARealStart) {
    const QuietLog quiet;
    const auto seed = test_seed();
    const auto cases = cases_of("MS_DAMAGE_CASES", 400);
    for (std::uint64_t i = 0; i < cases; ++i) {
        SeededRandom random(seed + i);
        DamagedLog log({.segment_bytes = 32U << 10U, .records = 60, .payload_bytes_max = 3000},
                       random);
        RandomDamage damage(log, random);
        std::string what = damage.apply();
        while (random.next_u64() % 3 == 0) {
            what += "; " + damage.apply();
        }
        ASSERT_EQ(log.check(), "") << "case " << i << ": " << what;
        ASSERT_EQ(log.open_twice(), "") << "case " << i << ": " << what;
    }
    record_figure("damage",
                  "unit/wal real starts",
                  fmt::format("{} real starts on a damaged log: the same", cases),
                  seed);
}

}  // namespace
}  // namespace molesignal
