// `ms://<key>`: objects of the store as files that DuckDB reads, with counters and the query's
// deadline.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>

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
/// Larger footers are read anew by each query.
constexpr std::uint64_t kFooterBytesMax = 16U << 20U;
/// A Parquet file ends with the footer's length and "PAR1".
constexpr std::uint64_t kEndBytes = 8;

class ObjectFiles;
using Range = std::pair<std::uint64_t, std::uint64_t>;

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

/// What a reader answered. It was allocated for nobody, so it is freed for nobody: freed as the
/// query's, it would be taken off what the query has.
class Content {
public:
    explicit Content(SharedBytes read) : read_(std::move(read)) {}
    ~Content() {
        const QueryMemory::Scope uncounted(nullptr);
        read_.owner = nullptr;
    }
    Content(Content&&) noexcept = default;
    Content& operator=(Content&&) = delete;
    Bytes bytes() const { return read_.bytes; }
    void replace(Content other) { std::swap(read_, other.read_); }

private:
    SharedBytes read_;
};

class ObjectHandle final : public duckdb::FileHandle {
public:
    ObjectHandle(duckdb::FileSystem& files,
                 const std::string& path,
                 duckdb::FileOpenFlags flags,
                 const ReadableObject& readable)
        : FileHandle(files, path, flags),
          object{
              .key = path.substr(kScheme.size()), .bytes = readable.bytes, .xxh3 = readable.xxh3} {}
    ~ObjectHandle() override {
        const QueryMemory::Scope uncounted(nullptr);
        const MutexLock lock(mutex);
        tail = nullptr;
    }
    void Close() override {}

    const ObjectName object;
    std::uint64_t position = 0;
    Mutex mutex;
    /// The verified end, with the whole footer; null before its first use.
    std::shared_ptr<const ByteBuffer> tail MS_GUARDED_BY(mutex);
    /// The extent that was read last.
    struct Extent {
        Extent(QueryMemory& memory, const Range& range)
            : counted(memory, range.second - range.first), begin(range.first) {}
        CountedBytes counted;
        std::uint64_t begin;
        std::optional<Content> content;
        std::set<std::uint64_t> verified;  ///< Begins of column chunks.
    };
    std::unique_ptr<Extent> extent MS_GUARDED_BY(mutex);
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
        return duckdb::make_uniq<ObjectHandle>(*this, path, flags, found->second);
    }

    void Read(duckdb::FileHandle& file,
              void* buffer,
              int64_t count,
              duckdb::idx_t offset) override {
        auto& handle = file.Cast<ObjectHandle>();
        const auto bytes = static_cast<std::uint64_t>(count);
        if (offset > handle.object.bytes || bytes > handle.object.bytes - offset) {
            throw duckdb::IOException("read past the end of object '%s'", handle.object.key);
        }
        note_read(handle.object.key, offset, bytes);
        if (read_from_tail(handle, buffer, offset, bytes)) {
            return;
        }
        if (const auto extent = extent_of(handle.object.key, offset, bytes)) {
            read_from_extent(handle, *extent, buffer, offset, bytes);
            return;
        }
        // Until it is copied to where DuckDB wants it.
        const CountedBytes counted(*state_->memory, bytes);
        std::set<std::uint64_t> verified;
        auto content = read(handle.object, offset, bytes);
        check(handle, offset, offset, bytes, content, verified);
        std::memcpy(buffer, content.bytes().data(), bytes);
    }

    int64_t Read(duckdb::FileHandle& file, void* buffer, int64_t count) override {
        auto& handle = file.Cast<ObjectHandle>();
        const auto left = handle.object.bytes - std::min(handle.object.bytes, handle.position);
        const auto bytes = std::min<std::uint64_t>(static_cast<std::uint64_t>(count), left);
        Read(file, buffer, static_cast<int64_t>(bytes), handle.position);
        handle.position += bytes;
        return static_cast<int64_t>(bytes);
    }

    int64_t GetFileSize(duckdb::FileHandle& file) override {
        return static_cast<int64_t>(file.Cast<ObjectHandle>().object.bytes);
    }
    // Objects never change: one time and one version for ever.
    duckdb::timestamp_t GetLastModifiedTime(duckdb::FileHandle&) override {
        return duckdb::timestamp_t(0);
    }
    duckdb::string GetVersionTag(duckdb::FileHandle& file) override {
        return file.Cast<ObjectHandle>().object.key;
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

    /// The extent that a range lies in, if any.
    std::optional<Range> extent_of(const std::string& key,
                                   std::uint64_t offset,
                                   std::uint64_t bytes) {
        const MutexLock lock(state_->mutex);
        const auto found = state_->readable.find(key);
        if (found == state_->readable.end()) {
            return std::nullopt;
        }
        const auto& extents = found->second.extents;
        const auto next = std::ranges::upper_bound(extents, offset, {}, &Range::second);
        const bool fits =
            next != extents.end() && next->first <= offset && offset + bytes <= next->second;
        return fits ? std::optional(*next) : std::nullopt;
    }

    void read_from_extent(ObjectHandle& handle,
                          const Range& range,
                          void* buffer,
                          std::uint64_t offset,
                          std::uint64_t bytes) {
        std::unique_ptr<ObjectHandle::Extent> extent;
        {
            const MutexLock lock(handle.mutex);
            std::swap(extent, handle.extent);
        }
        if (extent == nullptr || extent->begin != range.first) {
            extent = nullptr;  // Its memory is for the next one.
            extent = std::make_unique<ObjectHandle::Extent>(*state_->memory, range);
            read_ahead(handle.object, range);
            extent->content.emplace(read(handle.object, range.first, range.second - range.first));
        }
        auto& content = *extent->content;
        check(handle, range.first, offset, bytes, content, extent->verified);
        std::memcpy(buffer, content.bytes().data() + (offset - range.first), bytes);
        const MutexLock lock(handle.mutex);
        std::swap(handle.extent, extent);
    }

    /// Begins to fetch extents behind `range` that some scan wants: one after the first that the
    /// query reads of the object, and more of them the longer it reads on.
    void read_ahead(const ObjectName& object, const Range& range) {
        if (!state_->reader->reads_ahead()) {
            return;
        }
        const QueryMemory::Scope uncounted(nullptr);
        const auto [context, counters] = query();
        for (const auto& [begin, end] : next_extents(object.key, range, counters.get())) {
            state_->reader->read_ahead(
                context, object, begin, end - begin, [kept = counters](const ReadTally& tally) {
                    if (kept != nullptr) {
                        kept->gets += tally.gets;
                        kept->bytes += tally.bytes;
                    }
                });
        }
    }

    std::vector<Range> next_extents(const std::string& key,
                                    const Range& range,
                                    const ScanCounters* query) {
        constexpr std::size_t kExtentsMax = 4;
        std::vector<Range> next;
        const MutexLock lock(state_->mutex);
        const auto found = state_->readable.find(key);
        if (found == state_->readable.end()) {
            return next;
        }
        if (std::exchange(ahead_query_, query) != query) {
            ahead_.clear();
        }
        auto& ahead = ahead_[key];
        const auto distance = std::min(++ahead.reads, kExtentsMax);
        const auto& readable = found->second;
        std::size_t passed = 0;
        for (auto extent = std::ranges::upper_bound(readable.extents, range);
             extent != readable.extents.end() && passed < distance;
             ++extent) {
            ++passed;
            if (extent->first >= ahead.end) {
                next.push_back(*extent);
                ahead.end = extent->second;
            }
        }
        return next;
    }

    Content read(const ObjectName& object, std::uint64_t offset, std::uint64_t bytes) {
        // The reader's code does not expect allocations to fail.
        const QueryMemory::Scope uncounted(nullptr);
        const auto [context, counters] = query();
        ReadTally tally;
        auto content = state_->reader->read(context, object, offset, bytes, tally);
        if (counters != nullptr) {
            counters->add(tally);
        }
        if (!content) {
            fail(object.key, content.error());
        }
        return Content(std::move(*content));
    }

    std::pair<RequestContext, std::shared_ptr<ScanCounters>> query() {
        const MutexLock lock(state_->mutex);
        return {state_->context, state_->counters};
    }

    [[noreturn]] static void fail(const std::string& key, const Error& error) {
        if (error.code() == ErrorCode::kNotFound) {
            throw_damaged(key, "it is missing");
        }
        if (error.code() == ErrorCode::kCorruption) {
            throw_damaged(key, error.message());
        }
        throw duckdb::IOException("read object: %s", error.message());
    }

    bool read_from_tail(ObjectHandle& handle,
                        void* buffer,
                        std::uint64_t offset,
                        std::uint64_t bytes) {
        const auto size = handle.object.bytes;
        const MutexLock lock(handle.mutex);
        if (handle.tail == nullptr) {
            if (offset < size - std::min(size, kTailBytes)) {
                return false;
            }
            handle.tail = tail_of(handle.object);
        }
        const auto begin = size - handle.tail->size();
        if (offset < begin) {
            return false;
        }
        std::memcpy(buffer, handle.tail->data() + (offset - begin), bytes);
        return true;
    }

    /// The end of an object, verified: its size, and its hash if it is small, else its footer's.
    std::shared_ptr<const ByteBuffer> tail_of(const ObjectName& object) {
        const QueryMemory::Scope uncounted(nullptr);
        const auto [context, counters] = query();
        ReadTally tally;
        const auto tail = state_->reader->load(
            context,
            object,
            CachedKind::kFooter,
            [&]() -> Result<ObjectReader::Loaded> {
                MS_TRY(auto read, read_tail(context, object, tally));
                if (const auto problem = tail_problem(object, read.bytes); problem != nullptr) {
                    state_->reader->forget(object.key);
                    MS_TRY(read, read_tail(context, object, tally));
                    if (const auto* const again = tail_problem(object, read.bytes)) {
                        state_->reader->forget(object.key);
                        return Error(ErrorCode::kCorruption, again);
                    }
                }
                const auto& bytes = read.bytes;
                auto kept = std::make_shared<const ByteBuffer>(bytes.begin(), bytes.end());
                const bool is_whole = footer_bytes(bytes) + kEndBytes <= bytes.size();
                return ObjectReader::Loaded{std::move(kept), is_whole ? bytes.size() : 0};
            },
            tally);
        if (counters != nullptr) {
            counters->add(tally);
        }
        if (!tail) {
            fail(object.key, tail.error());
        }
        return std::static_pointer_cast<const ByteBuffer>(*tail);
    }

    /// The last bytes, and all of the footer.
    Result<SharedBytes> read_tail(const RequestContext& context,
                                  const ObjectName& object,
                                  ReadTally& tally) {
        auto bytes = std::min(object.bytes, kTailBytes);
        MS_TRY(auto read,
               state_->reader->read(context, object, object.bytes - bytes, bytes, tally));
        const auto wanted = footer_bytes(read.bytes) + kEndBytes;
        if (wanted <= bytes || wanted > std::min(object.bytes, kFooterBytesMax)) {
            return read;
        }
        return state_->reader->read(context, object, object.bytes - wanted, wanted, tally);
    }

    /// Null: none is known.
    const char* tail_problem(const ObjectName& object, Bytes tail) {
        if (tail.size() == object.bytes) {
            return has_hash(object.key, tail, &ReadableObject::xxh3)
                       ? nullptr
                       : "its hash is not the catalogue's";
        }
        const auto footer = footer_bytes(tail);
        if (footer + kEndBytes > object.bytes) {
            return "its footer is longer than the object";
        }
        const bool is_good = footer + kEndBytes > tail.size() ||
                             has_hash(object.key,
                                      tail.subspan(tail.size() - kEndBytes - footer, footer),
                                      &ReadableObject::footer_xxh3);
        return is_good ? nullptr : kWrongFooter;
    }

    static constexpr const char* kWrongFooter = "the hash of its footer is not the catalogue's";

    static std::uint64_t footer_bytes(Bytes tail) {
        return tail.size() < kEndBytes ? 0 : load_le<std::uint32_t>(tail, tail.size() - kEndBytes);
    }

    bool has_hash(const std::string& key, Bytes content, std::uint64_t ReadableObject::* expected) {
        std::uint64_t hash = 0;
        {
            const MutexLock lock(state_->mutex);
            const auto found = state_->readable.find(key);
            hash = found == state_->readable.end() ? 0 : found->second.*expected;
        }
        return hash == 0 || XXH3_64bits(content.data(), content.size()) == hash;
    }

    /// Verifies what [offset, offset + bytes) needs of `content`, which begins at `begin`. What is
    /// not right may have been damaged in a cache or on its way: it is read once more first.
    void check(ObjectHandle& handle,
               std::uint64_t begin,
               std::uint64_t offset,
               std::uint64_t bytes,
               Content& content,
               std::set<std::uint64_t>& verified) {
        auto problem = find_problem(handle, begin, {offset, offset + bytes}, content, verified);
        if (problem) {
            forget(handle.object.key);
            content.replace(read(handle.object, begin, content.bytes().size()));
            verified.clear();
            problem = find_problem(handle, begin, {offset, offset + bytes}, content, verified);
        }
        if (problem) {
            forget(handle.object.key);
            throw_damaged(handle.object.key, *problem);
        }
    }

    void forget(const std::string& key) {
        const QueryMemory::Scope uncounted(nullptr);
        state_->reader->forget(key);
    }

    /// A footer that is too large for the tail is read by itself; everything else are column
    /// chunks.
    std::optional<std::string> find_problem(ObjectHandle& handle,
                                            std::uint64_t begin,
                                            const Range& range,
                                            const Content& content,
                                            std::set<std::uint64_t>& verified) {
        const auto bytes = content.bytes();
        {
            const MutexLock lock(handle.mutex);
            const auto footer = handle.tail == nullptr ? 0 : footer_bytes(*handle.tail);
            if (footer > 0 && begin + footer + kEndBytes == handle.object.bytes &&
                bytes.size() >= footer) {
                return has_hash(
                           handle.object.key, bytes.first(footer), &ReadableObject::footer_xxh3)
                           ? std::nullopt
                           : std::optional<std::string>(kWrongFooter);
            }
        }
        for (const auto& [from, to] : chunks_of(handle.object.key, range)) {
            if (from < begin || to > begin + bytes.size() || !verified.insert(from).second) {
                continue;
            }
            if (const auto good = check_pages(as_text(bytes.subspan(from - begin, to - from)));
                !good) {
                return good.error().message();
            }
        }
        return std::nullopt;
    }

    /// The column chunks that a range touches.
    std::vector<Range> chunks_of(const std::string& key, const Range& range) {
        const MutexLock lock(state_->mutex);
        const auto found = state_->readable.find(key);
        if (found == state_->readable.end()) {
            return {};
        }
        const auto& chunks = found->second.chunks;
        const auto first = std::ranges::upper_bound(chunks, range.first, {}, &Range::second);
        const auto last = std::ranges::lower_bound(chunks, range.second, {}, &Range::first);
        return first < last ? std::vector<Range>(first, last) : std::vector<Range>();
    }

    std::shared_ptr<InstanceState> state_;
    /// How far an object is being read ahead.
    struct Ahead {
        std::size_t reads = 0;
        std::uint64_t end = 0;
    };
    // Guarded by state_->mutex.
    std::map<std::string, Ahead> ahead_;  ///< By key; of `ahead_query_`.
    const ScanCounters* ahead_query_ = nullptr;
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

void InstanceState::read_together(const std::string& path, const std::vector<Range>& extents) {
    const MutexLock lock(mutex);
    const auto found = readable.find(path.substr(kScheme.size()));
    if (found == readable.end()) {
        return;
    }
    auto& all = found->second.extents;
    all.insert(all.end(), extents.begin(), extents.end());
    std::ranges::sort(all);
    // Several scans read the object: what overlaps becomes one.
    std::vector<Range> apart;
    for (const auto& extent : all) {
        if (!apart.empty() && extent.first < apart.back().second) {
            apart.back().second = std::max(apart.back().second, extent.second);
        } else {
            apart.push_back(extent);
        }
    }
    all = std::move(apart);
}

std::string object_path(const PartInfo& part) {
    const auto object = std::ranges::find(part.objects, "parquet", &PartObject::kind);
    return object == part.objects.end() ? std::string() : std::string(kScheme) + object->key;
}

void register_object_files(duckdb::DuckDB& database, const std::shared_ptr<InstanceState>& state) {
    database.instance->GetFileSystem().RegisterSubSystem(duckdb::make_uniq<ObjectFiles>(state));
}

}  // namespace molesignal
