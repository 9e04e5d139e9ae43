#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/request_context.h"
#include "common/result.h"

namespace molesignal {

/// What is loaded: a range of an object, or whatever else `object` names.
struct FlightKey {
    std::string object;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    friend auto operator<=>(const FlightKey&, const FlightKey&) = default;
};

/// Lets one thread load what several want at the same time.
///
/// Whoever joins first leads: it loads and lands the value, which goes to all who wait. A waiter
/// ends with its own context, and when its leader fails it may lead itself, so nobody gets another
/// one's error. Thread-safe.
class Flights {
public:
    using Value = std::shared_ptr<const void>;
    class Ticket;

    /// `clock` outlives this.
    explicit Flights(Clock& clock) : clock_(clock) {}

    /// A place in the flight of `key`. Who leads one must not wait for others: it lands first.
    Ticket join(FlightKey key);

    /// What `known` gives, or `load`, or another thread that is loading it. `known` is asked by a
    /// leader once more before it loads (null: not known): a flight may have landed, and been
    /// kept, between the caller's own look and the join. `merged`: the value is another's.
    Result<Value> load(const RequestContext& context,
                       const FlightKey& key,
                       const std::function<Value()>& known,
                       const std::function<Result<Value>()>& load,
                       bool& merged);

private:
    struct Flight {
        Mutex mutex;
        CondVar changed;
        bool is_over MS_GUARDED_BY(mutex) = false;
        Value value MS_GUARDED_BY(mutex);  ///< Null at the end: the leader failed.
    };
    void land(Flight& flight, Value value);
    void end(const FlightKey& key, const std::shared_ptr<Flight>& flight);
    Result<Value> wait(const RequestContext& context, Flight& flight);

    Clock& clock_;
    Mutex mutex_;
    std::map<FlightKey, std::shared_ptr<Flight>> flights_ MS_GUARDED_BY(mutex_);
};

/// A place in a flight. One thread at a time; ends before its Flights.
class Flights::Ticket {
public:
    Ticket(Ticket&& other) noexcept
        : flights_(std::exchange(other.flights_, nullptr)),
          key_(std::move(other.key_)),
          flight_(std::move(other.flight_)),
          leads_(other.leads_) {}
    Ticket& operator=(Ticket&&) = delete;
    /// A leader that has not landed has failed. From here on a join begins another flight.
    ~Ticket();

    bool leads() const { return leads_; }
    /// Gives `value` to all who wait, and to who joins until this ticket ends. Leaders only.
    void land(Value value) { flights_->land(*flight_, std::move(value)); }
    /// The leader's value; null if it failed. kTimeout, kCancelled: the caller's context has ended.
    Result<Value> wait(const RequestContext& context) { return flights_->wait(context, *flight_); }

private:
    friend class Flights;
    Ticket(Flights& flights, FlightKey key, std::shared_ptr<Flight> flight, bool leads)
        : flights_(&flights), key_(std::move(key)), flight_(std::move(flight)), leads_(leads) {}
    Flights* flights_;
    FlightKey key_;
    std::shared_ptr<Flight> flight_;
    bool leads_;
};

}  // namespace molesignal
