// count(DISTINCT x) by sets of hashes. DuckDB's own groups by x: 80 bytes and more a text, and
// beyond its memory 256 partitions a thread with a block of 256 KiB each, which do not fit into the
// memory of a query at all.
#include <cmath>

#include <duckdb.hpp>
#include <duckdb/execution/expression_executor.hpp>
#include <duckdb/optimizer/optimizer_extension.hpp>
#include <duckdb/planner/expression/bound_aggregate_expression.hpp>
#include <duckdb/planner/operator/logical_aggregate.hpp>
#include <xxhash.h>

#include "common/random.h"
#include "query/sql/kernels/kernels.h"
#include "query/sql/kernels/key_set.h"

namespace molesignal {
namespace {

using duckdb::AggregateFunction;
using duckdb::AggregateInputData;
using duckdb::data_ptr_t;
using duckdb::idx_t;
using duckdb::LogicalType;
using duckdb::PhysicalType;
using duckdb::UnifiedVectorFormat;
using duckdb::Vector;

/// Nobody outside knows which values have neighbouring places.
std::uint64_t seed() {
    static const auto kSeed = SystemRandom().next_u64();
    return kSeed;
}

/// 128 bits of a text: of 2^40 texts two have the same ones with a probability of 2^-49.
struct TextKeys {
    using Key = WideKey;
    using Value = duckdb::string_t;
    static Key key_of(const Value& text, std::uint64_t seed) {
        const auto hash = XXH3_128bits_withSeed(text.GetData(), text.GetSize(), seed);
        return {.low = hash.low64, .high = hash.high64};
    }
};

/// Numbers and times of up to 64 bits are their own keys.
template <class Number>
struct NumberKeys {
    using Key = std::uint64_t;
    using Value = Number;
    static Key key_of(Number number, std::uint64_t seed) {
        if constexpr (std::is_same_v<Number, double> || std::is_same_v<Number, float>) {
            // Those that are equal for DuckDB: both zeros, all NaNs.
            const double plain = number == 0          ? 0.0
                                 : std::isnan(number) ? std::numeric_limits<double>::quiet_NaN()
                                                      : static_cast<double>(number);
            return std::bit_cast<std::uint64_t>(plain) ^ seed;
        } else {
            return static_cast<std::uint64_t>(number) ^ seed;
        }
    }
};

/// The values of one group. Most groups of a query with many have one value: it needs no set.
template <class Key>
struct State {
    Key only;
    KeySet<Key>* keys;  ///< Null: there is at most `only`.
    bool has_only;
};

template <class Key>
KeySet<Key>& keys_of(State<Key>& state) {
    if (state.keys == nullptr) {
        auto keys = std::make_unique<KeySet<Key>>();
        if (state.has_only) {
            keys->insert(state.only);
        }
        state.keys = keys.release();
        state.has_only = false;
    }
    return *state.keys;
}

template <class Key>
void insert(State<Key>& state, const Key& key) {
    if (state.keys == nullptr && (!state.has_only || state.only == key)) {
        state.only = key;
        state.has_only = true;
        return;
    }
    keys_of(state).insert(key);
}

template <class Kind>
idx_t state_size(const AggregateFunction&) {
    return sizeof(State<typename Kind::Key>);
}

template <class Kind>
void initialize(const AggregateFunction&, data_ptr_t state) {
    new (state) State<typename Kind::Key>{.only = {}, .keys = nullptr, .has_only = false};
}

template <class Kind>
void update(Vector inputs[], AggregateInputData&, idx_t, Vector& states, idx_t count) {
    UnifiedVectorFormat values;
    inputs[0].ToUnifiedFormat(count, values);
    UnifiedVectorFormat places;
    states.ToUnifiedFormat(count, places);
    const auto* const data = UnifiedVectorFormat::GetData<typename Kind::Value>(values);
    auto* const* const state_of = UnifiedVectorFormat::GetData<State<typename Kind::Key>*>(places);
    const auto key_seed = seed();
    for (idx_t i = 0; i < count; ++i) {
        const auto at = values.sel->get_index(i);
        if (values.validity.RowIsValid(at)) {
            insert(*state_of[places.sel->get_index(i)], Kind::key_of(data[at], key_seed));
        }
    }
}

/// Of a query without groups.
template <class Kind>
void update_one(Vector inputs[], AggregateInputData&, idx_t, data_ptr_t place, idx_t count) {
    using Key = typename Kind::Key;
    auto& state = *reinterpret_cast<State<Key>*>(place);
    UnifiedVectorFormat values;
    inputs[0].ToUnifiedFormat(count, values);
    const auto* const data = UnifiedVectorFormat::GetData<typename Kind::Value>(values);
    const auto key_seed = seed();
    if (inputs[0].GetVectorType() == duckdb::VectorType::CONSTANT_VECTOR) {
        count = std::min<idx_t>(count, 1);
    }
    std::array<Key, STANDARD_VECTOR_SIZE> keys;
    std::size_t valid = 0;
    for (idx_t i = 0; i < count; ++i) {
        const auto at = values.sel->get_index(i);
        if (values.validity.RowIsValid(at)) {
            keys[valid++] = Kind::key_of(data[at], key_seed);
            if (valid == keys.size()) {
                keys_of(state).insert(std::span<const Key>(keys));
                valid = 0;
            }
        }
    }
    if (valid > 0) {
        keys_of(state).insert(std::span<const Key>(keys.data(), valid));
    }
}

template <class Kind>
void combine(Vector& sources, Vector& targets, AggregateInputData& input, idx_t count) {
    using Key = typename Kind::Key;
    UnifiedVectorFormat from;
    sources.ToUnifiedFormat(count, from);
    auto* const* const source_of = UnifiedVectorFormat::GetData<State<Key>*>(from);
    auto* const* const target_of = duckdb::FlatVector::GetData<State<Key>*>(targets);
    const bool may_take = input.combine_type == duckdb::AggregateCombineType::ALLOW_DESTRUCTIVE;
    for (idx_t i = 0; i < count; ++i) {
        auto& source = *source_of[from.sel->get_index(i)];
        auto& target = *target_of[i];
        if (source.keys == nullptr) {
            if (source.has_only) {
                insert(target, source.only);
            }
        } else if (!may_take) {
            keys_of(target).add(*source.keys);
        } else {
            keys_of(target).take(*source.keys);
            delete std::exchange(source.keys, nullptr);
        }
    }
}

template <class Kind>
std::int64_t size_of(const State<typename Kind::Key>& state) {
    return state.keys != nullptr ? static_cast<std::int64_t>(state.keys->size())
                                 : static_cast<std::int64_t>(state.has_only);
}

template <class Kind>
void finalize(Vector& states, AggregateInputData&, Vector& result, idx_t count, idx_t offset) {
    using Place = State<typename Kind::Key>*;
    if (states.GetVectorType() == duckdb::VectorType::CONSTANT_VECTOR) {
        result.SetVectorType(duckdb::VectorType::CONSTANT_VECTOR);
        *duckdb::ConstantVector::GetData<std::int64_t>(result) =
            size_of<Kind>(**duckdb::ConstantVector::GetData<Place>(states));
        return;
    }
    result.SetVectorType(duckdb::VectorType::FLAT_VECTOR);
    auto* const sizes = duckdb::FlatVector::GetData<std::int64_t>(result);
    auto* const* const state_of = duckdb::FlatVector::GetData<Place>(states);
    for (idx_t i = 0; i < count; ++i) {
        sizes[i + offset] = size_of<Kind>(*state_of[i]);
    }
}

template <class Kind>
void destroy(Vector& states, AggregateInputData&, idx_t count) {
    UnifiedVectorFormat places;
    states.ToUnifiedFormat(count, places);
    auto* const* const state_of = UnifiedVectorFormat::GetData<State<typename Kind::Key>*>(places);
    for (idx_t i = 0; i < count; ++i) {
        delete std::exchange(state_of[places.sel->get_index(i)]->keys, nullptr);
    }
}

template <class Kind>
AggregateFunction function_of(const LogicalType& type) {
    return AggregateFunction("count_distinct",
                             {type},
                             LogicalType::BIGINT,
                             state_size<Kind>,
                             initialize<Kind>,
                             update<Kind>,
                             combine<Kind>,
                             finalize<Kind>,
                             duckdb::FunctionNullHandling::SPECIAL_HANDLING,
                             update_one<Kind>,
                             nullptr,
                             destroy<Kind>);
}

/// Nothing: values of that type are not their bits, or too rare to be worth it.
std::optional<AggregateFunction> function_for(const LogicalType& type) {
    if (type.id() == duckdb::LogicalTypeId::TIME_TZ) {
        return std::nullopt;
    }
    switch (type.InternalType()) {
        case PhysicalType::BOOL:
        case PhysicalType::UINT8:
            return function_of<NumberKeys<std::uint8_t>>(type);
        case PhysicalType::INT8:
            return function_of<NumberKeys<std::int8_t>>(type);
        case PhysicalType::INT16:
            return function_of<NumberKeys<std::int16_t>>(type);
        case PhysicalType::UINT16:
            return function_of<NumberKeys<std::uint16_t>>(type);
        case PhysicalType::INT32:
            return function_of<NumberKeys<std::int32_t>>(type);
        case PhysicalType::UINT32:
            return function_of<NumberKeys<std::uint32_t>>(type);
        case PhysicalType::INT64:
            return function_of<NumberKeys<std::int64_t>>(type);
        case PhysicalType::UINT64:
            return function_of<NumberKeys<std::uint64_t>>(type);
        case PhysicalType::FLOAT:
            return function_of<NumberKeys<float>>(type);
        case PhysicalType::DOUBLE:
            return function_of<NumberKeys<double>>(type);
        case PhysicalType::VARCHAR:
            return function_of<TextKeys>(type);
        default:
            return std::nullopt;
    }
}

void replace_counts(duckdb::LogicalOperator& plan) {
    for (auto& child : plan.children) {
        replace_counts(*child);
    }
    if (plan.type != duckdb::LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY) {
        return;
    }
    for (auto& expression : plan.expressions) {
        if (expression->GetExpressionClass() != duckdb::ExpressionClass::BOUND_AGGREGATE) {
            continue;
        }
        auto& call = expression->Cast<duckdb::BoundAggregateExpression>();
        if (call.function.name != "count" || !call.IsDistinct() || call.children.size() != 1 ||
            call.order_bys != nullptr) {
            continue;
        }
        if (auto function = function_for(call.children[0]->return_type)) {
            auto replacement = duckdb::make_uniq<duckdb::BoundAggregateExpression>(
                std::move(*function),
                std::move(call.children),
                std::move(call.filter),
                nullptr,
                duckdb::AggregateType::NON_DISTINCT);
            replacement->SetAlias(expression->GetAlias());
            expression = std::move(replacement);
        }
    }
}

}  // namespace

void register_distinct_counts(duckdb::DuckDB& database) {
    duckdb::OptimizerExtension extension;
    extension.pre_optimize_function = [](duckdb::OptimizerExtensionInput&,
                                         duckdb::unique_ptr<duckdb::LogicalOperator>& plan) {
        replace_counts(*plan);
    };
    duckdb::DBConfig::GetConfig(*database.instance)
        .optimizer_extensions.push_back(std::move(extension));
}

}  // namespace molesignal
