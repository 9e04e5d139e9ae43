#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/random.h"
#include "objectstore/object_store.h"

namespace molesignal {

struct RetryOptions {
    std::chrono::nanoseconds op_timeout = std::chrono::seconds(30);  ///< Of all attempts together.
    /// A put has as much more time as its body takes at this rate: a large part over a slow line
    /// would never get through otherwise.
    std::uint64_t put_bytes_per_second_min = 1U << 20U;
    int max_attempts = 4;  ///< The first one included.
    std::chrono::nanoseconds base_backoff = std::chrono::milliseconds(100);
    std::chrono::nanoseconds max_backoff = std::chrono::seconds(5);
    double jitter_ratio = 0.2;  ///< A wait of w lasts between w and w * (1 + ratio).
    /// Retries that one operation earns; with 0.2 a broken store gets at most 20 % more requests.
    double budget_ratio = 0.2;
    double budget_retries_max = 10;  ///< Retries saved up; also the balance at the start.
};

/// Repeats operations that failed with kUnavailable, or with kTimeout while there is time left.
///
/// Waits double from base_backoff to max_backoff, with jitter, within the context's deadline and
/// the operation's own time-out. When the common budget is used up, the first error is the answer.
/// Thread-safe.
class RetryingObjectStore final : public ObjectStore {
public:
    /// `clock` and `random` outlive the store.
    RetryingObjectStore(std::unique_ptr<ObjectStore> base,
                        const RetryOptions& options,
                        Clock& clock,
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
    std::string describe() const override { return base_->describe(); }

private:
    template <class Outcome, class Call>
    Outcome run(const RequestContext& context,
                std::string_view what,
                std::chrono::nanoseconds time_max,
                const Call& call);
    std::chrono::nanoseconds time_for(std::uint64_t bytes) const;
    void earn_retry();
    bool spend_retry();
    std::chrono::nanoseconds backoff(int attempt);
    /// Waits for `how_long` or until the context ends.
    Result<> wait(const RequestContext& context, std::chrono::nanoseconds how_long);

    std::unique_ptr<ObjectStore> base_;
    RetryOptions options_;
    Clock& clock_;
    Random& random_;
    Mutex mutex_;
    double budget_ MS_GUARDED_BY(mutex_);
};

}  // namespace molesignal
