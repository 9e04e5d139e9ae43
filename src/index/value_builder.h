#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "index/block_filter.h"
#include "index/field_builder.h"

namespace molesignal {

/// Builds the structure of a field of whole values: exact while its distinct values are few (at
/// most kExactValuesMax, of at most kExactValueBytesMax each, and a sixteenth of the rows), else a
/// filter for each row group.
class ValueBuilder final : public FieldBuilder {
public:
    /// `group_ends` must outlive the builder.
    ValueBuilder(std::span<const std::uint32_t> group_ends, std::uint64_t table_seed);
    void add(std::uint32_t row, std::string_view value) override;
    std::size_t capacity_bytes() const override;
    std::size_t finish_bytes() const override;
    BuiltField finish() override;

private:
    static constexpr std::uint32_t kNone = UINT32_MAX;
    struct Value {
        std::string text;
        std::uint64_t hash = 0;
        std::uint64_t rows = 0;
        std::uint32_t last_group = kNone;
        std::vector<std::uint32_t> blocks;  ///< Ascending.
    };
    void count_exactly(std::uint32_t row, std::string_view value, std::uint64_t hash);
    std::uint32_t find_value(std::string_view value, std::uint64_t hash);
    void give_up_exact();
    void add_key(std::uint64_t hash);
    void end_groups(std::uint32_t row);
    void end_group();
    BuiltField finish_exact();
    BuiltField finish_filters();

    std::uint64_t slot_factor_;  ///< Odd; decides where values lie in slots_.
    std::span<const std::uint32_t> group_ends_;
    std::uint32_t rows_;
    std::uint64_t present_rows_ = 0;
    // Exact.
    bool exact_ = true;
    std::vector<Value> values_;
    std::vector<std::uint32_t> slots_;  ///< Hash table of indices into values_.
    std::uint32_t last_value_ = kNone;
    std::size_t value_bytes_ = 0;
    std::size_t block_entries_ = 0;
    // Filters.
    std::uint32_t group_ = 0;
    std::vector<std::uint64_t> keys_;  ///< Hashes of the group's values, some repeated.
    std::vector<BlockFilter> filters_;
    std::size_t filter_bytes_ = 0;
    std::vector<std::uint8_t> filter_bits_;
    std::vector<std::uint8_t> registers_;  ///< HyperLogLog of all values.
};

}  // namespace molesignal
