#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/metrics.h"
#include "common/mutex.h"
#include "common/request_context.h"
#include "compaction/verify_part.h"
#include "io/file_system.h"
#include "metadata/catalogue.h"
#include "objectstore/object_store.h"

namespace molesignal {

struct ScrubberOptions {
    std::uint64_t bytes_per_second = 1U << 20U;  ///< scrub.bytes_per_second; 0: nothing is read.
    std::chrono::hours interval{168};            ///< scrub.interval_hours
    std::string position_file;  ///< Where it goes on after a restart; empty: from the begin.
};

/// Reads the objects of all live parts, and of the dumps that list old ones, again and again, at a
/// low rate, and compares them with their hashes in the catalogue: damage of what nobody queries is
/// found while there is still a backup. Changes nothing. A part that is damaged stays named until
/// it is good or gone. `work` by one thread at a time; the rest thread-safe.
class Scrubber {
public:
    Scrubber(ScrubberOptions options,
             Catalogue& catalogue,
             ObjectStore& objects,
             FileSystem& fs,
             Clock& clock,
             MetricRegistry& metrics);

    /// Reads what the rate allows since the last call, at most a few seconds' worth. To be called
    /// about once a second. An error: catalogue or store did not answer; the next call goes on.
    Result<> work(const RequestContext& context);
    /// Takes another rate and interval from now on.
    void set_rate(std::uint64_t bytes_per_second, std::chrono::hours interval);
    /// What is damaged, for people: "part …: object …: its hash is not the catalogue's".
    std::vector<std::string> damaged() const;

private:
    Result<> work_on(const RequestContext& context, double allowed_bytes);
    Result<bool> next_object(const RequestContext& context);
    Result<> take_page(const RequestContext& context);
    Result<> take_dump(const RequestContext& context);
    const std::string& position_of(const PartInfo& part) const;
    Result<> judge(const RequestContext& context, Result<std::uint64_t> read);
    Result<bool> still_listed(const RequestContext& context, const PartInfo& part);
    void end_object(std::string problem);
    void end_round();
    void load_position();
    void save_position();

    ScrubberOptions options_;
    Catalogue& catalogue_;
    ObjectStore& objects_;
    FileSystem& fs_;
    Clock& clock_;
    Counter& objects_total_;
    Counter& bytes_total_;
    Counter& damaged_total_;
    Counter& failures_total_;
    Gauge& damaged_gauge_;
    Gauge& round_gauge_;
    SteadyNanos last_call_;
    SteadyNanos saved_at_;
    double debt_bytes_ = 0;            ///< Read ahead of the rate.
    std::int64_t round_begin_us_ = 0;  ///< Wall clock; 0: no round was begun.
    bool in_round_ = false;
    std::string after_;           ///< Parts up to this id are done in this round.
    std::vector<PartInfo> page_;  ///< What follows.
    std::string page_position_;   ///< Of all of the page, if it is a dump's; else empty.
    std::size_t part_ = 0;        ///< In the page.
    std::size_t object_ = 0;      ///< Of the part.
    int failures_in_a_row_ = 0;
    std::unique_ptr<ObjectVerification> reading_;
    mutable Mutex mutex_;
    /// By position in a round and object key: the value says what is wrong.
    std::map<std::pair<std::string, std::string>, std::string> damaged_ MS_GUARDED_BY(mutex_);
    std::uint64_t rate_ MS_GUARDED_BY(mutex_);
    std::chrono::hours interval_ MS_GUARDED_BY(mutex_);
};

}  // namespace molesignal
