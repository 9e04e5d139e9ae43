#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "io/file_system.h"

namespace molesignal {

/// What a power cut does to data and names that were not synced. What was synced is certain in all.
enum class CrashModel : std::uint8_t {
    kDropUnsynced = 1,  ///< Nothing unsynced is there.
    kRandomBlocks = 2,  ///< By seed: any set of names; each 4 KiB block old, new or in between.
    kTornSectors = 3,   ///< The same with sectors of 512 bytes.
    kMetadataWithoutData = 4,  ///< All names and sizes are new, unsynced data is not: zeros or old.
};
inline constexpr CrashModel kCrashModels[] = {CrashModel::kDropUnsynced,
                                              CrashModel::kRandomBlocks,
                                              CrashModel::kTornSectors,
                                              CrashModel::kMetadataWithoutData};

/// Files in memory that remember what is durable, to be cloned as a power cut leaves them.
///
/// Follows the contract of FileSystem to the letter and no further: File::sync makes the content
/// and the size durable but not the name; sync_directory makes the names in one directory durable
/// but no content. A rename is atomic: after a cut the old name, the new one or, between two
/// directories, both are there. Names of one directory may survive in any combination. Thread-safe;
/// open files stay usable without the CrashFs.
class CrashFs final : public FileSystem {
public:
    CrashFs();
    ~CrashFs() override;

    /// The files after a power cut now; everything in the clone is durable. `this` goes on
    /// unharmed.
    std::unique_ptr<CrashFs> clone_after_crash(std::uint64_t seed, CrashModel model) const;

    /// The files as they are, with what is durable of them and what is not: as the next process
    /// finds them when this one is killed and the machine goes on. Locks are released.
    std::unique_ptr<CrashFs> clone_after_kill() const;

    /// How many operations have changed something or made it durable (writes, syncs, names).
    std::uint64_t operation_count() const;

    /// Keeps a clone of the state just before operation `number` (from 1, as operation_count
    /// counts) for `take_snapshot`, and goes on.
    void snapshot_before(std::uint64_t number, std::uint64_t seed, CrashModel model);
    /// The clone that snapshot_before asked for; null if operation `number` did not come.
    std::unique_ptr<CrashFs> take_snapshot();

    /// What is not synced of the file's content never will be, though it reads as written: what a
    /// kernel does with the pages of a sync that failed. Later writes are as good as any.
    void lose_unsynced(const std::string& path);

    /// Makes a directory whose name is not durable, as a process leaves it that was killed between
    /// making it and syncing its parent. The parent exists.
    void leave_directory_unsynced(const std::string& path);

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
    struct Node;
    class CrashFile;

    explicit CrashFs(std::shared_ptr<State> state);

    std::shared_ptr<State> state_;
};

}  // namespace molesignal
