#pragma once

#include <atomic>
#include <memory>
#include <set>
#include <string>

#include "common/mutex.h"
#include "common/random.h"
#include "io/file_system.h"
#include "objectstore/object_store.h"

namespace molesignal {

/// Objects as files below a directory.
///
/// A put writes a temporary file, syncs it, renames it and syncs the directory, so that a crash
/// leaves the old object, the new one, or a temporary file that the next `open` removes.
/// Thread-safe.
class LocalObjectStore final : public ObjectStore {
public:
    /// `root` is made if missing. `fs` and `random` outlive the store.
    static Result<std::unique_ptr<LocalObjectStore>> open(const RequestContext& context,
                                                          FileSystem& fs,
                                                          std::string root,
                                                          Random& random);
    /// The store in `root` as it is, for looking at it beside the process that has it open: nothing
    /// is made and nothing removed.
    static std::unique_ptr<LocalObjectStore> attach(FileSystem& fs,
                                                    std::string root,
                                                    Random& random);

    Result<> put(const RequestContext& context, std::string_view key, Bytes body) override;
    Result<> put_file(const RequestContext& context,
                      std::string_view key,
                      const std::string& path) override;
    Result<ByteBuffer> get(const RequestContext& context,
                           std::string_view key,
                           std::uint64_t offset,
                           std::uint64_t length) override;
    Result<std::optional<ObjectMeta>> head(const RequestContext& context,
                                           std::string_view key) override;
    Result<> list(const RequestContext& context,
                  std::string_view prefix,
                  const std::function<bool(const ObjectMeta&)>& visit) override;
    Result<> remove(const RequestContext& context, std::string_view key) override;
    std::string describe() const override;

private:
    LocalObjectStore(FileSystem& fs, std::string root, Random& random);
    using Fill = std::function<Result<>(File&)>;
    Result<> store(const RequestContext& context, std::string_view key, const Fill& fill);
    std::string path_of(std::string_view key) const;
    Result<> make_durable(const std::string& directory);
    Result<bool> visit_directory(const RequestContext& context,
                                 const std::string& directory,
                                 const std::string& key_prefix,
                                 std::string_view prefix,
                                 const std::function<bool(const ObjectMeta&)>& visit);

    FileSystem& fs_;
    std::string root_;
    Random& random_;
    std::atomic<std::uint64_t> temporaries_{0};
    Mutex mutex_;
    std::set<std::string> durable_directories_ MS_GUARDED_BY(mutex_);  ///< Synced by this process.
};

}  // namespace molesignal
