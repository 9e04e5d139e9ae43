#include "tests/support/faulty_object_store.h"

#include <fmt/format.h>

namespace molesignal {

void FaultyObjectStore::arm(ObjectFault fault) {
    const MutexLock lock(mutex_);
    fault_ = std::move(fault);
    matches_ = 0;
    fired_ = 0;
}

void FaultyObjectStore::disarm() {
    const MutexLock lock(mutex_);
    fault_.reset();
}

std::uint64_t FaultyObjectStore::fired() const {
    const MutexLock lock(mutex_);
    return fired_;
}

std::uint64_t FaultyObjectStore::operation_count() const {
    const MutexLock lock(mutex_);
    return operations_;
}

std::optional<ObjectFault> FaultyObjectStore::pass(ObjectVerb verb, std::string_view key) {
    const MutexLock lock(mutex_);
    ++operations_;
    if (!fault_.has_value() || (!fault_->verbs.empty() && !fault_->verbs.contains(verb)) ||
        key.find(fault_->key_contains) == std::string_view::npos) {
        return std::nullopt;
    }
    if (!fault_->plan.fails(++matches_)) {
        return std::nullopt;
    }
    ++fired_;
    return fault_;
}

template <class Outcome, class Call>
Outcome FaultyObjectStore::run(ObjectVerb verb, std::string_view key, const Call& call) {
    const auto fault = pass(verb, key);
    if (!fault.has_value()) {
        return call();
    }
    if (fault->effect == ObjectFaultEffect::kErrorBefore) {
        return Error(fault->code, fmt::format("{}: injected fault before the operation", key));
    }
    auto outcome = call();
    if (fault->effect == ObjectFaultEffect::kErrorAfter) {
        return Error(fault->code, fmt::format("{}: injected fault after the operation", key));
    }
    if constexpr (std::is_same_v<Outcome, Result<ByteBuffer>>) {
        if (outcome.has_value() && !outcome->empty()) {
            auto& body = *outcome;
            if (fault->effect == ObjectFaultEffect::kShortBody) {
                body.resize(body.size() / 2);
            } else {
                body[body.size() / 2] ^= std::byte{0x10};
            }
        }
    }
    return outcome;
}

Result<> FaultyObjectStore::put(const RequestContext& context, std::string_view key, Bytes body) {
    return run<Result<>>(ObjectVerb::kPut, key, [&] { return base_.put(context, key, body); });
}

Result<> FaultyObjectStore::put_file(const RequestContext& context,
                                     std::string_view key,
                                     const std::string& path) {
    return run<Result<>>(
        ObjectVerb::kPutFile, key, [&] { return base_.put_file(context, key, path); });
}

Result<ByteBuffer> FaultyObjectStore::get(const RequestContext& context,
                                          std::string_view key,
                                          std::uint64_t offset,
                                          std::uint64_t length) {
    return run<Result<ByteBuffer>>(
        ObjectVerb::kGet, key, [&] { return base_.get(context, key, offset, length); });
}

Result<std::optional<ObjectMeta>> FaultyObjectStore::head(const RequestContext& context,
                                                          std::string_view key) {
    return run<Result<std::optional<ObjectMeta>>>(
        ObjectVerb::kHead, key, [&] { return base_.head(context, key); });
}

Result<> FaultyObjectStore::list(const RequestContext& context,
                                 std::string_view prefix,
                                 const std::function<bool(const ObjectMeta&)>& visit) {
    return run<Result<>>(
        ObjectVerb::kList, prefix, [&] { return base_.list(context, prefix, visit); });
}

Result<> FaultyObjectStore::remove(const RequestContext& context, std::string_view key) {
    return run<Result<>>(ObjectVerb::kRemove, key, [&] { return base_.remove(context, key); });
}

std::string FaultyObjectStore::describe() const {
    return "faulty " + base_.describe();
}

}  // namespace molesignal
