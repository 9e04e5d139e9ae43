#pragma once

#include <set>
#include <string>

#include "common/mutex.h"
#include "objectstore/object_store.h"
#include "tests/support/fault_plan.h"

namespace molesignal {

enum class ObjectVerb : std::uint8_t { kPut, kPutFile, kGet, kHead, kList, kRemove };

/// How an operation of an object store goes wrong.
enum class ObjectFaultEffect : std::uint8_t {
    kErrorBefore = 1,  ///< The error, and nothing happened.
    kErrorAfter = 2,   ///< The operation took place, then the error: the caller cannot tell.
    kShortBody = 3,    ///< A get returns the first half and no error.
    kCorruptBody = 4,  ///< A get returns one flipped bit and no error.
};

/// Which operations fail, and how.
struct ObjectFault {
    std::set<ObjectVerb> verbs;  ///< Empty: all.
    std::string key_contains;    ///< Empty: every key; of a list, its prefix.
    FaultPlan plan;
    ObjectFaultEffect effect = ObjectFaultEffect::kErrorBefore;
    ErrorCode code = ErrorCode::kUnavailable;
};

/// Wraps an object store and fails what the armed rule names. Thread-safe. The wrapped one outlives
/// it.
class FaultyObjectStore final : public ObjectStore {
public:
    explicit FaultyObjectStore(ObjectStore& base) : base_(base) {}

    /// Sets the rule and starts counting matches from 1.
    void arm(ObjectFault fault);
    void disarm();
    /// How many operations were hit since `arm`.
    std::uint64_t fired() const;
    /// All operations so far.
    std::uint64_t operation_count() const;

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
    /// Counts the operation; the fault if it is hit.
    std::optional<ObjectFault> pass(ObjectVerb verb, std::string_view key);
    template <class Outcome, class Call>
    Outcome run(ObjectVerb verb, std::string_view key, const Call& call);

    ObjectStore& base_;
    mutable Mutex mutex_;
    std::optional<ObjectFault> fault_ MS_GUARDED_BY(mutex_);
    std::uint64_t matches_ MS_GUARDED_BY(mutex_) = 0;
    std::uint64_t fired_ MS_GUARDED_BY(mutex_) = 0;
    std::uint64_t operations_ MS_GUARDED_BY(mutex_) = 0;
};

}  // namespace molesignal
