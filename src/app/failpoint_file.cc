#include "app/failpoint_file.h"

#include "common/failpoint.h"
#include "common/log.h"

namespace molesignal {
namespace {

constexpr std::chrono::milliseconds kInterval{50};
constexpr std::uint64_t kBytesMax = 64U << 10U;

}  // namespace

FailpointFile::FailpointFile(FileSystem& fs, Clock& clock, std::string path)
    : fs_(fs), clock_(clock), path_(std::move(path)), thread_([this] { watch(); }) {}

FailpointFile::~FailpointFile() {
    {
        const MutexLock lock(mutex_);
        stopping_ = true;
    }
    stop_.notify_all();
    thread_.join();
}

void FailpointFile::watch() {
    while (true) {
        look();
        const auto wake_at = clock_.steady_now() + kInterval;
        const MutexLock lock(mutex_);
        while (!stopping_ && clock_.steady_now() < wake_at) {
            clock_.wait_until(mutex_, stop_, wake_at);
        }
        if (stopping_) {
            return;
        }
    }
}

void FailpointFile::look() {
    const auto content = read_file(fs_, path_, kBytesMax);
    if (!content || as_text(*content) == armed_) {
        return;
    }
    armed_ = as_text(*content);
    auto spec = std::string_view(armed_);
    spec = spec.substr(0, spec.find_last_not_of(" \n") + 1);
    std::string answer = armed_;
    if (const auto done = arm_failpoints(spec); !done) {
        answer = "error: " + done.error().message();
    }
    if (const auto written = write_file_atomically(fs_, path_ + ".armed", as_bytes(answer));
        !written) {
        log_warn("the failpoints file cannot be answered", {{"error", written.error().message()}});
    }
}

}  // namespace molesignal
