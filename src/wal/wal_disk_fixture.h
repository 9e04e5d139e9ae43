#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "common/random.h"
#include "io/file_system.h"

namespace molesignal {

/// What a power cut leaves of what was not synced.
enum class PowerCut { kDropUnsynced = 0, kKeepSomeBlocks = 1, kTearSectors = 2, kZeroData = 3 };
inline constexpr PowerCut kPowerCuts[] = {PowerCut::kDropUnsynced,
                                          PowerCut::kKeepSomeBlocks,
                                          PowerCut::kTearSectors,
                                          PowerCut::kZeroData};

/// A disk in memory for tests of the log: counts its operations, lets any of them fail, and can be
/// cut off from power. One thread at a time.
class TestDisk final : public FileSystem {
public:
    /// Which operation fails (1 is the first from now on), whether all after it do too, and how.
    struct Fault {
        std::uint64_t at = 0;
        bool for_ever = false;
        ErrorCode code = ErrorCode::kUnavailable;
    };

    void set_fault(std::optional<Fault> fault) {
        fault_ = fault;
        operations_ = 0;
    }
    std::uint64_t operations() const { return operations_; }
    /// The device does not read the 4 KiB block of `path` that holds `offset` any more.
    void break_block(const std::string& path, std::uint64_t offset) {
        names_.at(path)->bad_blocks.insert(offset / kBlockBytes);
    }
    /// Files that are open now.
    std::size_t open_files() const { return open_files_; }
    bool fault_hit() const { return fault_.has_value() && operations_ >= fault_->at; }

    /// The disk as it is found when the power comes back.
    std::unique_ptr<TestDisk> after_power_cut(PowerCut model, Random& random) const {
        auto disk = std::make_unique<TestDisk>();
        disk->directories_ = directories_;
        // Names: what was synced, and of the later changes the first few.
        auto names = synced_names_;
        const auto kept = model == PowerCut::kDropUnsynced ? 0
                          : model == PowerCut::kZeroData
                              ? name_changes_.size()
                              : random.next_u64() % (name_changes_.size() + 1);
        for (std::size_t i = 0; i < kept; ++i) {
            const auto& [name, content] = name_changes_[i];
            if (content == nullptr) {
                names.erase(name);
            } else {
                names[name] = content;
            }
        }
        std::map<const Content*, std::shared_ptr<Content>> copies;
        for (const auto& [name, content] : names) {
            auto& copy = copies[content.get()];
            if (copy == nullptr) {
                copy = std::make_shared<Content>();
                copy->bytes = cut_content(*content, model, random);
                copy->synced = copy->bytes;
            }
            disk->names_[name] = copy;
        }
        disk->synced_names_ = disk->names_;
        return disk;
    }

    Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
        MS_TRY_VOID(step("open"));
        const auto found = names_.find(path);
        if (mode == OpenMode::kCreateNew) {
            if (found != names_.end()) {
                return Error(ErrorCode::kConflict, "exists: " + path);
            }
            change_name(path, std::make_shared<Content>());
            return std::unique_ptr<File>(std::make_unique<DiskFile>(*this, names_[path]));
        }
        if (found == names_.end()) {
            return Error(ErrorCode::kNotFound, "no such file: " + path);
        }
        return std::unique_ptr<File>(std::make_unique<DiskFile>(*this, found->second));
    }
    Result<> rename(const std::string& from, const std::string& to) override {
        MS_TRY_VOID(step("rename"));
        if (!names_.contains(from)) {
            return Error(ErrorCode::kNotFound, "no such file: " + from);
        }
        const auto content = names_[from];
        change_name(to, content);
        change_name(from, nullptr);
        return {};
    }
    Result<> remove(const std::string& path) override {
        MS_TRY_VOID(step("remove"));
        if (!names_.contains(path)) {
            return Error(ErrorCode::kNotFound, "no such file: " + path);
        }
        change_name(path, nullptr);
        return {};
    }
    Result<std::vector<DirectoryEntry>> list(const std::string& path) override {
        MS_TRY_VOID(step("list"));
        if (!directories_.contains(path)) {
            return Error(ErrorCode::kNotFound, "no such directory: " + path);
        }
        std::vector<DirectoryEntry> entries;
        for (const auto& [name, content] : names_) {
            if (parent_path(name) == path) {
                entries.push_back({.name = name.substr(name.rfind('/') + 1),
                                   .kind = EntryKind::kFile,
                                   .size = content->bytes.size()});
            }
        }
        for (const auto& name : directories_) {
            if (name != path && parent_path(name) == path) {
                entries.push_back(
                    {.name = name.substr(name.rfind('/') + 1), .kind = EntryKind::kDirectory});
            }
        }
        std::ranges::sort(entries, {}, &DirectoryEntry::name);
        return entries;
    }
    Result<> create_directories(const std::string& path) override {
        MS_TRY_VOID(step("mkdir"));
        directories_.insert(path);
        return {};
    }
    Result<> remove_directory(const std::string& path) override {
        MS_TRY_VOID(step("rmdir"));
        directories_.erase(path);
        return {};
    }
    /// Syncs the names of every directory: the log has one.
    Result<> sync_directory(const std::string& /*path*/) override {
        MS_TRY_VOID(step("sync directory"));
        synced_names_ = names_;
        name_changes_.clear();
        return {};
    }
    Result<bool> exists(const std::string& path) override {
        MS_TRY_VOID(step("exists"));
        return names_.contains(path) || directories_.contains(path);
    }
    Result<SpaceInfo> space(const std::string& /*path*/) override {
        constexpr std::uint64_t kPretendedBytes = 1ULL << 40U;
        return SpaceInfo{.total_bytes = kPretendedBytes, .available_bytes = kPretendedBytes};
    }
    Result<std::unique_ptr<DirectoryLock>> lock_directory(const std::string& /*path*/) override {
        class Held final : public DirectoryLock {
        public:
            std::string identity() const override { return {}; }
        };
        return std::make_unique<Held>();
    }

private:
    static constexpr std::uint64_t kBlockBytes = 4096;
    struct Content {
        ByteBuffer bytes;
        ByteBuffer synced;
        std::set<std::uint64_t> bad_blocks;
    };

    class DiskFile final : public File {
    public:
        DiskFile(TestDisk& disk, std::shared_ptr<Content> content)
            : disk_(disk), content_(std::move(content)) {
            ++disk_.open_files_;
        }
        ~DiskFile() override { --disk_.open_files_; }
        Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
            MS_TRY_VOID(disk_.step("read"));
            const auto& bytes = content_->bytes;
            if (offset >= bytes.size()) {
                return std::size_t{0};
            }
            const auto count = std::min<std::size_t>(out.size(), bytes.size() - offset);
            const auto bad = content_->bad_blocks.lower_bound(offset / kBlockBytes);
            if (bad != content_->bad_blocks.end() && *bad * kBlockBytes < offset + count) {
                return Error(ErrorCode::kUnavailable, "bad block");
            }
            std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), count, out.begin());
            return count;
        }
        Result<> write_at(std::uint64_t offset, Bytes data) override {
            auto stepped = disk_.step("write");
            // A write that fails leaves the first half behind.
            const auto kept = stepped ? data : data.first(data.size() / 2);
            auto& bytes = content_->bytes;
            bytes.resize(std::max<std::size_t>(bytes.size(), offset + kept.size()));
            std::ranges::copy(kept, bytes.begin() + static_cast<std::ptrdiff_t>(offset));
            return stepped;
        }
        Result<> allocate(std::uint64_t size) override {
            MS_TRY_VOID(disk_.step("allocate"));
            content_->bytes.resize(std::max<std::size_t>(content_->bytes.size(), size));
            return {};
        }
        Result<> sync() override {
            MS_TRY_VOID(disk_.step("sync"));
            content_->synced = content_->bytes;
            return {};
        }
        Result<> truncate(std::uint64_t size) override {
            MS_TRY_VOID(disk_.step("truncate"));
            content_->bytes.resize(size);
            return {};
        }
        Result<std::uint64_t> size() override {
            MS_TRY_VOID(disk_.step("size"));
            return content_->bytes.size();
        }
        Result<> close() override { return {}; }

    private:
        TestDisk& disk_;
        std::shared_ptr<Content> content_;
    };

    Result<> step(std::string_view what) {
        ++operations_;
        if (!fault_.has_value() || operations_ < fault_->at ||
            (operations_ > fault_->at && !fault_->for_ever)) {
            return {};
        }
        return Error(fault_->code, fmt::format("injected: {} number {}", what, operations_));
    }

    void change_name(const std::string& name, std::shared_ptr<Content> content) {
        name_changes_.emplace_back(name, content);
        if (content == nullptr) {
            names_.erase(name);
        } else {
            names_[name] = std::move(content);
        }
    }

    static ByteBuffer cut_content(const Content& content, PowerCut model, Random& random) {
        auto bytes = content.synced;
        if (model == PowerCut::kDropUnsynced) {
            return bytes;
        }
        bytes.resize(content.bytes.size());
        const std::size_t unit = model == PowerCut::kTearSectors ? 512 : 4096;
        for (std::size_t at = 0; at < bytes.size(); at += unit) {
            const auto end = std::min(bytes.size(), at + unit);
            if (model != PowerCut::kZeroData && random.next_u64() % 2 == 0) {
                std::copy(content.bytes.begin() + static_cast<std::ptrdiff_t>(at),
                          content.bytes.begin() + static_cast<std::ptrdiff_t>(end),
                          bytes.begin() + static_cast<std::ptrdiff_t>(at));
            }
        }
        return bytes;
    }

    std::map<std::string, std::shared_ptr<Content>> names_;
    std::map<std::string, std::shared_ptr<Content>> synced_names_;
    std::vector<std::pair<std::string, std::shared_ptr<Content>>> name_changes_;
    std::set<std::string> directories_{"."};
    std::optional<Fault> fault_;
    std::uint64_t operations_ = 0;
    std::size_t open_files_ = 0;
};

}  // namespace molesignal
