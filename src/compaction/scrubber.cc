#include "compaction/scrubber.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>
#include <xxhash.h>

#include "common/log.h"

namespace molesignal {
namespace {

constexpr std::int64_t kPartsPerPage = 200;
constexpr std::uint64_t kReadBytes = 1U << 20U;
/// What one call may read at once, in seconds of the rate.
constexpr double kBurstSeconds = 5;
constexpr int kFailuresMax = 3;
constexpr std::chrono::seconds kSaveEvery{60};
constexpr std::uint64_t kPositionBytesMax = 1024;
constexpr std::string_view kPositionVersion = "1";
/// Begins a position among the dumps: behind those of all parts of the table.
constexpr char kDumpMark = '~';

std::string checksum_of(std::string_view text) {
    return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

}  // namespace

Scrubber::Scrubber(ScrubberOptions options,
                   Catalogue& catalogue,
                   ObjectStore& objects,
                   FileSystem& fs,
                   Clock& clock,
                   MetricRegistry& metrics)
    : options_(std::move(options)),
      catalogue_(catalogue),
      objects_(objects),
      fs_(fs),
      clock_(clock),
      objects_total_(metrics.counter("scrub_objects_total", "Objects compared with their hashes")),
      bytes_total_(metrics.counter("scrub_bytes_total", "Bytes read for that")),
      damaged_total_(
          metrics.counter("scrub_damaged_total", "Objects that were not what was written")),
      failures_total_(metrics.counter("scrub_failures_total",
                                      "Objects that could not be read, for the store's reasons")),
      damaged_gauge_(metrics.gauge("scrub_damaged_objects", "Damaged objects that are known now")),
      round_gauge_(metrics.gauge("scrub_last_round_timestamp_seconds",
                                 "End of the last round over all objects, since 1970")),
      last_call_(clock.steady_now()),
      saved_at_(clock.steady_now()),
      rate_(options_.bytes_per_second),
      interval_(options_.interval) {
    load_position();
}

void Scrubber::set_rate(std::uint64_t bytes_per_second, std::chrono::hours interval) {
    const MutexLock lock(mutex_);
    rate_ = bytes_per_second;
    interval_ = interval;
}

std::vector<std::string> Scrubber::damaged() const {
    const MutexLock lock(mutex_);
    std::vector<std::string> texts;
    for (const auto& [object, text] : damaged_) {
        texts.push_back(text);
    }
    return texts;
}

Result<> Scrubber::work(const RequestContext& context) {
    std::uint64_t rate = 0;
    std::chrono::hours interval{};
    {
        const MutexLock lock(mutex_);
        rate = rate_;
        interval = interval_;
    }
    const auto now = clock_.steady_now();
    const auto seconds = static_cast<double>((now - last_call_).count()) * 1e-9;
    last_call_ = now;
    if (rate == 0) {
        return {};
    }
    debt_bytes_ = std::max(0.0, debt_bytes_ - seconds * static_cast<double>(rate));
    if (!in_round_) {
        const auto now_us = clock_.now().value / 1000;
        const auto interval_us =
            std::chrono::duration_cast<std::chrono::microseconds>(interval).count();
        // A clock that went back begins one too.
        if (round_begin_us_ != 0 && now_us >= round_begin_us_ &&
            now_us < round_begin_us_ + interval_us) {
            return {};
        }
        round_begin_us_ = now_us;
        in_round_ = true;
        after_.clear();
        save_position();
    }
    const auto burst = std::min(seconds, kBurstSeconds) * static_cast<double>(rate);
    return work_on(context, burst - debt_bytes_);
}

/// A read is at least so large that a low rate does not become thousands of requests for an object:
/// what it is ahead of the rate is waited for afterwards.
Result<> Scrubber::work_on(const RequestContext& context, double allowed_bytes) {
    double done = 0;
    while (in_round_ && done < allowed_bytes) {
        MS_TRY_VOID(context.check());
        MS_TRY(const bool found, next_object(context));
        if (!found) {
            end_round();
            break;
        }
        auto read = reading_->read_next(context, kReadBytes);
        const auto bytes = read.value_or(0);
        done += static_cast<double>(bytes) + 1;  // An empty answer counts, too.
        bytes_total_.add(static_cast<double>(bytes));
        MS_TRY_VOID(judge(context, std::move(read)));
    }
    debt_bytes_ += std::max(0.0, done - std::max(0.0, allowed_bytes));
    if (clock_.steady_now() >= saved_at_ + kSaveEvery) {
        save_position();
    }
    return {};
}

/// Makes `reading_` the object to go on with; false: the round is over.
Result<bool> Scrubber::next_object(const RequestContext& context) {
    while (reading_ == nullptr) {
        if (part_ < page_.size() && object_ < page_[part_].objects.size()) {
            reading_ =
                std::make_unique<ObjectVerification>(objects_, page_[part_].objects[object_]);
            break;
        }
        if (part_ < page_.size()) {
            ++part_;
            object_ = 0;
            // The parts of a dump have its position.
            if (page_position_.empty() || part_ == page_.size()) {
                after_ = position_of(page_[part_ - 1]);
            }
            continue;
        }
        MS_TRY_VOID(take_page(context));
        if (page_.empty()) {
            return false;
        }
    }
    return true;
}

/// Where the part is in a round: those of the table come first, by id, then those of dumps, by the
/// dumps' ids.
const std::string& Scrubber::position_of(const PartInfo& part) const {
    return page_position_.empty() ? part.id : page_position_;
}

Result<> Scrubber::take_page(const RequestContext& context) {
    const auto before = after_;
    part_ = 0;
    object_ = 0;
    page_.clear();
    page_position_.clear();
    if (!after_.starts_with(kDumpMark)) {
        MS_TRY(page_, catalogue_.list_parts(context, after_, kPartsPerPage));
    }
    if (page_.empty()) {
        MS_TRY_VOID(take_dump(context));
    }
    // What was damaged and is not listed any more has gone with its part.
    const MutexLock lock(mutex_);
    std::erase_if(damaged_, [&](const auto& entry) {
        const auto& position = entry.first.first;
        const bool passed =
            position > before && (page_.empty() || position <= position_of(page_.back()));
        return passed && std::ranges::none_of(page_, [&](const PartInfo& part) {
                   return position_of(part) == position;
               });
    });
    damaged_gauge_.set(static_cast<double>(damaged_.size()));
    return {};
}

/// Makes the next dump the page: its object, then its parts.
Result<> Scrubber::take_dump(const RequestContext& context) {
    const auto after = after_.starts_with(kDumpMark) ? after_.substr(1) : std::string();
    MS_TRY(const auto dumps, catalogue_.list_part_dumps(context, {.after = after, .dumps_max = 1}));
    if (dumps.empty()) {
        return {};
    }
    const auto& dump = dumps.front();
    const auto parts = catalogue_.read_part_dump(context, dump);
    // One that is damaged is looked at all the same: that finds out, and names it.
    if (!parts && parts.error().code() != ErrorCode::kCorruption) {
        return parts.error();
    }
    page_position_ = kDumpMark + dump.id;
    PartInfo list;
    list.id = fmt::format("list of {}", dump.partition);
    list.stream = dump.stream;
    list.objects.push_back(dump.object);
    page_.push_back(std::move(list));
    if (parts) {
        page_.insert(page_.end(), (*parts)->begin(), (*parts)->end());
    }
    return {};
}

Result<> Scrubber::judge(const RequestContext& context, Result<std::uint64_t> read) {
    if (read) {
        failures_in_a_row_ = 0;
        if (reading_->is_done()) {
            end_object({});
        }
        return {};
    }
    const auto& part = page_[part_];
    if (read.error().code() == ErrorCode::kCorruption) {
        // Retention may have taken it since the page was read.
        MS_TRY(const bool listed, still_listed(context, part));
        end_object(listed ? fmt::format("part {}: {}", part.id, read.error().message())
                          : std::string());
        return {};
    }
    if (read.error().code() == ErrorCode::kCancelled) {
        return std::move(read).error();
    }
    if (++failures_in_a_row_ >= kFailuresMax) {
        failures_in_a_row_ = 0;
        failures_total_.add();
        reading_.reset();  // What is known of it stays as it is.
        ++object_;
    }
    return std::move(read).error().wrap(fmt::format("scrub part {}", part.id));
}

Result<bool> Scrubber::still_listed(const RequestContext& context, const PartInfo& part) {
    if (!page_position_.empty()) {
        const auto id = page_position_.substr(1);
        // All but its last character: less than it, and greater than what was before.
        MS_TRY(const auto dumps,
               catalogue_.list_part_dumps(
                   context, {.stream = part.stream, .after = id.substr(0, id.size() - 1)}));
        return std::ranges::find(dumps, id, &PartDump::id) != dumps.end();
    }
    MS_TRY(const auto now, catalogue_.list_parts(context, after_, 1));
    return !now.empty() && now.front().id == part.id;
}

void Scrubber::end_object(std::string problem) {
    const auto& part = page_[part_];
    objects_total_.add();
    const std::pair key{position_of(part), part.objects[object_].key};
    reading_.reset();
    ++object_;
    const MutexLock lock(mutex_);
    if (problem.empty()) {
        damaged_.erase(key);
    } else {
        damaged_total_.add();
        log_error("an object is damaged", {{"problem", problem}});
        damaged_[key] = std::move(problem);
    }
    damaged_gauge_.set(static_cast<double>(damaged_.size()));
}

void Scrubber::end_round() {
    in_round_ = false;
    after_.clear();
    page_.clear();
    part_ = 0;
    round_gauge_.set(static_cast<double>(clock_.now().value) * 1e-9);
    save_position();
}

/// docs/formats/part.md, "Where the scrubber is".
void Scrubber::load_position() {
    if (options_.position_file.empty()) {
        return;
    }
    const auto bytes = read_file(fs_, options_.position_file, kPositionBytesMax);
    if (!bytes) {
        return;  // Never scrubbed, or the round begins anew.
    }
    const auto text = as_text(*bytes);
    const auto end = text.rfind(' ');
    const auto begin_at = text.find(' ');
    const auto begin_end = text.find(' ', begin_at + 1);
    if (begin_at == std::string_view::npos || begin_end >= end ||
        text.substr(0, begin_at) != kPositionVersion ||
        text.substr(end + 1) != checksum_of(text.substr(0, end))) {
        log_warn("the scrubber's position cannot be read; its round begins anew",
                 {{"path", options_.position_file}});
        return;
    }
    const auto begin = text.substr(begin_at + 1, begin_end - begin_at - 1);
    std::from_chars(begin.data(), begin.data() + begin.size(), round_begin_us_);
    const auto position = text.substr(begin_end + 1, end - begin_end - 1);
    in_round_ = position != "-";
    after_ = in_round_ ? std::string(position) : std::string();
}

void Scrubber::save_position() {
    saved_at_ = clock_.steady_now();
    if (options_.position_file.empty()) {
        return;
    }
    auto text =
        fmt::format("{} {} {}", kPositionVersion, round_begin_us_, in_round_ ? after_ : "-");
    text += " " + checksum_of(text);
    if (const auto written = write_file_atomically(fs_, options_.position_file, as_bytes(text));
        !written) {
        log_warn("the scrubber's position was not saved", {{"error", written.error().message()}});
    }
}

}  // namespace molesignal
