// `ms://<key>`: objects of the store as files that DuckDB reads, with counters and the query's
// deadline.
#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include <duckdb.hpp>
#include <duckdb/common/file_system.hpp>
#include <fmt/format.h>
#include <xxhash.h>

#include "common/log.h"
#include "query/sql/engine_instance.h"
#include "query/sql/parts/page_checks.h"
#include "query/sql/query_error.h"

namespace molesignal {
namespace {

constexpr std::string_view kScheme = "ms://";
/// The end of a file is read once: footers are asked for in two or three small reads.
constexpr std::uint64_t kTailBytes = 64U << 10U;
/// Larger row groups are read column by column, whatever the query wants of them.
constexpr std::uint64_t kWholeGroupBytesMax = 8U << 20U;
/// A Parquet file ends with the footer's length and "PAR1".
constexpr std::uint64_t kEndBytes = 8;

class ObjectFiles;

/// Counts bytes for the query while they exist.
class CountedBytes {
public:
    CountedBytes(QueryMemory& memory, std::uint64_t bytes)
        : memory_(memory), bytes_(static_cast<std::int64_t>(bytes)) {
        if (!memory_.charge(bytes_)) {
            throw duckdb::OutOfMemoryException("no memory to read %llu bytes of an object", bytes);
        }
    }
    ~CountedBytes() { memory_.release(bytes_); }
    CountedBytes(const CountedBytes&) = delete;
    CountedBytes& operator=(const CountedBytes&) = delete;

private:
    QueryMemory& memory_;
    std::int64_t bytes_;
};

/// What the store answered. It was allocated for nobody, so it is freed for nobody: freed as the
/// query's, it would be taken off what the query has.
class Content {
public:
    explicit Content(ByteBuffer bytes) : bytes_(std::move(bytes)) {}
    ~Content() {
        const QueryMemory::Scope uncounted(nullptr);
        ByteBuffer().swap(bytes_);
    }
    Content(Content&&) noexcept = default;
    Content& operator=(Content&&) = delete;
    const ByteBuffer& operator*() const { return bytes_; }
    /// Moves the bytes to where they are not the query's either.
    TailCache::Tail share() && {
        const QueryMemory::Scope uncounted(nullptr);
        return std::make_shared<const ByteBuffer>(std::move(bytes_));
    }

private:
    ByteBuffer bytes_;
};

class ObjectHandle final : public duckdb::FileHandle {
public:
    ObjectHandle(duckdb::FileSystem& files,
                 const std::string& path,
                 duckdb::FileOpenFlags flags,
                 std::uint64_t size)
        : FileHandle(files, path, flags), size_bytes(size), key(path.substr(kScheme.size())) {}
    ~ObjectHandle() override {
        const QueryMemory::Scope uncounted(nullptr);
        const MutexLock lock(mutex);
        tail = nullptr;
    }
    void Close() override {}

    const std::uint64_t size_bytes;
    const std::string key;
    std::uint64_t position = 0;
    Mutex mutex;
    TailCache::Tail tail MS_GUARDED_BY(mutex);  ///< Null before its first use.
    /// The row group that was read last as a whole.
    struct Group {
        Group(QueryMemory& memory, std::uint64_t from, std::uint64_t bytes)
            : counted(memory, bytes), begin(from) {}
        CountedBytes counted;
        std::uint64_t begin;
        std::optional<Content> content;
    };
    std::unique_ptr<Group> group MS_GUARDED_BY(mutex);
};

class ObjectFiles final : public duckdb::FileSystem {
public:
    explicit ObjectFiles(std::shared_ptr<InstanceState> state) : state_(std::move(state)) {}

    duckdb::unique_ptr<duckdb::FileHandle> OpenFile(
        const duckdb::string& path,
        duckdb::FileOpenFlags flags,
        duckdb::optional_ptr<duckdb::FileOpener>) override {
        if (flags.OpenForWriting()) {
            throw duckdb::PermissionException("objects are read-only");
        }
        const MutexLock lock(state_->mutex);
        const auto found = state_->readable.find(path.substr(kScheme.size()));
        if (found == state_->readable.end()) {
            throw duckdb::IOException("object '%s' is not part of this query", path);
        }
        return duckdb::make_uniq<ObjectHandle>(*this, path, flags, found->second.bytes);
    }

    void Read(duckdb::FileHandle& file,
              void* buffer,
              int64_t count,
              duckdb::idx_t offset) override {
        auto& handle = file.Cast<ObjectHandle>();
        const auto bytes = static_cast<std::uint64_t>(count);
        if (offset > handle.size_bytes || bytes > handle.size_bytes - offset) {
            throw duckdb::IOException("read past the end of object '%s'", handle.key);
        }
        const auto tail_begin = handle.size_bytes - std::min(handle.size_bytes, kTailBytes);
        if (is_unwanted(handle.key, offset, bytes)) {
            // Fetched ahead for nobody: the reader skips the group without a look. Zeros are no
            // page, should it look all the same.
            std::memset(buffer, 0, bytes);
            return;
        }
        note_read(handle.key, offset, bytes);
        if (offset >= tail_begin) {
            const MutexLock lock(handle.mutex);
            if (handle.tail == nullptr) {
                handle.tail = tail_of(handle.key, tail_begin, handle.size_bytes - tail_begin);
            }
            std::memcpy(buffer, handle.tail->data() + (offset - tail_begin), bytes);
            return;
        }
        if (const auto group = whole_group(handle.key, offset, bytes)) {
            read_from_group(handle, *group, buffer, offset, bytes);
            return;
        }
        // Until it is copied to where DuckDB wants it.
        const CountedBytes counted(*state_->memory, bytes);
        const auto content = fetch(handle.key, offset, bytes);
        verify(handle, offset, as_text(*content));
        std::memcpy(buffer, (*content).data(), bytes);
    }

    int64_t Read(duckdb::FileHandle& file, void* buffer, int64_t count) override {
        auto& handle = file.Cast<ObjectHandle>();
        const auto left = handle.size_bytes - std::min(handle.size_bytes, handle.position);
        const auto bytes = std::min<std::uint64_t>(static_cast<std::uint64_t>(count), left);
        Read(file, buffer, static_cast<int64_t>(bytes), handle.position);
        handle.position += bytes;
        return static_cast<int64_t>(bytes);
    }

    int64_t GetFileSize(duckdb::FileHandle& file) override {
        return static_cast<int64_t>(file.Cast<ObjectHandle>().size_bytes);
    }
    // Objects never change: one time and one version for ever.
    duckdb::timestamp_t GetLastModifiedTime(duckdb::FileHandle&) override {
        return duckdb::timestamp_t(0);
    }
    duckdb::string GetVersionTag(duckdb::FileHandle& file) override {
        return file.Cast<ObjectHandle>().key;
    }
    duckdb::FileType GetFileType(duckdb::FileHandle&) override {
        return duckdb::FileType::FILE_TYPE_REGULAR;
    }
    bool FileExists(const duckdb::string& path, duckdb::optional_ptr<duckdb::FileOpener>) override {
        const MutexLock lock(state_->mutex);
        return path.size() > kScheme.size() &&
               state_->readable.contains(path.substr(kScheme.size()));
    }
    duckdb::vector<duckdb::OpenFileInfo> Glob(const duckdb::string& path,
                                              duckdb::FileOpener*) override {
        duckdb::vector<duckdb::OpenFileInfo> files;
        files.emplace_back(path);
        return files;
    }
    bool CanHandleFile(const duckdb::string& path) override { return path.rfind(kScheme, 0) == 0; }
    void Seek(duckdb::FileHandle& file, duckdb::idx_t location) override {
        file.Cast<ObjectHandle>().position = location;
    }
    void Reset(duckdb::FileHandle& file) override { file.Cast<ObjectHandle>().position = 0; }
    duckdb::idx_t SeekPosition(duckdb::FileHandle& file) override {
        return file.Cast<ObjectHandle>().position;
    }
    bool CanSeek() override { return true; }
    bool OnDiskFile(duckdb::FileHandle&) override { return false; }
    std::string GetName() const override { return "molesignal objects"; }
    duckdb::string PathSeparator(const duckdb::string&) override { return "/"; }

private:
    /// Counts the row groups that overlap [offset, offset + bytes) and were not read before. A read
    /// that reaches the footer is DuckDB looking for it, with a guess of where it begins.
    void note_read(const std::string& key, std::uint64_t offset, std::uint64_t bytes) {
        const MutexLock lock(state_->mutex);
        const auto found = state_->readable.find(key);
        if (found == state_->readable.end() || state_->counters == nullptr) {
            return;
        }
        auto& object = found->second;
        if (object.row_groups.empty() ||
            offset + bytes > static_cast<std::uint64_t>(object.row_groups.back().byte_end)) {
            return;
        }
        const auto end_of = [](const RowGroupInfo& group) {
            return static_cast<std::uint64_t>(group.byte_end);
        };
        auto group = std::ranges::upper_bound(object.row_groups, offset, std::less<>(), end_of);
        for (; group != object.row_groups.end(); ++group) {
            const auto at = static_cast<std::size_t>(group - object.row_groups.begin());
            const auto begin = at == 0 ? 0 : end_of(object.row_groups[at - 1]);
            if (begin >= offset + bytes) {
                return;
            }
            if (!object.touched[at]) {
                object.touched[at] = true;
                ++state_->counters->row_groups_read;
                state_->counters->rows += group->rows;
            }
        }
    }

    /// First byte and one past the last of the row group that the range lies in, if it is to be
    /// read as a whole.
    std::optional<std::pair<std::uint64_t, std::uint64_t>> whole_group(const std::string& key,
                                                                       std::uint64_t offset,
                                                                       std::uint64_t bytes) {
        const MutexLock lock(state_->mutex);
        const auto found = state_->readable.find(key);
        if (found == state_->readable.end() || !found->second.reads_whole_groups) {
            return std::nullopt;
        }
        std::uint64_t begin = 0;
        for (const auto& group : found->second.row_groups) {
            const auto end = static_cast<std::uint64_t>(group.byte_end);
            if (offset < end) {
                const bool fits = offset + bytes <= end && end - begin <= kWholeGroupBytesMax;
                return fits ? std::optional(std::pair(begin, end)) : std::nullopt;
            }
            begin = end;
        }
        return std::nullopt;
    }

    void read_from_group(ObjectHandle& handle,
                         const std::pair<std::uint64_t, std::uint64_t>& range,
                         void* buffer,
                         std::uint64_t offset,
                         std::uint64_t bytes) {
        {
            const MutexLock lock(handle.mutex);
            if (handle.group != nullptr && handle.group->begin == range.first) {
                std::memcpy(
                    buffer, (**handle.group->content).data() + (offset - range.first), bytes);
                return;
            }
        }
        auto group = std::make_unique<ObjectHandle::Group>(
            *state_->memory, range.first, range.second - range.first);
        group->content.emplace(fetch(handle.key, range.first, range.second - range.first));
        verify(handle, range.first, as_text(**group->content));
        std::memcpy(buffer, (**group->content).data() + (offset - range.first), bytes);
        const MutexLock lock(handle.mutex);
        std::swap(handle.group, group);
    }

    bool is_unwanted(const std::string& key, std::uint64_t offset, std::uint64_t bytes) {
        const MutexLock lock(state_->mutex);
        const auto found = state_->readable.find(key);
        return found != state_->readable.end() && found->second.is_unwanted(offset, bytes);
    }

    Content fetch(const std::string& key, std::uint64_t offset, std::uint64_t bytes) {
        auto content = get(key, offset, bytes);
        if ((*content).size() != bytes) {
            damaged(key, "it is shorter than the catalogue says");
        }
        return content;
    }

    Content get(const std::string& key, std::uint64_t offset, std::uint64_t bytes) {
        RequestContext context;
        std::shared_ptr<ScanCounters> counters;
        {
            const MutexLock lock(state_->mutex);
            context = state_->context;
            counters = state_->counters;
        }
        // The store's code does not expect allocations to fail.
        const QueryMemory::Scope uncounted(nullptr);
        auto content = state_->objects.get(context, key, offset, bytes);
        if (!content) {
            if (content.error().code() == ErrorCode::kNotFound) {
                damaged(key, "it is missing");
            }
            throw duckdb::IOException("read object: %s", content.error().message());
        }
        if (counters != nullptr) {
            ++counters->gets;
            counters->bytes += static_cast<std::int64_t>(content->size());
        }
        return Content(std::move(*content));
    }

    TailCache::Tail tail_of(const std::string& key, std::uint64_t offset, std::uint64_t bytes) {
        auto& cache = state_->tails;
        if (cache != nullptr) {
            if (auto known = cache->find(key); known != nullptr && known->size() == bytes) {
                return known;
            }
        }
        auto tail = fetch_tail(key, offset, bytes).share();
        if (cache != nullptr) {
            const QueryMemory::Scope uncounted(nullptr);
            cache->keep(key, tail);
        }
        return tail;
    }

    /// The end of an object: its size and its footer are verified, or the whole if it is small.
    Content fetch_tail(const std::string& key, std::uint64_t offset, std::uint64_t bytes) {
        auto content = get(key, offset, bytes + 1);
        const auto& tail = *content;
        if (tail.size() != bytes) {
            damaged(key,
                    tail.size() < bytes ? "it is shorter than the catalogue says"
                                        : "it is longer than the catalogue says");
        }
        const auto text = as_text(tail);
        if (offset == 0) {
            verify_hash(key, text, &ReadableObject::xxh3, "its hash is not the catalogue's");
        } else if (const auto footer = footer_bytes(tail); footer + kEndBytes <= bytes) {
            verify_footer(key, text.substr(bytes - kEndBytes - footer, footer));
        }
        return content;
    }

    static std::uint64_t footer_bytes(Bytes tail) {
        return tail.size() < kEndBytes ? 0 : load_le<std::uint32_t>(tail, tail.size() - kEndBytes);
    }

    void verify_footer(const std::string& key, std::string_view footer) {
        verify_hash(key,
                    footer,
                    &ReadableObject::footer_xxh3,
                    "the hash of its footer is not the catalogue's");
    }

    void verify_hash(const std::string& key,
                     std::string_view content,
                     std::uint64_t ReadableObject::* expected,
                     std::string_view what) {
        std::uint64_t hash = 0;
        {
            const MutexLock lock(state_->mutex);
            const auto found = state_->readable.find(key);
            hash = found == state_->readable.end() ? 0 : found->second.*expected;
        }
        if (hash != 0 && XXH3_64bits(content.data(), content.size()) != hash) {
            damaged(key, what);
        }
    }

    /// A footer that is larger than the tail is read by itself; everything else are column chunks.
    void verify(ObjectHandle& handle, std::uint64_t offset, std::string_view content) {
        {
            const MutexLock lock(handle.mutex);
            const auto footer = handle.tail == nullptr ? 0 : footer_bytes(*handle.tail);
            if (footer > 0 && offset + footer + kEndBytes == handle.size_bytes &&
                content.size() >= footer) {
                verify_footer(handle.key, content.substr(0, footer));
                return;
            }
        }
        std::vector<std::pair<std::uint64_t, std::uint64_t>> inside;
        {
            const MutexLock lock(state_->mutex);
            const auto found = state_->readable.find(handle.key);
            if (found == state_->readable.end()) {
                return;
            }
            const auto& chunks = found->second.chunks;
            for (auto chunk = std::ranges::lower_bound(chunks, std::pair(offset, offset));
                 chunk != chunks.end() && chunk->second <= offset + content.size();
                 ++chunk) {
                inside.push_back(*chunk);
            }
        }
        for (const auto& [begin, end] : inside) {
            if (const auto good = check_pages(content.substr(begin - offset, end - begin)); !good) {
                damaged(handle.key, good.error().message());
            }
        }
    }

    [[noreturn]] static void damaged(const std::string& key, std::string_view what) {
        const QueryMemory::Scope uncounted(nullptr);
        log_error("an object is damaged; its rows cannot be read",
                  {{"key", key}, {"finding", what}});
        const duckdb::unordered_map<duckdb::string, duckdb::string> extra = {{kDamagedObject, key}};
        throw duckdb::IOException("a part of the stream is damaged: " + std::string(what), extra);
    }

    std::shared_ptr<InstanceState> state_;
};

}  // namespace

void InstanceState::set_chunks(const std::string& path,
                               std::vector<std::pair<std::uint64_t, std::uint64_t>> chunks) {
    const MutexLock lock(mutex);
    const auto found = readable.find(path.substr(kScheme.size()));
    if (found != readable.end() && found->second.chunks.empty()) {
        found->second.chunks = std::move(chunks);
    }
}

void InstanceState::read_whole_groups(const std::string& path) {
    const MutexLock lock(mutex);
    if (const auto found = readable.find(path.substr(kScheme.size())); found != readable.end()) {
        found->second.reads_whole_groups = true;
    }
}

std::string object_path(const PartInfo& part) {
    const auto object = std::ranges::find(part.objects, "parquet", &PartObject::kind);
    return object == part.objects.end() ? std::string() : std::string(kScheme) + object->key;
}

void register_object_files(duckdb::DuckDB& database, const std::shared_ptr<InstanceState>& state) {
    database.instance->GetFileSystem().RegisterSubSystem(duckdb::make_uniq<ObjectFiles>(state));
}

}  // namespace molesignal
