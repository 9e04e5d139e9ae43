#include "tests/support/crash_fs.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "common/assert.h"
#include "common/random.h"

namespace molesignal {
namespace {

/// An unsynced change of a file. All-zero bytes are not kept, so that a preallocation is cheap.
struct PendingChange {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    ByteBuffer data;  ///< Empty: `length` zeros.
    std::uint64_t size_after = 0;
};

/// Applies the part of `change` within [begin, end) to `content`, which is large enough.
void apply_change(const PendingChange& change,
                  std::uint64_t begin,
                  std::uint64_t end,
                  ByteBuffer& content) {
    begin = std::max(begin, change.offset);
    end = std::min(end, change.offset + change.length);
    if (begin >= end) {
        return;
    }
    const auto to = content.begin() + static_cast<std::ptrdiff_t>(begin);
    if (change.data.empty()) {
        std::fill_n(to, end - begin, std::byte{0});
    } else {
        std::copy_n(change.data.begin() + static_cast<std::ptrdiff_t>(begin - change.offset),
                    end - begin,
                    to);
    }
}

void apply_change_whole(const PendingChange& change, ByteBuffer& content) {
    content.resize(std::max<std::uint64_t>(content.size(), change.offset + change.length));
    apply_change(change, change.offset, change.offset + change.length, content);
    content.resize(change.size_after);
}

std::uint64_t below(SeededRandom& random, std::uint64_t bound) {
    return random.next_u64() % bound;
}

}  // namespace

struct CrashFs::Node {
    bool is_directory = false;
    ByteBuffer live;
    ByteBuffer durable;
    std::vector<PendingChange> pending;

    void change(PendingChange change) {
        apply_change_whole(change, live);
        pending.push_back(std::move(change));
    }
    void sync() {
        for (const auto& change : pending) {
            apply_change_whole(change, durable);
        }
        pending.clear();
    }
    ByteBuffer after_crash(SeededRandom& random, CrashModel model) const;
    ByteBuffer random_blocks(SeededRandom& random, std::uint64_t block_bytes) const;
};

ByteBuffer CrashFs::Node::after_crash(SeededRandom& random, CrashModel model) const {
    constexpr std::uint64_t kPageBytes = 4096;
    constexpr std::uint64_t kSectorBytes = 512;
    switch (model) {
        case CrashModel::kDropUnsynced:
            return durable;
        case CrashModel::kRandomBlocks:
            return random_blocks(random, kPageBytes);
        case CrashModel::kTornSectors:
            return random_blocks(random, kSectorBytes);
        case CrashModel::kMetadataWithoutData: {
            auto content = durable;
            content.resize(live.size());
            return content;
        }
    }
    MS_ASSERT(false);
}

// Each block is as it was after some number of the writes to it; the size is that after some
// change.
ByteBuffer CrashFs::Node::random_blocks(SeededRandom& random, std::uint64_t block_bytes) const {
    std::map<std::uint64_t, std::vector<const PendingChange*>> blocks;
    auto content = durable;
    auto size = static_cast<std::uint64_t>(durable.size());
    auto size_max = size;
    const auto sizes = below(random, pending.size() + 1);
    for (std::size_t i = 0; i < pending.size(); ++i) {
        const auto& change = pending[i];
        for (auto block = change.offset / block_bytes;
             block * block_bytes < change.offset + change.length;
             ++block) {
            blocks[block].push_back(&change);
        }
        size_max = std::max(size_max, change.offset + change.length);
        if (i < sizes) {
            size = change.size_after;
        }
    }
    content.resize(size_max);
    for (const auto& [block, changes] : blocks) {
        const auto persisted = below(random, changes.size() + 1);
        for (std::size_t i = 0; i < persisted; ++i) {
            apply_change(*changes[i], block * block_bytes, (block + 1) * block_bytes, content);
        }
    }
    content.resize(size);
    return content;
}

struct CrashFs::State {
    using NodePtr = std::shared_ptr<Node>;

    /// A change of one name that is not durable. With a rename the change of one name is bound to
    /// that of the other: it may not survive without it.
    struct NameChange {
        std::uint64_t number = 0;
        NodePtr node;  ///< Null: the name is gone.
        std::string bound_name;
    };
    struct Name {
        NodePtr durable;
        std::vector<NameChange> changes;
        const NodePtr& live() const { return changes.empty() ? durable : changes.back().node; }
    };
    struct Snapshot {
        std::uint64_t before_operation = 0;
        std::uint64_t seed = 0;
        CrashModel model = CrashModel::kDropUnsynced;
    };

    State() {
        for (const auto* root : {"/", "."}) {
            auto node = std::make_shared<Node>();
            node->is_directory = true;
            names[root].durable = std::move(node);
        }
    }

    NodePtr find(const std::string& path) const MS_REQUIRES(mutex) {
        const auto found = names.find(path);
        return found == names.end() ? nullptr : found->second.live();
    }
    bool has_directory(const std::string& path) const MS_REQUIRES(mutex) {
        const auto node = find(path);
        return node != nullptr && node->is_directory;
    }
    bool is_empty(const std::string& path) const MS_REQUIRES(mutex) {
        return std::ranges::none_of(names, [&](const auto& entry) {
            return is_child(entry.first, path) && entry.second.live() != nullptr;
        });
    }
    static bool is_child(const std::string& name, const std::string& directory) {
        return name != directory && name != "/" && name != "." && parent_path(name) == directory;
    }

    void begin_operation() MS_REQUIRES(mutex) {
        ++operations;
        if (wanted.has_value() && wanted->before_operation == operations) {
            snapshot = clone(wanted->seed, wanted->model);
            wanted.reset();
        }
    }
    /// Returns the number that tells this change from others.
    void change_name(const std::string& path, NodePtr node, std::string bound_name = "")
        MS_REQUIRES(mutex) {
        names[path].changes.push_back({.number = ++name_changes,
                                       .node = std::move(node),
                                       .bound_name = std::move(bound_name)});
    }
    void commit_name(const std::string& path, std::uint64_t up_to) MS_REQUIRES(mutex);
    std::shared_ptr<State> clone(std::uint64_t seed, CrashModel model) const MS_REQUIRES(mutex);
    std::shared_ptr<State> clone_whole() const MS_REQUIRES(mutex);
    std::map<std::string, NodePtr> names_after_crash(SeededRandom& random, CrashModel model) const
        MS_REQUIRES(mutex);

    mutable Mutex mutex;
    std::map<std::string, Name> names MS_GUARDED_BY(mutex);
    std::set<std::string> locks MS_GUARDED_BY(mutex);
    std::uint64_t operations MS_GUARDED_BY(mutex) = 0;
    std::uint64_t name_changes MS_GUARDED_BY(mutex) = 0;
    std::optional<Snapshot> wanted MS_GUARDED_BY(mutex);
    std::shared_ptr<State> snapshot MS_GUARDED_BY(mutex);
};

// The two halves of a rename have neighbouring numbers, so `up_to` + 1 covers the other half.
void CrashFs::State::commit_name(const std::string& path, std::uint64_t up_to) {
    auto& name = names[path];
    std::vector<NameChange> done;
    while (!name.changes.empty() && name.changes.front().number <= up_to) {
        done.push_back(std::move(name.changes.front()));
        name.changes.erase(name.changes.begin());
    }
    if (done.empty()) {
        return;
    }
    name.durable = done.back().node;
    for (const auto& change : done) {
        if (!change.bound_name.empty()) {
            commit_name(change.bound_name, change.number + 1);
        }
    }
}

std::map<std::string, CrashFs::State::NodePtr> CrashFs::State::names_after_crash(
    SeededRandom& random, CrashModel model) const {
    // How many changes of each name survive.
    std::map<std::string, std::size_t> survive;
    for (const auto& [path, name] : names) {
        switch (model) {
            case CrashModel::kDropUnsynced:
                survive[path] = 0;
                break;
            case CrashModel::kMetadataWithoutData:
                survive[path] = name.changes.size();
                break;
            case CrashModel::kRandomBlocks:
            case CrashModel::kTornSectors:
                survive[path] = below(random, name.changes.size() + 1);
                break;
        }
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (const auto& [path, name] : names) {
            for (std::size_t i = 0; i < survive[path]; ++i) {
                const auto& change = name.changes[i];
                if (change.bound_name.empty()) {
                    continue;
                }
                const auto bound = names.find(change.bound_name);
                if (bound == names.end()) {
                    continue;  // Its change was made durable, and it is gone for good since.
                }
                const auto& other = bound->second.changes;
                auto& other_survive = survive[change.bound_name];
                while (other_survive < other.size() &&
                       other[other_survive].number <= change.number + 1) {
                    ++other_survive;
                    changed = true;
                }
            }
        }
    }
    std::map<std::string, NodePtr> after;
    for (const auto& [path, name] : names) {
        const auto count = survive[path];
        const auto& node = count == 0 ? name.durable : name.changes[count - 1].node;
        if (node != nullptr) {
            after.emplace(path, node);
        }
    }
    // What was in a directory that is not there cannot be reached.
    std::erase_if(after, [&after](const auto& entry) {
        for (auto at = entry.first; at != "/" && at != ".";) {
            at = parent_path(at);
            const auto parent = after.find(at);
            if (parent == after.end() || !parent->second->is_directory) {
                return true;
            }
        }
        return false;
    });
    return after;
}

std::shared_ptr<CrashFs::State> CrashFs::State::clone(std::uint64_t seed, CrashModel model) const {
    SeededRandom random(seed);
    auto copy = std::make_shared<State>();
    const MutexLock lock(copy->mutex);
    std::map<const Node*, NodePtr> copies;
    for (const auto& [path, node] : names_after_crash(random, model)) {
        auto& node_copy = copies[node.get()];
        if (node_copy == nullptr) {
            node_copy = std::make_shared<Node>();
            node_copy->is_directory = node->is_directory;
            node_copy->live = node->after_crash(random, model);
            node_copy->durable = node_copy->live;
        }
        copy->names[path].durable = node_copy;
    }
    return copy;
}

std::shared_ptr<CrashFs::State> CrashFs::State::clone_whole() const {
    auto copy = std::make_shared<State>();
    const MutexLock lock(copy->mutex);
    std::map<const Node*, NodePtr> copies;
    const auto copy_of = [&copies](const NodePtr& node) {
        if (node == nullptr) {
            return NodePtr();
        }
        auto& made = copies[node.get()];
        if (made == nullptr) {
            made = std::make_shared<Node>(*node);
        }
        return made;
    };
    copy->names = names;
    for (auto& [path, name] : copy->names) {
        name.durable = copy_of(name.durable);
        for (auto& change : name.changes) {
            change.node = copy_of(change.node);
        }
    }
    copy->name_changes = name_changes;
    return copy;
}

class CrashFs::CrashFile final : public File {
public:
    CrashFile(std::shared_ptr<State> state, std::shared_ptr<Node> node, OpenMode mode)
        : state_(std::move(state)), node_(std::move(node)), mode_(mode) {}

    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
        const MutexLock lock(state_->mutex);
        const auto& bytes = node_->live;
        if (offset >= bytes.size()) {
            return std::size_t{0};
        }
        const auto count = std::min<std::size_t>(out.size(), bytes.size() - offset);
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), count, out.begin());
        return count;
    }
    Result<> write_at(std::uint64_t offset, Bytes data) override {
        if (data.empty()) {
            return {};
        }
        const MutexLock lock(state_->mutex);
        const auto end = offset + data.size();
        return change({.offset = offset,
                       .length = data.size(),
                       .data = ByteBuffer(data.begin(), data.end()),
                       .size_after = std::max<std::uint64_t>(end, node_->live.size())});
    }
    Result<> allocate(std::uint64_t size) override {
        const MutexLock lock(state_->mutex);
        return change({.size_after = std::max<std::uint64_t>(size, node_->live.size())});
    }
    Result<> sync() override {
        const MutexLock lock(state_->mutex);
        state_->begin_operation();
        node_->sync();
        return {};
    }
    Result<> truncate(std::uint64_t size) override {
        const MutexLock lock(state_->mutex);
        const auto before = static_cast<std::uint64_t>(node_->live.size());
        return change({.offset = std::min(size, before),
                       .length = before > size ? before - size : 0,
                       .size_after = size});
    }
    Result<std::uint64_t> size() override {
        const MutexLock lock(state_->mutex);
        return node_->live.size();
    }
    Result<> close() override { return {}; }

private:
    Result<> change(PendingChange change) MS_REQUIRES(state_->mutex) {
        if (mode_ == OpenMode::kRead) {
            return Error(ErrorCode::kUnavailable, "the file is open for reading only");
        }
        state_->begin_operation();
        node_->change(std::move(change));
        return {};
    }

    std::shared_ptr<State> state_;
    std::shared_ptr<Node> node_;
    OpenMode mode_;
};

CrashFs::CrashFs() : state_(std::make_shared<State>()) {}
CrashFs::CrashFs(std::shared_ptr<State> state) : state_(std::move(state)) {}
CrashFs::~CrashFs() = default;

std::unique_ptr<CrashFs> CrashFs::clone_after_crash(std::uint64_t seed, CrashModel model) const {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    return std::unique_ptr<CrashFs>(new CrashFs(state.clone(seed, model)));
}

std::unique_ptr<CrashFs> CrashFs::clone_after_kill() const {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    return std::unique_ptr<CrashFs>(new CrashFs(state.clone_whole()));
}

std::uint64_t CrashFs::operation_count() const {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    return state.operations;
}

void CrashFs::snapshot_before(std::uint64_t number, std::uint64_t seed, CrashModel model) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    state.wanted = State::Snapshot{.before_operation = number, .seed = seed, .model = model};
    state.snapshot.reset();
}

std::unique_ptr<CrashFs> CrashFs::take_snapshot() {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    if (state.snapshot == nullptr) {
        return nullptr;
    }
    return std::unique_ptr<CrashFs>(new CrashFs(std::exchange(state.snapshot, nullptr)));
}

Result<std::unique_ptr<File>> CrashFs::open(const std::string& path, OpenMode mode) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    auto node = state.find(path);
    if (mode == OpenMode::kCreateNew) {
        if (node != nullptr) {
            return Error(ErrorCode::kConflict, fmt::format("open {}: exists", path));
        }
        if (!state.has_directory(parent_path(path))) {
            return Error(ErrorCode::kNotFound, fmt::format("open {}: no such directory", path));
        }
        state.begin_operation();
        node = std::make_shared<Node>();
        state.change_name(path, node);
    } else if (node == nullptr) {
        return Error(ErrorCode::kNotFound, fmt::format("open {}: no such file", path));
    } else if (node->is_directory) {
        return Error(ErrorCode::kUnavailable, fmt::format("open {}: is a directory", path));
    }
    return std::unique_ptr<File>(std::make_unique<CrashFile>(state_, std::move(node), mode));
}

Result<> CrashFs::rename(const std::string& from, const std::string& to) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    auto node = state.find(from);
    if (node == nullptr || node->is_directory) {
        return Error(ErrorCode::kNotFound, fmt::format("rename {}: no such file", from));
    }
    if (!state.has_directory(parent_path(to))) {
        return Error(ErrorCode::kNotFound, fmt::format("rename to {}: no such directory", to));
    }
    if (state.has_directory(to)) {
        return Error(ErrorCode::kConflict, fmt::format("rename to {}: is a directory", to));
    }
    state.begin_operation();
    if (from == to) {
        return {};
    }
    // The new name may stay beside the old one only if they are in two directories.
    const bool one_directory = parent_path(from) == parent_path(to);
    state.change_name(to, std::move(node), one_directory ? from : "");
    state.change_name(from, nullptr, to);
    return {};
}

Result<> CrashFs::remove(const std::string& path) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    const auto node = state.find(path);
    if (node == nullptr) {
        return Error(ErrorCode::kNotFound, fmt::format("remove {}: no such file", path));
    }
    if (node->is_directory) {
        return Error(ErrorCode::kUnavailable, fmt::format("remove {}: is a directory", path));
    }
    state.begin_operation();
    state.change_name(path, nullptr);
    return {};
}

Result<std::vector<DirectoryEntry>> CrashFs::list(const std::string& path) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    if (!state.has_directory(path)) {
        return Error(ErrorCode::kNotFound, fmt::format("list {}: no such directory", path));
    }
    std::vector<DirectoryEntry> entries;
    for (const auto& [name, entry] : state.names) {
        const auto& node = entry.live();
        if (node != nullptr && State::is_child(name, path)) {
            entries.push_back(
                {.name = name.substr(name.rfind('/') + 1),
                 .kind = node->is_directory ? EntryKind::kDirectory : EntryKind::kFile,
                 .size = node->live.size()});
        }
    }
    std::ranges::sort(entries, {}, &DirectoryEntry::name);
    return entries;
}

void CrashFs::lose_unsynced(const std::string& path) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    const auto node = state.find(path);
    MS_ASSERT(node != nullptr);
    node->pending.clear();
}

void CrashFs::leave_directory_unsynced(const std::string& path) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    MS_ASSERT(state.has_directory(parent_path(path)) && state.find(path) == nullptr);
    state.begin_operation();
    auto node = std::make_shared<Node>();
    node->is_directory = true;
    state.change_name(path, std::move(node));
}

Result<> CrashFs::create_directories(const std::string& path) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    std::vector<std::string> missing;
    for (auto at = path; !state.has_directory(at); at = parent_path(at)) {
        if (state.find(at) != nullptr) {
            return Error(ErrorCode::kConflict, fmt::format("{} exists and is not a directory", at));
        }
        missing.push_back(at);
    }
    for (; !missing.empty(); missing.pop_back()) {
        state.begin_operation();
        auto node = std::make_shared<Node>();
        node->is_directory = true;
        state.change_name(missing.back(), std::move(node));
        // This name alone, for the contract promises no more.
        state.commit_name(missing.back(), state.name_changes);
    }
    return {};
}

Result<> CrashFs::remove_directory(const std::string& path) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    if (!state.has_directory(path)) {
        return Error(ErrorCode::kNotFound,
                     fmt::format("remove directory {}: no such directory", path));
    }
    if (!state.is_empty(path)) {
        return Error(ErrorCode::kConflict, fmt::format("remove directory {}: not empty", path));
    }
    state.begin_operation();
    state.change_name(path, nullptr);
    return {};
}

Result<> CrashFs::sync_directory(const std::string& path) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    if (!state.has_directory(path)) {
        return Error(ErrorCode::kNotFound, fmt::format("sync {}: no such directory", path));
    }
    state.begin_operation();
    std::vector<std::string> children;
    for (const auto& [name, entry] : state.names) {
        if (State::is_child(name, path)) {
            children.push_back(name);
        }
    }
    for (const auto& name : children) {
        state.commit_name(name, state.name_changes);
    }
    std::erase_if(state.names, [](const auto& entry) {
        return entry.second.durable == nullptr && entry.second.changes.empty();
    });
    return {};
}

Result<bool> CrashFs::exists(const std::string& path) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    return state.find(path) != nullptr;
}

Result<SpaceInfo> CrashFs::space(const std::string&) {
    constexpr std::uint64_t kPretendedBytes = 1ULL << 40U;
    return SpaceInfo{.total_bytes = kPretendedBytes, .available_bytes = kPretendedBytes};
}

Result<std::unique_ptr<DirectoryLock>> CrashFs::lock_directory(const std::string& path) {
    class Held final : public DirectoryLock {
    public:
        Held(std::shared_ptr<State> state, std::string path)
            : state_(std::move(state)), path_(std::move(path)) {}
        ~Held() override {
            auto& state = *state_;
            const MutexLock lock(state.mutex);
            state.locks.erase(path_);
        }
        std::string identity() const override {
            return fmt::format("{}-{}", fmt::ptr(state_.get()), path_);
        }

    private:
        std::shared_ptr<State> state_;
        std::string path_;
    };
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    if (!state.has_directory(path)) {
        return Error(ErrorCode::kNotFound, fmt::format("lock {}: no such directory", path));
    }
    if (!state.locks.insert(path).second) {
        return Error(ErrorCode::kConflict, fmt::format("{} is in use by another process", path));
    }
    const auto file = join_path(path, "LOCK");
    if (state.find(file) == nullptr) {
        state.begin_operation();
        state.change_name(file, std::make_shared<Node>());
    }
    return std::unique_ptr<DirectoryLock>(std::make_unique<Held>(state_, path));
}

}  // namespace molesignal
