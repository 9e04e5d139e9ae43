#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "net/http.h"

namespace molesignal {

/// What the probes know of the process. Thread-safe; written by the start-up and the probe loop,
/// read by
/// `/healthz`, `/readyz`, `/livez` and the page at `/`.
class Health {
public:
    enum class Phase : std::uint8_t { kStarting = 1, kReplaying = 2, kReady = 3, kDraining = 4 };

    void set_phase(Phase phase);
    Phase phase() const;
    void set_replayed_rows(std::uint64_t rows);

    /// The result of one probe of a dependency ("object_store", "catalogue"). Three failures in a
    /// row degrade the health, one success restores it.
    void report_probe(const std::string& component, const Result<>& result);
    /// A standing problem that degrades (write-ahead log read-only) or only warns (quarantined
    /// segments); an empty text removes it.
    enum class Severity : std::uint8_t { kWarning = 1, kDegraded = 2 };
    void set_problem(const std::string& component, Severity severity, std::string text);

    /// Ready for traffic: replay done, not draining.
    bool ready() const;
    /// Ready and no dependency lost.
    bool healthy() const;

    HttpResponse healthz() const;
    HttpResponse readyz() const;
    static HttpResponse livez();
    /// Problems for people, one a line.
    std::vector<std::string> problems() const;

    static constexpr int kFailuresMax = 3;

private:
    struct Component {
        std::string name;
        int failures_in_a_row = 0;
        Severity severity = Severity::kDegraded;
        std::string text;
    };
    Component& component(const std::string& name) MS_REQUIRES(mutex_);
    bool healthy_locked() const MS_REQUIRES(mutex_);
    std::string body(bool good) const MS_REQUIRES(mutex_);

    mutable Mutex mutex_;
    Phase phase_ MS_GUARDED_BY(mutex_) = Phase::kStarting;
    std::uint64_t replayed_rows_ MS_GUARDED_BY(mutex_) = 0;
    /// What every server has comes first, so that the list does not depend on who reports first.
    std::vector<Component> components_ MS_GUARDED_BY(mutex_) = {
        {.name = "object_store"}, {.name = "catalogue"}, {.name = "wal"}, {.name = "flush"}};
};

}  // namespace molesignal
