#include "storage/cache/flights.h"

#include <algorithm>
#include <utility>

namespace molesignal {
namespace {

/// A cancelled waiter notices it so soon: nobody notifies it.
constexpr std::chrono::milliseconds kCancelCheck{20};

}  // namespace

Flights::Ticket::~Ticket() {
    if (flights_ != nullptr && leads_) {
        flights_->end(key_, flight_);
    }
}

Flights::Ticket Flights::join(FlightKey key) {
    const MutexLock lock(mutex_);
    auto& flight = flights_[key];
    const bool leads = flight == nullptr;
    if (leads) {
        flight = std::make_shared<Flight>();
    }
    return {*this, std::move(key), flight, leads};
}

void Flights::land(Flight& flight, Value value) {
    const MutexLock lock(flight.mutex);
    flight.value = std::move(value);
    flight.is_over = true;
    flight.changed.notify_all();
}

void Flights::end(const FlightKey& key, const std::shared_ptr<Flight>& flight) {
    {
        const MutexLock lock(mutex_);
        flights_.erase(key);
    }
    const MutexLock lock(flight->mutex);
    flight->is_over = true;
    flight->changed.notify_all();
}

Result<Flights::Value> Flights::wait(const RequestContext& context, Flight& flight) {
    const MutexLock lock(flight.mutex);
    while (!flight.is_over) {
        MS_TRY_VOID(context.check());
        clock_.wait_until(flight.mutex,
                          flight.changed,
                          std::min(context.deadline, clock_.steady_now() + kCancelCheck));
    }
    return flight.value;
}

Result<Flights::Value> Flights::load(const RequestContext& context,
                                     const FlightKey& key,
                                     const std::function<Value()>& known,
                                     const std::function<Result<Value>()>& load,
                                     bool& merged) {
    while (true) {
        auto ticket = join(key);
        if (ticket.leads()) {
            auto value = known();
            if (value == nullptr) {
                MS_TRY(value, load());
            }
            ticket.land(value);
            merged = false;
            return value;
        }
        MS_TRY(auto value, ticket.wait(context));
        if (value != nullptr) {
            merged = true;
            return value;
        }
    }
}

}  // namespace molesignal
