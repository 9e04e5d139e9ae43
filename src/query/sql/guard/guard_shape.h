#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace molesignal {

/// What the guard knows of a query's or a table's columns without binding it.
struct GuardShape {
    std::size_t columns = 0;
    /// Of the widest column: 1, or more for structs that hold others. A struct of structs, doubled
    /// at each level, has a type that is exponential in the length of the statement.
    std::size_t column_weight = 1;
    /// Where `_timestamp` is, if the columns hold it and `_timestamp_nanos` of the same row of a
    /// stream.
    std::optional<std::size_t> row_time;
};

/// A table of a FROM, by the name that columns are qualified with.
struct GuardRelation {
    std::string name;  ///< Lower case.
    GuardShape shape;
};

/// The tables that expressions of a SELECT see.
struct GuardScope {
    std::vector<GuardRelation> relations;

    std::size_t columns() const {
        std::size_t sum = 0;
        for (const auto& relation : relations) {
            sum += relation.shape.columns;
        }
        return sum;
    }
    std::size_t column_weight() const {
        std::size_t most = 1;
        for (const auto& relation : relations) {
            most = std::max(most, relation.shape.column_weight);
        }
        return most;
    }
    /// The table that a name without or with a qualifier can only mean; null if there are several.
    const GuardRelation* only(const std::string& qualifier) const {
        const GuardRelation* found = nullptr;
        for (const auto& relation : relations) {
            if (!qualifier.empty() && relation.name != qualifier) {
                continue;
            }
            if (found != nullptr) {
                return nullptr;
            }
            found = &relation;
        }
        return found;
    }
};

}  // namespace molesignal
