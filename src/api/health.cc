#include "api/health.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {
namespace {

std::string_view phase_name(Health::Phase phase) {
    switch (phase) {
        case Health::Phase::kStarting:
            return "starting";
        case Health::Phase::kReplaying:
            return "replaying";
        case Health::Phase::kReady:
            return "ready";
        case Health::Phase::kDraining:
            return "draining";
    }
    return "unknown";
}

}  // namespace

void Health::set_phase(Phase phase) {
    const MutexLock lock(mutex_);
    phase_ = phase;
}

Health::Phase Health::phase() const {
    const MutexLock lock(mutex_);
    return phase_;
}

void Health::set_replayed_rows(std::uint64_t rows) {
    const MutexLock lock(mutex_);
    replayed_rows_ = rows;
}

Health::Component& Health::component(const std::string& name) {
    const auto found = std::ranges::find(components_, name, &Component::name);
    if (found != components_.end()) {
        return *found;
    }
    components_.push_back(
        {.name = name, .failures_in_a_row = 0, .severity = Severity::kDegraded, .text = {}});
    return components_.back();
}

void Health::report_probe(const std::string& name, const Result<>& result) {
    const MutexLock lock(mutex_);
    auto& entry = component(name);
    if (result) {
        entry.failures_in_a_row = 0;
        entry.text.clear();
    } else {
        entry.failures_in_a_row = std::min(entry.failures_in_a_row + 1, 1'000'000);
        entry.text = result.error().message();
    }
}

void Health::set_problem(const std::string& name, Severity severity, std::string text) {
    const MutexLock lock(mutex_);
    auto& entry = component(name);
    entry.severity = severity;
    entry.failures_in_a_row = text.empty() ? 0 : kFailuresMax;
    entry.text = std::move(text);
}

bool Health::ready() const {
    return phase() == Phase::kReady;
}

bool Health::healthy_locked() const {
    return phase_ == Phase::kReady && std::ranges::none_of(components_, [](const Component& entry) {
               return entry.severity == Severity::kDegraded &&
                      entry.failures_in_a_row >= kFailuresMax;
           });
}

bool Health::healthy() const {
    const MutexLock lock(mutex_);
    return healthy_locked();
}

std::string Health::body(bool good) const {
    std::string out =
        fmt::format(R"({{"status":"{}","phase":"{}","replayed_rows":{},"components":{{)",
                    good ? "ok" : "unavailable",
                    phase_name(phase_),
                    replayed_rows_);
    bool first = true;
    for (const auto& entry : components_) {
        out += first ? "" : ",";
        first = false;
        append_json_string(out, entry.name);
        out += fmt::format(R"(:{{"ok":{},"failures_in_a_row":{},"message":)",
                           entry.failures_in_a_row == 0,
                           entry.failures_in_a_row);
        append_json_string(out, entry.text);
        out += "}";
    }
    return out + "}}";
}

HttpResponse Health::healthz() const {
    const MutexLock lock(mutex_);
    const bool good = healthy_locked();
    return HttpResponse::json(good ? 200 : 503, body(good));
}

HttpResponse Health::readyz() const {
    const MutexLock lock(mutex_);
    const bool good = phase_ == Phase::kReady;
    return HttpResponse::json(good ? 200 : 503, body(good));
}

HttpResponse Health::livez() {
    return HttpResponse::json(200, R"({"status":"ok"})");
}

std::vector<std::string> Health::problems() const {
    const MutexLock lock(mutex_);
    std::vector<std::string> lines;
    for (const auto& entry : components_) {
        if (entry.failures_in_a_row > 0) {
            lines.push_back(fmt::format("{}: {}", entry.name, entry.text));
        }
    }
    return lines;
}

}  // namespace molesignal
