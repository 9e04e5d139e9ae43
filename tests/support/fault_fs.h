#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "io/file_system.h"
#include "tests/support/fault_plan.h"

namespace molesignal {

/// The verbs of FileSystem and File, for rules and counts.
enum class FsVerb : std::uint8_t {
    kOpen,
    kRead,
    kWrite,
    kAllocate,
    kSync,
    kTruncate,
    kSize,
    kClose,
    kRename,
    kRemove,
    kList,
    kCreateDirectories,
    kRemoveDirectory,
    kSyncDirectory,
    kExists,
    kSpace,
    kLockDirectory,
};

/// What an operation does that is hit.
enum class FsFaultEffect : std::uint8_t {
    kError = 1,    ///< It fails.
    kSwallow = 2,  ///< It reports success and does nothing: a device that lies. Only for verbs
                   ///< without a result.
};

/// Which operations fail, and how. As errors of the system: EIO is kUnavailable, ENOSPC, EDQUOT and
/// EMFILE are kResourceExhausted, EROFS and EACCES are kForbidden.
struct FsFault {
    std::set<FsVerb> verbs;     ///< Empty: all.
    std::string path_contains;  ///< Empty: every path. Of a rename either path counts.
    FaultPlan plan;
    ErrorCode code = ErrorCode::kUnavailable;
    FsFaultEffect effect = FsFaultEffect::kError;
    /// Called with the path of a file whose sync fails: it says what that means for the base, and
    /// later syncs of the open file work again. Empty: they sync nothing.
    std::function<void(const std::string&)> failed_sync;
};

/// Wraps a file system and fails what the armed rule names; without a rule it only passes on.
///
/// A failing operation does nothing, except: a failing write has written the first half of its
/// data; a failing sync has synced nothing, and every later sync of that open file reports success
/// and syncs nothing either, as a kernel does that has marked the pages clean. Over a CrashFs, what
/// was written through such a file is therefore lost at the power cut. A failing close has closed.
/// Thread-safe. The wrapped file system outlives it, as it outlives its files.
class FaultFs final : public FileSystem {
public:
    explicit FaultFs(FileSystem& base);
    ~FaultFs() override;

    /// Sets the rule and starts counting matches from 1.
    void arm(FsFault fault);
    /// Nothing fails from here on; `fired` keeps its value.
    void disarm();
    /// How many operations have failed since `arm`.
    std::uint64_t fired() const;
    /// How often a file was synced again after a sync of it had failed: that proves nothing.
    std::uint64_t syncs_after_failure() const;
    /// All operations so far, reads included.
    std::uint64_t operation_count() const;

    Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
    Result<> rename(const std::string& from, const std::string& to) override;
    Result<> remove(const std::string& path) override;
    Result<std::vector<DirectoryEntry>> list(const std::string& path) override;
    Result<> create_directories(const std::string& path) override;
    Result<> remove_directory(const std::string& path) override;
    Result<> sync_directory(const std::string& path) override;
    Result<bool> exists(const std::string& path) override;
    Result<SpaceInfo> space(const std::string& path) override;
    Result<std::unique_ptr<DirectoryLock>> lock_directory(const std::string& path) override;

private:
    struct State;
    class FaultFile;

    FileSystem& base_;
    std::shared_ptr<State> state_;
};

}  // namespace molesignal
