#include "objectstore/s3_object_store.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <functional>
#include <optional>
#include <unordered_map>

#include <arrow/filesystem/s3fs.h>
#include <arrow/io/interfaces.h>
#include <arrow/status.h>
#include <arrow/util/io_util.h>
#include <arrow/util/key_value_metadata.h>
#include <fmt/format.h>

#include "common/failpoint.h"
#include "common/mutex.h"
#include "common/thread_pool.h"
#include "objectstore/retrying_object_store.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(s3_before_put);
MS_DEFINE_FAILPOINT(s3_before_complete);
MS_DEFINE_FAILPOINT(s3_after_complete);
MS_DEFINE_FAILPOINT(s3_before_remove);

/// How often a caller looks whether its request was cancelled.
constexpr std::chrono::milliseconds kCancelPoll{50};
constexpr std::uint64_t kCopyBytes = 4U << 20U;

bool contains_any(std::string_view text, std::initializer_list<std::string_view> words) {
    return std::ranges::any_of(
        words, [text](auto word) { return text.find(word) != std::string_view::npos; });
}

/// The client library says what went wrong in its text only: "AWS Error NO_SUCH_KEY during …".
ErrorCode code_of(const arrow::Status& status) {
    if (arrow::internal::ErrnoFromStatus(status) == ENOENT) {
        return ErrorCode::kNotFound;
    }
    const auto text = status.message();
    if (contains_any(text, {"Error NO_SUCH_KEY", "Error RESOURCE_NOT_FOUND", "HTTP status 404"})) {
        return ErrorCode::kNotFound;
    }
    if (contains_any(text,
                     {"Error ACCESS_DENIED",
                      "Error INVALID_ACCESS_KEY_ID",
                      "Error SIGNATURE_DOES_NOT_MATCH",
                      "Error INVALID_SIGNATURE",
                      "Error INVALID_CLIENT_TOKEN_ID",
                      "Error UNRECOGNIZED_CLIENT",
                      "Error MISSING_AUTHENTICATION_TOKEN",
                      "Error REQUEST_EXPIRED",
                      "Error REQUEST_TIME_TOO_SKEWED",
                      "HTTP status 401",
                      "HTTP status 403"})) {
        return ErrorCode::kForbidden;
    }
    if (contains_any(text, {"Error REQUEST_TIMEOUT", "curlCode: 28"})) {
        return ErrorCode::kTimeout;
    }
    if (status.IsInvalid()) {
        return ErrorCode::kInvalidArgument;
    }
    return ErrorCode::kUnavailable;
}

Error error_of(const arrow::Status& status, std::string_view doing, std::string_view key) {
    return {code_of(status), fmt::format("s3: {} {}: {}", doing, key, status.message())};
}

/// The client library repeats nothing; RetryingObjectStore does, within the budget.
class NoRetry final : public arrow::fs::S3RetryStrategy {
public:
    bool ShouldRetry(const AWSErrorDetail&, std::int64_t) override { return false; }
    std::int64_t CalculateDelayBeforeNextRetry(const AWSErrorDetail&, std::int64_t) override {
        return 0;
    }
};

/// An ETag that is the MD5 of the content, or looks like it; empty for those of multipart uploads.
std::string md5_of_etag(std::string_view etag) {
    constexpr std::size_t kDigits = 32;
    if (etag.size() == kDigits + 2 && etag.front() == '"' && etag.back() == '"') {
        etag = etag.substr(1, kDigits);
    }
    const bool is_md5 = etag.size() == kDigits && std::ranges::all_of(etag, [](char c) {
                            return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                        });
    return is_md5 ? std::string(etag) : std::string();
}

/// Sizes of objects by key, so that a read need not ask for them first: objects never change.
/// Forgets the oldest. Thread-safe.
class SizeCache {
public:
    void put(const std::string& key, std::uint64_t size) {
        constexpr std::size_t kEntriesMax = 1U << 16U;
        const MutexLock lock(mutex_);
        if (sizes_.insert_or_assign(key, size).second) {
            order_.push_back(key);
        }
        while (order_.size() > kEntriesMax) {
            sizes_.erase(order_.front());
            order_.pop_front();
        }
    }
    void forget(const std::string& key) {
        const MutexLock lock(mutex_);
        sizes_.erase(key);
    }
    std::optional<std::uint64_t> get(const std::string& key) {
        const MutexLock lock(mutex_);
        const auto found = sizes_.find(key);
        return found == sizes_.end() ? std::nullopt : std::optional(found->second);
    }

private:
    Mutex mutex_;
    std::unordered_map<std::string, std::uint64_t> sizes_ MS_GUARDED_BY(mutex_);
    std::deque<std::string> order_ MS_GUARDED_BY(mutex_);
};

/// One attempt of each operation.
class S3Bucket final : public ObjectStore {
public:
    S3Bucket(std::shared_ptr<arrow::fs::S3FileSystem> client,
             const S3Options& options,
             std::string root,
             FileSystem& fs,
             Clock& clock)
        : client_(std::move(client)),
          max_concurrency_(options.max_concurrency),
          root_(std::move(root)),
          fs_(fs),
          clock_(clock),
          pool_({.name = "s3",
                 .threads_max = options.max_concurrency,
                 .queue_tasks_max = options.max_concurrency,
                 .setting = "store.object.max_concurrency"}) {}

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
    std::string describe() const override { return "s3 " + root_; }

private:
    template <class Value>
    struct Job {
        Mutex mutex;
        CondVar done;
        std::optional<Result<Value>> result MS_GUARDED_BY(mutex);
    };

    std::string path_of(std::string_view key) const { return fmt::format("{}/{}", root_, key); }
    Result<> take_slot(const RequestContext& context);
    void give_slot_back();
    template <class Value>
    Result<Value> run(const RequestContext& context, std::function<Result<Value>()> work);
    Result<> upload(const std::string& key,
                    const std::function<Result<>(arrow::io::OutputStream&)>& fill);
    Result<std::shared_ptr<arrow::io::RandomAccessFile>> open_input(const std::string& key);
    Result<bool> bucket_exists();

    std::shared_ptr<arrow::fs::S3FileSystem> client_;
    std::size_t max_concurrency_;
    std::string root_;  ///< "bucket" or "bucket/prefix".
    FileSystem& fs_;
    Clock& clock_;
    SizeCache sizes_;
    Mutex mutex_;
    CondVar slot_free_;
    std::size_t slots_taken_ MS_GUARDED_BY(mutex_) = 0;
    ThreadPool pool_;  ///< Last: its destructor waits for work that uses the rest.
};

Result<> S3Bucket::take_slot(const RequestContext& context) {
    const MutexLock lock(mutex_);
    while (slots_taken_ >= max_concurrency_) {
        if (auto checked = context.check(); !checked) {
            return std::move(checked).error().wrap(
                fmt::format("waiting for one of {} operations (store.object.max_concurrency)",
                            max_concurrency_));
        }
        clock_.wait_until(
            mutex_, slot_free_, std::min(context.deadline, clock_.steady_now() + kCancelPoll));
    }
    MS_TRY_VOID(context.check());
    ++slots_taken_;
    return {};
}

void S3Bucket::give_slot_back() {
    const MutexLock lock(mutex_);
    --slots_taken_;
    slot_free_.notify_one();
}

template <class Value>
Result<Value> S3Bucket::run(const RequestContext& context, std::function<Result<Value>()> work) {
    MS_TRY_VOID(take_slot(context));
    auto job = std::make_shared<Job<Value>>();
    auto submitted = pool_.submit([this, job, work = std::move(work)] {
        const auto attempt = [&work]() -> Result<Value> {
            try {
                return work();
            } catch (const std::exception& e) {
                return Error(ErrorCode::kUnavailable, fmt::format("s3: {}", e.what()));
            }
        };
        auto result = attempt();
        give_slot_back();
        auto& shared = *job;
        const MutexLock lock(shared.mutex);
        shared.result.emplace(std::move(result));
        shared.done.notify_all();
    });
    if (!submitted) {
        give_slot_back();
        return std::move(submitted).error();
    }
    auto& shared = *job;
    const MutexLock lock(shared.mutex);
    while (!shared.result.has_value()) {
        MS_TRY_VOID(context.check());
        clock_.wait_until(shared.mutex,
                          shared.done,
                          std::min(context.deadline, clock_.steady_now() + kCancelPoll));
    }
    return std::move(*shared.result);
}

Result<> S3Bucket::upload(const std::string& key,
                          const std::function<Result<>(arrow::io::OutputStream&)>& fill) {
    MS_PASS_FAILPOINT(s3_before_put);
    sizes_.forget(key);
    auto opened = client_->OpenOutputStream(path_of(key), nullptr);
    if (!opened.ok()) {
        return error_of(opened.status(), "put", key);
    }
    const auto stream = *std::move(opened);
    const auto finish = [&]() -> Result<> {
        MS_TRY_VOID(fill(*stream));
        MS_PASS_FAILPOINT(s3_before_complete);
        if (const auto closed = stream->Close(); !closed.ok()) {
            return error_of(closed, "put", key);
        }
        return {};
    };
    if (auto finished = finish(); !finished) {
        // Without this the destructor would complete an upload that lacks its end. After a failed
        // Close it does nothing: the library has forgotten the upload then, and its parts stay
        // until the bucket's lifecycle rule for incomplete uploads removes them.
        (void)stream->Abort();
        return finished;
    }
    MS_PASS_FAILPOINT(s3_after_complete);
    return {};
}

Result<> S3Bucket::put(const RequestContext& context, std::string_view key, Bytes body) {
    MS_TRY_VOID(check_object_key(key));
    // A copy, because the caller may leave before the library is done with it.
    auto copy = std::make_shared<const ByteBuffer>(body.begin(), body.end());
    return run<void>(context, [this, copy, name = std::string(key)] {
        return upload(name, [&](arrow::io::OutputStream& stream) -> Result<> {
            const auto written =
                stream.Write(copy->data(), static_cast<std::int64_t>(copy->size()));
            return written.ok() ? Result<>() : error_of(written, "put", name);
        });
    });
}

Result<> S3Bucket::put_file(const RequestContext& context,
                            std::string_view key,
                            const std::string& path) {
    MS_TRY_VOID(check_object_key(key));
    return run<void>(context, [this, context, path, name = std::string(key)]() -> Result<> {
        MS_TRY(const auto source, fs_.open(path, OpenMode::kRead));
        return upload(name, [&](arrow::io::OutputStream& stream) -> Result<> {
            ByteBuffer buffer(kCopyBytes);
            for (std::uint64_t offset = 0;;) {
                MS_TRY_VOID(context.check());
                MS_TRY(const auto got, source->read_at(offset, buffer));
                if (got == 0) {
                    return {};
                }
                const auto written = stream.Write(buffer.data(), static_cast<std::int64_t>(got));
                if (!written.ok()) {
                    return error_of(written, "put", name);
                }
                offset += got;
            }
        });
    });
}

/// The object for reading: one request for its size, or none if that is known.
Result<std::shared_ptr<arrow::io::RandomAccessFile>> S3Bucket::open_input(const std::string& key) {
    arrow::fs::FileInfo info(path_of(key), arrow::fs::FileType::File);
    const auto known = sizes_.get(key);
    if (known.has_value()) {
        info.set_size(static_cast<std::int64_t>(*known));
    }
    auto opened = client_->OpenInputFile(info);
    if (!opened.ok()) {
        return error_of(opened.status(), "get", key);
    }
    if (!known.has_value()) {
        const auto size = (*opened)->GetSize();
        if (!size.ok()) {
            return error_of(size.status(), "get", key);
        }
        sizes_.put(key, static_cast<std::uint64_t>(*size));
    }
    return *std::move(opened);
}

Result<ByteBuffer> S3Bucket::get(const RequestContext& context,
                                 std::string_view key,
                                 std::uint64_t offset,
                                 std::uint64_t length) {
    MS_TRY_VOID(check_object_key(key));
    return run<ByteBuffer>(
        context, [this, offset, length, name = std::string(key)]() -> Result<ByteBuffer> {
            MS_TRY(const auto file, open_input(name));
            const auto sized = file->GetSize();
            if (!sized.ok()) {
                return error_of(sized.status(), "get", name);
            }
            const auto size = static_cast<std::uint64_t>(*sized);
            if (offset > size) {
                return Error(
                    ErrorCode::kInvalidArgument,
                    fmt::format("object {} has {} bytes, wanted from {}", name, size, offset));
            }
            ByteBuffer content(std::min(length, size - offset));
            if (content.empty()) {
                return content;
            }
            const auto got = file->ReadAt(static_cast<std::int64_t>(offset),
                                          static_cast<std::int64_t>(content.size()),
                                          content.data());
            if (!got.ok()) {
                sizes_.forget(name);
                return error_of(got.status(), "get", name);
            }
            if (static_cast<std::uint64_t>(*got) != content.size()) {
                return Error(ErrorCode::kUnavailable,
                             fmt::format("s3: get {}: {} of {} bytes", name, *got, content.size()));
            }
            return content;
        });
}

Result<std::optional<ObjectMeta>> S3Bucket::head(const RequestContext& context,
                                                 std::string_view key) {
    MS_TRY_VOID(check_object_key(key));
    using Found = std::optional<ObjectMeta>;
    return run<Found>(context, [this, name = std::string(key)]() -> Result<Found> {
        // One request, where GetFileInfo would also look for a folder of this name.
        const auto opened = client_->OpenInputFile(path_of(name));
        if (!opened.ok()) {
            auto error = error_of(opened.status(), "head", name);
            if (error.code() == ErrorCode::kNotFound) {
                return Found();
            }
            return error;
        }
        const auto size = (*opened)->GetSize();
        if (!size.ok()) {
            return error_of(size.status(), "head", name);
        }
        ObjectMeta meta{.key = name, .size_bytes = static_cast<std::uint64_t>(*size)};
        sizes_.put(name, meta.size_bytes);
        if (const auto metadata = (*opened)->ReadMetadata();
            metadata.ok() && *metadata != nullptr) {
            meta.md5_hex = md5_of_etag((*metadata)->Get("ETag").ValueOr(""));
        }
        return Found(std::move(meta));
    });
}

Result<> S3Bucket::list(const RequestContext& context,
                        std::string_view prefix,
                        const std::function<bool(const ObjectMeta&)>& visit) {
    using Objects = std::vector<ObjectMeta>;
    auto listed = run<Objects>(context, [this, wanted = std::string(prefix)]() -> Result<Objects> {
        arrow::fs::FileSelector selector;
        const auto slash = wanted.rfind('/');
        selector.base_dir = slash == std::string::npos ? root_ : path_of(wanted.substr(0, slash));
        selector.recursive = true;
        selector.allow_not_found = true;
        const auto infos = client_->GetFileInfo(selector);
        if (!infos.ok()) {
            return error_of(infos.status(), "list", wanted);
        }
        Objects objects;
        for (const auto& info : *infos) {
            if (!info.IsFile()) {
                continue;
            }
            auto key = info.path().substr(root_.size() + 1);
            if (key.starts_with(wanted)) {
                objects.push_back(
                    {.key = std::move(key), .size_bytes = static_cast<std::uint64_t>(info.size())});
            }
        }
        // Not every server lists in key order.
        std::ranges::sort(objects, {}, &ObjectMeta::key);
        return objects;
    });
    if (!listed) {
        return std::move(listed).error();
    }
    for (const auto& object : *listed) {
        MS_TRY_VOID(context.check());
        if (!visit(object)) {
            break;
        }
    }
    return {};
}

Result<bool> S3Bucket::bucket_exists() {
    const auto bucket = root_.substr(0, root_.find('/'));
    const auto info = client_->GetFileInfo(bucket);
    if (!info.ok()) {
        return error_of(info.status(), "look for the bucket", bucket);
    }
    return info->type() != arrow::fs::FileType::NotFound;
}

Result<> S3Bucket::remove(const RequestContext& context, std::string_view key) {
    MS_TRY_VOID(check_object_key(key));
    return run<void>(context, [this, name = std::string(key)]() -> Result<> {
        MS_PASS_FAILPOINT(s3_before_remove);
        sizes_.forget(name);
        const auto removed = client_->DeleteFile(path_of(name));
        if (removed.ok()) {
            return {};
        }
        auto error = error_of(removed, "remove", name);
        if (error.code() != ErrorCode::kNotFound) {
            return error;
        }
        // A wrong endpoint or a lost bucket says "not found" too: then nothing was removed.
        MS_TRY(const auto exists, bucket_exists());
        if (!exists) {
            return Error(ErrorCode::kUnavailable, error.message() + ": there is no such bucket");
        }
        return {};
    });
}

Error bad_setting(std::string_view setting, std::string_view why) {
    return {ErrorCode::kInvalidArgument, fmt::format("store.object.{}: {}", setting, why)};
}

/// "bucket" or "bucket/prefix".
Result<std::string> check_root(const S3Options& options) {
    if (options.bucket.empty() || options.bucket.find('/') != std::string::npos) {
        return bad_setting("bucket", fmt::format("'{}' is no name of a bucket", options.bucket));
    }
    const auto first = options.prefix.find_first_not_of('/');
    if (first == std::string::npos) {
        return options.bucket;
    }
    const auto last = options.prefix.find_last_not_of('/');
    const auto prefix = options.prefix.substr(first, last - first + 1);
    if (auto checked = check_object_key(prefix); !checked) {
        return bad_setting("prefix", checked.error().message());
    }
    return options.bucket + "/" + prefix;
}

Result<> set_endpoint(const S3Options& options, arrow::fs::S3Options& client) {
    client.region = options.region;
    client.force_virtual_addressing = !options.path_style;
    if (options.endpoint.empty()) {
        if (options.path_style) {
            // Without an endpoint the library puts the bucket into the host name.
            client.endpoint_override = fmt::format("s3.{}.amazonaws.com", options.region);
        }
        return {};
    }
    const auto scheme_end = options.endpoint.find("://");
    const auto scheme = options.endpoint.substr(0, scheme_end);
    if (scheme_end == std::string::npos || (scheme != "http" && scheme != "https")) {
        return bad_setting("endpoint",
                           fmt::format("'{}' is no URL; write http://HOST:PORT or https://HOST",
                                       options.endpoint));
    }
    auto host = options.endpoint.substr(scheme_end + 3);
    if (host.ends_with('/')) {
        host.pop_back();
    }
    if (host.empty() || host.find_first_of("/?#@") != std::string::npos) {
        return bad_setting(
            "endpoint",
            fmt::format("'{}' must be a scheme, a host and a port only", options.endpoint));
    }
    client.scheme = scheme;
    client.endpoint_override = host;
    return {};
}

}  // namespace

Result<std::unique_ptr<S3Library>> S3Library::start() {
    if (arrow::fs::IsS3Initialized() || arrow::fs::IsS3Finalized()) {
        return Error(ErrorCode::kConflict, "the S3 library was started before in this process");
    }
    arrow::fs::S3GlobalOptions global{};
    global.log_level = arrow::fs::S3LogLevel::Fatal;
    if (const auto status = arrow::fs::InitializeS3(global); !status.ok()) {
        return Error(ErrorCode::kInternal, "start of the S3 library: " + status.message());
    }
    return std::unique_ptr<S3Library>(new S3Library());
}

S3Library::~S3Library() {
    (void)arrow::fs::FinalizeS3();
}

Result<std::unique_ptr<ObjectStore>> S3ObjectStore::open(const S3Options& options,
                                                         FileSystem& fs,
                                                         Clock& clock,
                                                         Random& random) {
    MS_TRY(auto root, check_root(options));
    if (options.max_concurrency == 0) {
        return bad_setting("max_concurrency", "must be at least 1");
    }
    if (options.access_key.empty() != options.secret_key.empty()) {
        return bad_setting("secret_key", "access_key and secret_key are given together or not");
    }
    auto client_options = options.access_key.empty() ? arrow::fs::S3Options::Defaults()
                                                     : arrow::fs::S3Options::FromAccessKey(
                                                           options.access_key, options.secret_key);
    MS_TRY_VOID(set_endpoint(options, client_options));
    constexpr double kConnectSecondsMax = 5;
    const auto seconds = std::chrono::duration<double>(options.op_timeout).count();
    client_options.request_timeout = seconds;
    client_options.connect_timeout = std::min(seconds, kConnectSecondsMax);
    client_options.background_writes = false;
    client_options.allow_delayed_open = true;  // A small object is one request, not three.
    client_options.retry_strategy = std::make_shared<NoRetry>();
    auto client = arrow::fs::S3FileSystem::Make(client_options);
    if (!client.ok()) {
        return Error(code_of(client.status()), "s3: " + client.status().message());
    }
    auto bucket =
        std::make_unique<S3Bucket>(*std::move(client), options, std::move(root), fs, clock);
    return std::unique_ptr<ObjectStore>(
        std::make_unique<RetryingObjectStore>(std::move(bucket),
                                              RetryOptions{.op_timeout = options.op_timeout,
                                                           .max_attempts = options.max_attempts,
                                                           .base_backoff = options.base_backoff,
                                                           .max_backoff = options.max_backoff,
                                                           .jitter_ratio = options.jitter_ratio},
                                              clock,
                                              random));
}

}  // namespace molesignal
