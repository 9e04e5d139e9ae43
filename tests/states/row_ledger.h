#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace molesignal {

/// A row as a reader sees it.
struct FoundRow {
    std::uint64_t number = 0;
    std::string stream;  ///< Empty while it is only known from a part.
    std::int64_t time_ns = 0;
    std::string text;
};

/// The text of row `number`: most are short, some fill a good part of a log segment.
std::string row_text(std::uint64_t number);

/// What a client knows: which rows it sent, which were acknowledged, what it asked to be deleted.
/// Says of any state of the database whether it may be. A value: copies are of one moment. One
/// thread at a time.
class RowLedger {
public:
    /// Rows [first, first + count) of one request, each a microsecond later than the one before.
    void sent(std::uint64_t first,
              std::uint32_t count,
              const std::string& stream,
              std::int64_t time_ns);
    void acknowledged(std::uint64_t first);
    /// The stream's rows so far may go; with `dropped` they are gone for good.
    void dropping(const std::string& stream);
    void dropped(const std::string& stream);
    /// The same for the stream's rows before a time.
    void expiring(const std::string& stream, std::int64_t before_ns);
    void expired(const std::string& stream, std::int64_t before_ns);
    void set_now(std::int64_t now_ns) { now_ns_ = now_ns; }

    /// Acknowledged rows are there, every row at most once, as it was sent, and none that nobody
    /// sent or that is deleted. One line for each fault, the first few of them.
    std::vector<std::string> faults(const std::vector<FoundRow>& found) const;

    std::uint64_t next_row() const { return next_row_; }
    std::int64_t now_ns() const { return now_ns_; }
    std::size_t acknowledged_rows() const;

private:
    enum class Fate : std::uint8_t { kMayBe, kMustBe, kMayGo, kGone };
    struct Request {
        std::uint32_t count = 0;
        std::string stream;
        std::int64_t time_ns = 0;
        Fate fate = Fate::kMayBe;
    };
    template <class Condition>
    void set_fate(Fate fate, const Condition& condition);

    std::map<std::uint64_t, Request> requests_;  ///< By first row.
    std::uint64_t next_row_ = 1;
    std::int64_t now_ns_ = 0;
};

}  // namespace molesignal
