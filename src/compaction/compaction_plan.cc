#include "compaction/compaction_plan.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <tuple>

#include "compaction/part_merge.h"

namespace molesignal {
namespace {

constexpr std::int64_t kDayUs = 86'400'000'000;
constexpr std::uint64_t kSmallestClassBytes = 1U << 20U;

std::int64_t floor_div(std::int64_t value, std::int64_t by) {
    return value / by - (value % by < 0 ? 1 : 0);
}

std::uint64_t part_bytes(const PartInfo& part) {
    std::uint64_t bytes = 0;
    for (const auto& object : part.objects) {
        bytes += static_cast<std::uint64_t>(object.bytes);
    }
    return bytes;
}

/// Parts with equal buckets may be merged.
struct Bucket {
    std::int64_t day = 0;   ///< The first.
    std::int64_t days = 1;  ///< 1, 7, 28, 364 or more, aligned like a flush's parts.
    friend auto operator<=>(const Bucket&, const Bucket&) = default;
};

Bucket bucket_of(const PartInfo& part) {
    constexpr std::array<std::int64_t, 4> kDays = {1, 7, 28, 364};
    for (const auto days : kDays) {
        const auto first = floor_div(part.time_min_us, days * kDayUs);
        if (first == floor_div(part.time_max_us, days * kDayUs)) {
            return {.day = first * days, .days = days};
        }
    }
    return {.day = std::numeric_limits<std::int64_t>::min(), .days = 100'000};
}

class BucketPlan {
public:
    BucketPlan(std::vector<PartInfo> parts,
               std::int64_t day,
               bool is_over,
               const CompactionPlanOptions& options)
        : options_(options), day_(day), is_over_(is_over), parts_(std::move(parts)) {
        std::ranges::sort(parts_, [](const PartInfo& a, const PartInfo& b) {
            return std::tie(a.time_min_us, a.time_max_us, a.id) <
                   std::tie(b.time_min_us, b.time_max_us, b.id);
        });
        for (const auto& part : parts_) {
            bytes_.push_back(part_bytes(part));
        }
        is_taken_.assign(parts_.size(), false);
    }

    std::vector<CompactionGroup> plan() {
        // The large ones with the small ones if that is worth while, else the small ones alone.
        for (auto limit = options_.target_bytes / 2; limit >= kSmallestClassBytes; limit /= 4) {
            plan_class(limit);
        }
        plan_class(std::min(kSmallestClassBytes, options_.target_bytes / 2));
        return std::move(groups_);
    }

private:
    /// Groups the parts of up to `bytes_max` that are in no group yet.
    void plan_class(std::uint64_t bytes_max) {
        std::vector<std::size_t> members;
        std::vector<PartInfo> infos;  // Of members.
        std::uint64_t bytes = 0;
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            if (is_taken_[i] || bytes_[i] > bytes_max) {
                continue;
            }
            infos.push_back(parts_[i]);
            if (!members.empty() && (members.size() >= options_.parts_max ||
                                     bytes + bytes_[i] > options_.target_bytes ||
                                     merge_bytes(infos) > options_.memory_bytes)) {
                finish(members, bytes);
                members.clear();
                infos.assign(1, parts_[i]);
                bytes = 0;
            }
            members.push_back(i);
            bytes += bytes_[i];
        }
        finish(members, bytes);
    }

    void finish(const std::vector<std::size_t>& members, std::uint64_t bytes) {
        std::uint64_t largest = 0;
        for (const auto i : members) {
            largest = std::max(largest, bytes_[i]);
        }
        const auto parts_min = is_over_ ? std::uint64_t{2} : options_.parts_min;
        // Of `parts_min` equal ones each has a share of 1 / parts_min: up to twice that (of two:
        // two thirds) is about one size.
        const auto largest_max = is_over_ ? bytes / 3 * 2 : bytes * 2 / parts_min;
        if (members.size() < parts_min || members.size() < 2 || largest > largest_max) {
            return;
        }
        CompactionGroup group{.bucket = day_, .parts = {}, .bytes = bytes};
        for (const auto i : members) {
            is_taken_[i] = true;
            group.parts.push_back(parts_[i]);
        }
        groups_.push_back(std::move(group));
    }

    const CompactionPlanOptions& options_;
    std::int64_t day_;
    bool is_over_;
    std::vector<PartInfo> parts_;  ///< By time.
    std::vector<std::uint64_t> bytes_;
    std::vector<bool> is_taken_;
    std::vector<CompactionGroup> groups_;
};

}  // namespace

std::vector<CompactionGroup> plan_compactions(std::vector<PartInfo> parts,
                                              UnixNanos now,
                                              const CompactionPlanOptions& options) {
    std::map<Bucket, std::vector<PartInfo>> buckets;
    for (auto& part : parts) {
        const auto bucket = bucket_of(part);
        buckets[bucket].push_back(std::move(part));
    }
    const auto settled_us =
        std::chrono::duration_cast<std::chrono::microseconds>(options.settled).count();
    std::vector<CompactionGroup> groups;
    for (auto& [bucket, members] : buckets) {
        const bool is_over =
            bucket.days != 1 || (bucket.day + 1) * kDayUs + settled_us <= now.value / 1000;
        auto planned = BucketPlan(std::move(members), bucket.day, is_over, options).plan();
        std::ranges::move(planned, std::back_inserter(groups));
    }
    return groups;
}

CompactionGroup group_of_one(const PartInfo& part) {
    return {.bucket = bucket_of(part).day, .parts = {part}, .bytes = part_bytes(part)};
}

}  // namespace molesignal
