#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "tests/support/manual_clock.h"
#include "tests/support/test_environment.h"
#include "wal/wal.h"
#include "wal/wal_disk_fixture.h"

namespace molesignal {

/// Keeps the log's own messages out of the output of tests that damage it thousands of times.
class QuietLog {
public:
    QuietLog() { testing::internal::CaptureStderr(); }
    QuietLog(const QuietLog&) = delete;
    QuietLog& operator=(const QuietLog&) = delete;
    ~QuietLog() { (void)testing::internal::GetCapturedStderr(); }
};

/// What a log was asked to keep, and whether it does. One thread at a time.
class WalLedger {
public:
    using Key = std::pair<std::uint64_t, std::uint64_t>;  ///< Queue, position.
    struct Batch {
        std::uint32_t rows = 0;
        std::string text;
        friend bool operator==(const Batch&, const Batch&) = default;
    };
    enum class Known { kAsked, kAcknowledged };

    void created(std::uint64_t queue, Known known) {
        asked_queues_.insert(queue);
        if (known == Known::kAcknowledged) {
            queues_.insert(queue);
        }
    }
    void deleting(std::uint64_t queue) { deleted_.insert(queue); }
    void truncating(std::uint64_t queue, std::uint64_t position) {
        truncated_[queue] = std::max(truncated_[queue], position);
    }
    void appended(Key key, Batch batch) { asked_[key].push_back(std::move(batch)); }
    void acknowledged(Key key) { acknowledged_[key] = asked_.at(key).back(); }

    /// Compares a replay with the ledger; returns the first fault, or nothing.
    std::string check(const std::map<Key, Batch>& replayed,
                      const std::vector<WalQueue>& queues) const {
        std::set<std::uint64_t> alive;
        for (const auto& queue : queues) {
            alive.insert(queue.queue.value);
            if (as_text(queue.description) != fmt::format("queue {}", queue.queue.value)) {
                return fmt::format("queue {}: wrong description", queue.queue.value);
            }
        }
        for (const auto queue : queues_) {
            if (!deleted_.contains(queue) && !alive.contains(queue)) {
                return fmt::format("queue {} is gone", queue);
            }
        }
        for (const auto& [key, batch] : acknowledged_) {
            const auto cut = truncated_.find(key.first);
            const auto below = cut == truncated_.end() ? 0 : cut->second;
            if (deleted_.contains(key.first) || key.second + batch.rows <= below) {
                continue;
            }
            const auto found = replayed.find(key);
            if (found == replayed.end()) {
                return fmt::format("queue {} position {} is lost", key.first, key.second);
            }
            if (found->second != batch) {
                return fmt::format("queue {} position {} is altered", key.first, key.second);
            }
        }
        return check_invented(replayed);
    }

private:
    std::string check_invented(const std::map<Key, Batch>& replayed) const {
        Key last{};
        std::uint64_t end = 0;
        for (const auto& [key, batch] : replayed) {
            const auto asked = asked_.find(key);
            if (asked == asked_.end() ||
                std::ranges::find(asked->second, batch) == asked->second.end()) {
                return fmt::format("queue {} position {} was never sent", key.first, key.second);
            }
            if (key.first == last.first && key.second < end) {
                return fmt::format("queue {} position {} overlaps", key.first, key.second);
            }
            last = key;
            end = key.second + batch.rows;
        }
        return {};
    }

    std::set<std::uint64_t> asked_queues_;
    std::set<std::uint64_t> queues_;
    std::set<std::uint64_t> deleted_;
    std::map<std::uint64_t, std::uint64_t> truncated_;
    std::map<Key, std::vector<Batch>> asked_;
    std::map<Key, Batch> acknowledged_;
};

/// A log on a TestDisk with a ledger. Every verb tells the ledger; failures are allowed, wrong
/// results are not.
class WalBench {
public:
    explicit WalBench(WalLedger& ledger, TestDisk& disk) : ledger_(ledger), disk_(disk) {}

    WalOptions options{.segment_bytes = 4096, .total_bytes_max = 1U << 20U, .reserve_bytes = 4096};

    /// Opens; false if that failed. What was replayed is in `replayed`.
    bool open() {
        wal_.reset();
        waiting_.clear();  // Nobody will hear of them.
        replayed.clear();
        fault.clear();
        auto opened = Wal::open(context_, "wal", options, disk_, clock_, metrics_);
        if (!opened) {
            fault = opened.error().message();
            return false;
        }
        wal_ = std::move(*opened);
        const auto delivered = wal_->replay(context_, [this](const WalBatch& batch) -> Result<> {
            const WalLedger::Key key{batch.queue.value, batch.begin.value};
            if (replayed.contains(key)) {
                fault = fmt::format("queue {} position {} twice", key.first, key.second);
            }
            const std::string text(as_text(batch.payload));
            if (!useless.empty() && text == useless) {
                return Error(ErrorCode::kCorruption, "useless");
            }
            replayed[key] = {.rows = batch.rows, .text = text};
            return {};
        });
        if (!delivered) {
            fault = delivered.error().message();
            wal_.reset();
            return false;
        }
        return true;
    }
    /// The first fault of the last open against the ledger, or nothing.
    std::string check() const {
        return !fault.empty() ? fault : ledger_.check(replayed, wal_->queues());
    }
    void crash() { wal_.reset(); }
    bool close() {
        const bool closed = wal_->close(context_).has_value();
        wal_.reset();
        return closed;
    }
    Result<> create(std::uint64_t queue) {
        ledger_.created(queue, WalLedger::Known::kAsked);
        const auto text = fmt::format("queue {}", queue);
        MS_TRY_VOID(wal_->create_queue(context_, QueueId{queue}, as_bytes(text)));
        ledger_.created(queue, WalLedger::Known::kAcknowledged);
        return {};
    }
    /// Appends at the queue's end and, if `commits`, waits and notes the acknowledgement.
    Result<> append(std::uint64_t queue, std::uint32_t rows, std::string text, bool commits) {
        std::uint64_t begin = 0;
        for (const auto& entry : wal_->queues()) {
            begin = entry.queue.value == queue ? entry.next.value : begin;
        }
        const WalLedger::Key key{queue, begin};
        const Bytes pieces[] = {as_bytes(text).first(text.size() / 2),
                                as_bytes(text).subspan(text.size() / 2)};
        ledger_.appended(key, {.rows = rows, .text = text});
        MS_TRY(const auto lsn, wal_->append(QueueId{queue}, Position{begin}, rows, pieces));
        waiting_.push_back(key);
        if (commits) {
            MS_TRY_VOID(wal_->commit(context_, lsn));
            for (const auto& done : waiting_) {
                ledger_.acknowledged(done);
            }
            waiting_.clear();
        }
        return {};
    }
    Result<> truncate(std::uint64_t queue, std::uint64_t position) {
        ledger_.truncating(queue, position);
        return wal_->truncate(context_, QueueId{queue}, Position{position});
    }
    Result<> remove(std::uint64_t queue) {
        ledger_.deleting(queue);
        return wal_->delete_queue(context_, QueueId{queue});
    }
    Wal& wal() { return *wal_; }
    ManualClock& clock() { return clock_; }
    const RequestContext& context() const { return context_; }

    std::map<WalLedger::Key, WalLedger::Batch> replayed;
    std::string fault;
    std::string useless;  ///< The text of records that the replay cannot use.

private:
    WalLedger& ledger_;
    TestDisk& disk_;
    ManualClock clock_;
    MetricRegistry metrics_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    std::unique_ptr<Wal> wal_;
    std::vector<WalLedger::Key> waiting_;
};

/// Queues, group commits, rotations, a record larger than a segment, truncates, rewriting, a
/// deleted queue and a clean restart in the middle. Stops at the first error, as a process would.
inline Result<> run_reference_workload(WalBench& bench) {
    const auto text = [](char letter, std::size_t size) { return std::string(size, letter); };
    const auto stopped = [&] { return Error(ErrorCode::kUnavailable, bench.fault); };
    if (!bench.open()) {
        return stopped();
    }
    for (const std::uint64_t queue : {1U, 2U, 3U}) {
        MS_TRY_VOID(bench.create(queue));
    }
    MS_TRY_VOID(bench.append(1, 2, "idle, must survive", true));
    for (std::uint64_t i = 0; i < 9; ++i) {
        MS_TRY_VOID(bench.append(2, 1, text(static_cast<char>('a' + i), 700), false));
        MS_TRY_VOID(bench.append(3, 3, fmt::format("three {}", i), i % 2 == 0));
    }
    MS_TRY_VOID(bench.append(2, 1, text('L', 9000), true));
    MS_TRY_VOID(bench.truncate(2, 10));
    MS_TRY_VOID(bench.append(3, 1, "after the truncate", true));
    if (!bench.close() || !bench.open()) {
        return stopped();
    }
    MS_TRY_VOID(bench.create(4));
    for (std::uint64_t i = 0; i < 8; ++i) {
        MS_TRY_VOID(bench.append(4, 1, text(static_cast<char>('A' + i), 900), true));
        MS_TRY_VOID(bench.truncate(4, i));
    }
    MS_TRY_VOID(bench.remove(3));
    MS_TRY_VOID(bench.append(1, 1, "the last", true));
    return bench.close() ? Result<>() : Result<>(stopped());
}

}  // namespace molesignal
