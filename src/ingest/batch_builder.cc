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

void DecodedRows::reject(std::uint64_t index,
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

void append_base64(std::string& out, std::string_view bytes) {
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t j = 0; j < 3; ++j) {
            group = group << 8U |
                    (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0U);
        }
        for (std::size_t j = 0; j < 4; ++j) {
            out.push_back(i + j > bytes.size() ? '=' : kDigits[group >> (18U - 6U * j) & 63U]);
        }
    }
}

BatchBuilder::BatchBuilder(const DecodeLimits& limits, const DecodeSettings& settings)
    : limits_(limits), settings_(settings), memory_(settings.memory) {
    overflow_.column_of_type.fill(-1);
    overflow_.extra = true;
}

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

bool BatchBuilder::may_be_column(std::string_view name) {
    if (name.empty() || is_reserved_field(name) || name.find(char{}) != std::string_view::npos) {
        return false;
    }
    const auto* known = settings_.known_fields.get();
    if (known != nullptr && known->contains(name)) {
        return true;
    }
    if ((known != nullptr ? known->size() : 0) + new_fields_ >= limits_.fields_max) {
        return false;
    }
    ++new_fields_;
    return true;
}

BatchBuilder::Entry& BatchBuilder::entry_of(std::string_view name) {
    if (next_guess_ < entries_.size() && entries_[next_guess_]->name == name) {
        return *entries_[next_guess_++];
    }
    if (name.size() <= limits_.name_bytes_max) {
        if (const auto found = index_.find(name); found != index_.end()) {
            next_guess_ = found->second + 1;
            return *entries_[found->second];
        }
    }
    const auto new_before = new_fields_;
    if (name.size() > limits_.name_bytes_max || !may_be_column(name)) {
        overflow_.name = name;
        return overflow_;
    }
    auto entry = std::make_unique<Entry>();
    entry->name = std::string(name);
    entry->column_of_type.fill(-1);
    entry->is_new = new_fields_ > new_before;
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
        count_bytes(sizeof(BatchColumn) + entry.name.size());
    }
    if (entry.touched) {
        // Of duplicate names the last wins, whatever its type.
        for (const auto other : entry.column_of_type) {
            if (other >= 0) {
                batch_.columns[static_cast<std::size_t>(other)].drop_last_if(rows());
            }
        }
    } else {
        entry.touched = true;
        touched_.push_back(&entry);
    }
    return batch_.columns[static_cast<std::size_t>(index)];
}

void BatchBuilder::add_fixed(Entry& entry, FieldType type, std::uint64_t bits) {
    if (goes_to_extra(entry, type)) [[unlikely]] {
        add_extra(entry.name, type, bits, {});
        return;
    }
    column_for(entry, type).append_fixed(rows(), bits);
    count_bytes(sizeof bits);
}

void BatchBuilder::add_text(Entry& entry, FieldType type, std::string_view value) {
    if (goes_to_extra(entry, type)) [[unlikely]] {
        add_extra(entry.name, type, 0, value);
        return;
    }
    column_for(entry, type).append_text(rows(), value);
    count_bytes(value.size() + sizeof(std::uint32_t));
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
            append_json_text(extra_, text);
            break;
        case FieldType::kBytes:
            // As bytes inside an array or object: JSON has no other way.
            extra_.push_back('"');
            append_base64(extra_, text);
            extra_.push_back('"');
            break;
        case FieldType::kJson:
            extra_ += text;
            break;
    }
}

void BatchBuilder::count_memory() {
    counted_bytes_ = batch_bytes_;
    const auto total = ended_bytes_ + batch_.capacity_bytes();
    if (total > limits_.decoded_bytes_max) {
        failure_ =
            Error(ErrorCode::kTooLarge,
                  fmt::format("the rows of this request need {} bytes when they are decoded, "
                              "the limit is {} (half of ingester.decode_memory_mb); send "
                              "fewer rows at once",
                              total,
                              limits_.decoded_bytes_max));
        return;
    }
    const auto more = static_cast<std::int64_t>(total) - static_cast<std::int64_t>(memory_.bytes());
    if (more > 0) {
        if (auto grown = memory_.grow(more); !grown) {
            failure_ = std::move(grown).error().wrap("decode the rows");
        }
    }
}

void BatchBuilder::forget_row() {
    for (auto* entry : touched_) {
        entry->touched = false;
    }
    touched_.clear();
    extra_.clear();
    next_guess_ = 0;
}

void BatchBuilder::undo_row() {
    // What the row alone brought, columns and names, stands at the end of its list.
    for (auto* entry : touched_) {
        for (auto& index : entry->column_of_type) {
            if (index >= static_cast<std::int32_t>(columns_before_row_)) {
                index = -1;
            } else if (index >= 0) {
                batch_.columns[static_cast<std::size_t>(index)].truncate(rows());
            }
        }
    }
    batch_.columns.erase(batch_.columns.begin() + static_cast<std::ptrdiff_t>(columns_before_row_),
                         batch_.columns.end());
    forget_row();
    while (entries_.size() > entries_before_row_) {
        new_fields_ -= entries_.back()->is_new ? 1 : 0;
        index_.erase(entries_.back()->name);
        entries_.pop_back();
    }
}

void BatchBuilder::reject(std::uint64_t index,
                          RejectReason reason,
                          std::string text,
                          DecodedRows& out) {
    undo_row();
    out.reject(index, reason, std::move(text), limits_.errors_max);
}

void BatchBuilder::end_row(std::uint64_t index, std::int64_t time_ns, DecodedRows& out) {
    constexpr double kHour = 3600e9;
    const auto now = static_cast<double>(settings_.now_ns);
    const auto time = static_cast<double>(time_ns);
    if (time_ns > settings_.time_max_ns) {
        reject(index,
               RejectReason::kTooNew,
               fmt::format("its time is {:.1f} h in the future, the limit is {:.1f} h "
                           "(ingester.future_max_secs)",
                           (time - now) / kHour,
                           (static_cast<double>(settings_.time_max_ns) - now) / kHour),
               out);
        return;
    }
    if (time_ns < settings_.time_min_ns) {
        reject(index,
               RejectReason::kTooOld,
               fmt::format("its time is {:.1f} h in the past, the limit is {:.1f} h (the stream's "
                           "retention or ingester.past_max_secs)",
                           (now - time) / kHour,
                           (now - static_cast<double>(settings_.time_min_ns)) / kHour),
               out);
        return;
    }
    if (!extra_.empty()) {
        if (extra_column_ < 0) {
            extra_column_ = static_cast<std::int32_t>(batch_.columns.size());
            batch_.columns.emplace_back(std::string(kExtraField), FieldType::kJson);
        }
        batch_.columns[static_cast<std::size_t>(extra_column_)].append_text(rows(),
                                                                            "{" + extra_ + "}");
        count_bytes(extra_.size() + 2 + sizeof(std::uint32_t));
    }
    forget_row();
    batch_.timestamps.push_back(time_ns);
    ++out.accepted;
    entries_before_row_ = entries_.size();
    columns_before_row_ = batch_.columns.size();
    // A row costs its time and a bit in every column.
    count_bytes(sizeof time_ns + batch_.columns.size() / 8);
    if (rows() >= limits_.batch_rows_max || batch_bytes_ >= limits_.batch_bytes_max) {
        end_batch(out);
    }
}

void BatchBuilder::end_batch(DecodedRows& out) {
    batch_.finish();
    std::erase_if(batch_.columns,
                  [](const BatchColumn& column) { return column.value_count() == 0; });
    count_memory();
    ended_bytes_ += batch_.capacity_bytes();
    out.batches.push_back(std::move(batch_));
    batch_ = RowBatch{};
    batch_bytes_ = 0;
    counted_bytes_ = 0;
    columns_before_row_ = 0;
    extra_column_ = -1;
    for (auto& entry : entries_) {
        entry->column_of_type.fill(-1);
    }
}

Result<> BatchBuilder::finish(DecodedRows& out) {
    if (!failed() && rows() > 0) {
        end_batch(out);
    }
    if (failed()) {
        return *failure_;
    }
    out.extra_values = extra_values_;
    memory_.force_resize(static_cast<std::int64_t>(ended_bytes_));
    out.memory = std::move(memory_);
    return {};
}

}  // namespace molesignal
