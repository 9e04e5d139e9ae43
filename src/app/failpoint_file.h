#pragma once

#include <string>
#include <thread>

#include "common/clock.h"
#include "common/mutex.h"
#include "io/file_system.h"

namespace molesignal {

/// Arms failpoints in the running process, for tests (`--failpoints-file`): looks at a file several
/// times a second and arms what it says (as `--failpoints`; empty: nothing) each time that it has
/// changed. Then `<path>.armed` has the same content, or "error: …".
class FailpointFile {
public:
    /// `fs` and `clock` outlive the object.
    FailpointFile(FileSystem& fs, Clock& clock, std::string path);
    ~FailpointFile();
    FailpointFile(const FailpointFile&) = delete;
    FailpointFile& operator=(const FailpointFile&) = delete;

private:
    void watch();
    void look();

    FileSystem& fs_;
    Clock& clock_;
    const std::string path_;
    std::string armed_;
    Mutex mutex_;
    CondVar stop_;
    bool stopping_ MS_GUARDED_BY(mutex_) = false;
    std::thread thread_;
};

}  // namespace molesignal
