#pragma once

#include <memory>
#include <string>

#include "io/file_system.h"

namespace molesignal {

/// Lets SQLite keep its databases in a FileSystem of tests: a crash, a fault or a full disk then
/// meets the real SQLite, with its log, its checkpoints and its syncs.
///
/// Registers a VFS that takes the names given out by `database` and passes every other name to the
/// system's own. Does what SQLite's unix VFS does, down to the sync of the directory behind the
/// first sync of a new journal. Locks and shared memory are kept in this process: several
/// connections of one mount see each other, and those of two mounts never do. Thread-safe. Outlives
/// the databases opened in it; the file system outlives the mount.
class SqliteMount {
public:
    explicit SqliteMount(FileSystem& fs);
    ~SqliteMount();
    SqliteMount(const SqliteMount&) = delete;
    SqliteMount& operator=(const SqliteMount&) = delete;

    /// The name under which SQLite opens the file `path` of the file system.
    std::string database(const std::string& path) const;

    struct State;

private:
    std::shared_ptr<State> state_;
};

}  // namespace molesignal
