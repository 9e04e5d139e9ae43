#include "tests/states/row_ledger.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {
namespace {

constexpr std::int64_t kRowNanos = 1000;
constexpr std::size_t kFaultsMax = 8;

}  // namespace

std::string row_text(std::uint64_t number) {
    const auto scrambled = number * 0x9e3779b97f4a7c15ULL;
    std::string text = fmt::format("row {} {:016x}", number, scrambled);
    const auto size = number % 23 == 0 ? 3000 : 40 + scrambled % 120;
    while (text.size() < size) {
        text += static_cast<char>('a' + (scrambled >> (text.size() % 57)) % 26);
    }
    return text;
}

template <class Condition>
void RowLedger::set_fate(Fate fate, const Condition& condition) {
    for (auto& [first, request] : requests_) {
        if (condition(request) && request.fate != Fate::kGone) {
            request.fate = fate;
        }
    }
}

void RowLedger::sent(std::uint64_t first,
                     std::uint32_t count,
                     const std::string& stream,
                     std::int64_t time_ns) {
    requests_[first] = {.count = count, .stream = stream, .time_ns = time_ns};
    next_row_ = std::max(next_row_, first + count);
}

void RowLedger::acknowledged(std::uint64_t first) {
    auto& request = requests_.at(first);
    if (request.fate == Fate::kMayBe) {
        request.fate = Fate::kMustBe;
    }
}

void RowLedger::dropping(const std::string& stream) {
    set_fate(Fate::kMayGo, [&](const Request& request) { return request.stream == stream; });
}

void RowLedger::dropped(const std::string& stream) {
    set_fate(Fate::kGone, [&](const Request& request) {
        return request.stream == stream && request.fate == Fate::kMayGo;
    });
}

void RowLedger::expiring(const std::string& stream, std::int64_t before_ns) {
    set_fate(Fate::kMayGo, [&](const Request& request) {
        return request.stream == stream && request.time_ns < before_ns;
    });
}

void RowLedger::expired(const std::string& stream, std::int64_t before_ns) {
    set_fate(Fate::kGone, [&](const Request& request) {
        return request.stream == stream && request.time_ns < before_ns &&
               request.fate == Fate::kMayGo;
    });
}

std::size_t RowLedger::acknowledged_rows() const {
    std::size_t rows = 0;
    for (const auto& [first, request] : requests_) {
        rows += request.fate == Fate::kMustBe ? request.count : 0;
    }
    return rows;
}

std::vector<std::string> RowLedger::faults(const std::vector<FoundRow>& found) const {
    std::vector<std::string> faults;
    const auto fault = [&faults](std::string text) {
        if (faults.size() < kFaultsMax) {
            faults.push_back(std::move(text));
        }
    };
    std::set<std::uint64_t> seen;
    for (const auto& row : found) {
        const auto behind = requests_.upper_bound(row.number);
        if (behind == requests_.begin() ||
            row.number >= std::prev(behind)->first + std::prev(behind)->second.count) {
            fault(fmt::format("row {} was never sent", row.number));
            continue;
        }
        const auto& [first, request] = *std::prev(behind);
        const auto time =
            request.time_ns + static_cast<std::int64_t>(row.number - first) * kRowNanos;
        if (!seen.insert(row.number).second) {
            fault(fmt::format("row {} is there twice", row.number));
        }
        if (row.stream != request.stream || row.time_ns != time ||
            row.text != row_text(row.number)) {
            fault(fmt::format("row {} is altered: stream {} time {} text {:.40}",
                              row.number,
                              row.stream,
                              row.time_ns,
                              row.text));
        }
        if (request.fate == Fate::kGone) {
            fault(fmt::format("row {} of {} was deleted and is back", row.number, row.stream));
        }
    }
    for (const auto& [first, request] : requests_) {
        for (auto number = first; number < first + request.count; ++number) {
            if (request.fate == Fate::kMustBe && !seen.contains(number)) {
                fault(fmt::format(
                    "row {} of {} was acknowledged and is lost", number, request.stream));
            }
        }
    }
    return faults;
}

}  // namespace molesignal
