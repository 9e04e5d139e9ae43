#include "ingest/batch_builder.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "model/schema.h"

namespace molesignal {

std::string_view reject_reason_name(RejectReason reason) {
    switch (reason) {
        case RejectReason::kMalformed:
            return "malformed";
        case RejectReason::kTooOld:
            return "too_old";
        case RejectReason::kTooNew:
            return "too_new";
        case RejectReason::kTooLarge:
            return "too_large";
    }
    return "unknown";
}

void DecodedBatch::reject(std::uint64_t index,
                          RejectReason reason,
                          std::string text,
                          std::size_t errors_max) {
    ++rejected;
    ++by_reason[static_cast<std::size_t>(reason)];
    if (errors.size() < errors_max) {
        errors.push_back({.index = index, .reason = std::move(text)});
    }
}

void append_json_text(std::string& out, std::string_view text) {
    out.push_back('"');
    for (const char character : text) {
        const auto byte = static_cast<unsigned char>(character);
        if (character == '"' || character == '\\') {
            out.push_back('\\');
            out.push_back(character);
        } else if (byte < 0x20) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
        } else {
            out.push_back(character);
        }
    }
    out.push_back('"');
}

BatchBuilder::BatchBuilder(const DecodeLimits& limits, const DecodeSettings& settings)
    : limits_(limits), settings_(settings) {}

BatchBuilder::Entry* BatchBuilder::guess(const char* raw,
                                         std::size_t bytes_left,
                                         std::size_t& name_bytes) {
    if (next_guess_ >= entries_.size()) {
        return nullptr;
    }
    auto& entry = *entries_[next_guess_];
    const auto size = entry.name.size();
    if (size + 1 > bytes_left || std::memcmp(raw, entry.name.data(), size) != 0 ||
        raw[size] != '"') {
        return nullptr;
    }
    ++next_guess_;
    name_bytes = size;
    return &entry;
}

BatchBuilder::Entry& BatchBuilder::entry_of(std::string_view name) {
    if (next_guess_ < entries_.size() && entries_[next_guess_]->name == name) {
        return *entries_[next_guess_++];
    }
    if (const auto found = index_.find(name); found != index_.end()) {
        next_guess_ = found->second + 1;
        return *entries_[found->second];
    }
    auto entry = std::make_unique<Entry>();
    entry->name = std::string(name);
    entry->column_of_type.fill(-1);
    entry->extra = name.empty() || is_reserved_field(name) ||
                   name.size() > limits_.name_bytes_max ||
                   name.find(char{}) != std::string_view::npos;
    if (!entry->extra) {
        const bool known =
            settings_.known_fields != nullptr && settings_.known_fields->contains(name);
        const auto others = settings_.known_fields != nullptr ? settings_.known_fields->size() : 0;
        if (!known && others + new_fields_ >= limits_.fields_max) {
            entry->extra = true;
        } else if (!known) {
            ++new_fields_;
        }
    }
    for (const auto& [pinned, type] : settings_.pinned_types) {
        if (pinned == name) {
            entry->is_pinned = true;
            entry->pinned = type;
        }
    }
    index_.emplace(entry->name, entries_.size());
    entries_.push_back(std::move(entry));
    next_guess_ = entries_.size();
    return *entries_.back();
}

BatchColumn& BatchBuilder::column_for(Entry& entry, FieldType type) {
    auto& index = entry.column_of_type[static_cast<std::size_t>(type)];
    if (index < 0) {
        index = static_cast<std::int32_t>(batch_.columns.size());
        batch_.columns.emplace_back(entry.name, type);
    }
    if (entry.last_row == rows()) {
        // Of duplicate names the last wins, whatever its type.
        for (const auto other : entry.column_of_type) {
            if (other >= 0) {
                batch_.columns[static_cast<std::size_t>(other)].drop_last_if(rows());
            }
        }
    }
    entry.last_row = rows();
    return batch_.columns[static_cast<std::size_t>(index)];
}

void BatchBuilder::add_fixed(Entry& entry, FieldType type, std::uint64_t bits) {
    if (goes_to_extra(entry, type)) [[unlikely]] {
        add_extra(entry.name, type, bits, {});
        return;
    }
    column_for(entry, type).append_fixed(rows(), bits);
}

void BatchBuilder::add_text(Entry& entry, FieldType type, std::string_view value) {
    if (goes_to_extra(entry, type)) [[unlikely]] {
        add_extra(entry.name, type, 0, value);
        return;
    }
    column_for(entry, type).append_text(rows(), value);
}

void BatchBuilder::add_fixed(std::string_view name, FieldType type, std::uint64_t bits) {
    add_fixed(entry_of(name), type, bits);
}

void BatchBuilder::add_text(std::string_view name, FieldType type, std::string_view value) {
    add_text(entry_of(name), type, value);
}

void BatchBuilder::add_extra(std::string_view name,
                             FieldType type,
                             std::uint64_t bits,
                             std::string_view text) {
    ++extra_values_;
    if (!extra_.empty()) {
        extra_.push_back(',');
    }
    append_json_text(extra_, name);
    extra_.push_back(':');
    switch (type) {
        case FieldType::kBool:
            extra_ += bits != 0 ? "true" : "false";
            break;
        case FieldType::kInt64:
        case FieldType::kTimestamp:
            extra_ += std::to_string(static_cast<std::int64_t>(bits));
            break;
        case FieldType::kUint64:
            extra_ += std::to_string(bits);
            break;
        case FieldType::kFloat64: {
            const auto real = std::bit_cast<double>(bits);
            if (std::isfinite(real)) {
                extra_ += fmt::format("{}", real);
            } else {
                append_json_text(extra_, fmt::format("{}", real));
            }
            break;
        }
        case FieldType::kString:
        case FieldType::kBytes:
            append_json_text(extra_, text);
            break;
        case FieldType::kJson:
            extra_ += text;
            break;
    }
}

void BatchBuilder::undo_row() {
    for (auto& column : batch_.columns) {
        column.truncate(rows());
    }
    for (auto& entry : entries_) {
        if (entry->last_row == rows()) {
            entry->last_row = UINT32_MAX;
        }
    }
    extra_.clear();
    next_guess_ = 0;
}

void BatchBuilder::end_row(std::uint64_t index, std::int64_t time_ns, DecodedBatch& out) {
    constexpr double kHour = 3600e9;
    if (time_ns > settings_.time_max_ns) {
        undo_row();
        out.reject(
            index,
            RejectReason::kTooNew,
            fmt::format("its time is {:.1f} h in the future, the limit is {:.1f} h "
                        "(ingester.future_max_secs)",
                        static_cast<double>(time_ns - settings_.now_ns) / kHour,
                        static_cast<double>(settings_.time_max_ns - settings_.now_ns) / kHour),
            limits_.errors_max);
        return;
    }
    if (time_ns < settings_.time_min_ns) {
        undo_row();
        out.reject(
            index,
            RejectReason::kTooOld,
            fmt::format(
                "its time is {:.1f} h in the past, the limit is {:.1f} h (the stream's retention "
                "or "
                "ingester.past_max_secs)",
                (static_cast<double>(settings_.now_ns) - static_cast<double>(time_ns)) / kHour,
                (static_cast<double>(settings_.now_ns) -
                 static_cast<double>(settings_.time_min_ns)) /
                    kHour),
            limits_.errors_max);
        return;
    }
    if (!extra_.empty()) {
        const auto column = batch_.find_or_add(kExtraField, FieldType::kJson);
        batch_.columns[column].append_text(rows(), "{" + extra_ + "}");
        extra_.clear();
    }
    batch_.timestamps.push_back(time_ns);
    next_guess_ = 0;
}

void BatchBuilder::finish(DecodedBatch& out) {
    batch_.finish();
    std::erase_if(batch_.columns,
                  [](const BatchColumn& column) { return column.null_count() == column.rows(); });
    out.batch = std::move(batch_);
    out.extra_values = extra_values_;
}

}  // namespace molesignal
