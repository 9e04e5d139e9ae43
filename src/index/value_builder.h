#pragma once

#include <string>
#include <vector>

#include "index/field_builder.h"
#include "index/hash_table.h"

namespace molesignal {

/// Builds the structure of a field of whole values: exact while its distinct values are few (at
/// most kExactValuesMax, of at most kExactValueBytesMax each, and a sixteenth of the rows), else a
/// table of their hashes. The table of a part of many rows takes several passes over the values.
class ValueBuilder final : public FieldBuilder {
public:
    /// `pass_bits`: as of HashTableBuilder.
    ValueBuilder(std::uint32_t rows, std::uint64_t table_seed, unsigned pass_bits);
    void add(std::uint32_t row, std::string_view value) override;
    std::size_t capacity_bytes() const override;
    std::size_t finish_bytes() const override;
    bool next_pass() override;
    BuiltField finish() override;

private:
    static constexpr std::uint32_t kNone = UINT32_MAX;
    struct Value {
        std::string text;
        std::uint64_t hash = 0;
        std::uint64_t rows = 0;
        std::vector<std::uint32_t> blocks;  ///< Ascending.
    };
    void count_exactly(std::uint32_t row, std::string_view value, std::uint64_t hash);
    std::uint32_t find_value(std::string_view value, std::uint64_t hash);
    void give_up_exact();
    bool are_few() const;
    BuiltField finish_exact();
    BuiltField finish_hashed();

    std::uint64_t slot_factor_;  ///< Odd; decides where values lie in slots_.
    std::uint32_t rows_;
    bool is_first_pass_ = true;
    std::uint64_t present_rows_ = 0;
    // Exact.
    bool exact_ = true;
    std::vector<Value> values_;
    std::vector<std::uint32_t> slots_;  ///< Hash table of indices into values_.
    std::uint32_t last_value_ = kNone;
    std::size_t value_bytes_ = 0;
    std::size_t block_entries_ = 0;
    // Hashed.
    HashTableBuilder table_;
    std::vector<std::uint8_t> registers_;  ///< HyperLogLog of all values.
};

}  // namespace molesignal
