#include "ingest/batch_codec.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "model/field_type.h"

namespace molesignal {
namespace {

constexpr std::uint32_t kMagic = 0x3242534dU;  // "MSB2"
constexpr std::uint32_t kColumnsMax = 100'000;
constexpr std::uint8_t kHasNulls = 1;

/// Fixed-width values are written with as few bytes as the largest needs.
constexpr std::uint8_t width_of(std::uint64_t largest) {
    return largest <= 0xff ? 1 : largest <= 0xffff ? 2 : largest <= 0xffff'ffff ? 4 : 8;
}

template <class Narrow, class Value>
void append_narrow(ByteBuffer& out, const std::vector<Value>& values, std::uint64_t base) {
    const auto at = out.size();
    out.resize(at + values.size() * sizeof(Narrow));
    auto* to = out.data() + at;
    for (const auto value : values) {
        const auto narrow = static_cast<Narrow>(static_cast<std::uint64_t>(value) - base);
        std::memcpy(to, &narrow, sizeof narrow);
        to += sizeof narrow;
    }
}

/// Base (the smallest value, as signed) and width, then the distances from the base.
template <class Value>
void append_numbers(ByteBuffer& out, const std::vector<Value>& values) {
    auto smallest = INT64_MAX;
    auto largest = INT64_MIN;
    for (const auto value : values) {
        smallest = std::min(smallest, static_cast<std::int64_t>(value));
        largest = std::max(largest, static_cast<std::int64_t>(value));
    }
    const auto base = values.empty() ? 0 : static_cast<std::uint64_t>(smallest);
    const auto width =
        values.empty() ? std::uint8_t{1} : width_of(static_cast<std::uint64_t>(largest) - base);
    append_le(out, base);
    append_le(out, width);
    switch (width) {
        case 1:
            append_narrow<std::uint8_t>(out, values, base);
            break;
        case 2:
            append_narrow<std::uint16_t>(out, values, base);
            break;
        case 4:
            append_narrow<std::uint32_t>(out, values, base);
            break;
        default:
            append_narrow<std::uint64_t>(out, values, base);
            break;
    }
}

/// The lengths of texts that end at `ends`.
std::vector<std::uint32_t> lengths_of(const std::vector<std::uint32_t>& ends) {
    std::vector<std::uint32_t> lengths(ends.size());
    std::uint32_t before = 0;
    for (std::size_t i = 0; i < ends.size(); ++i) {
        lengths[i] = ends[i] - before;
        before = ends[i];
    }
    return lengths;
}

/// Reads forward and never past the end.
class Reader {
public:
    explicit Reader(Bytes bytes) : bytes_(bytes) {}

    template <std::unsigned_integral Integer>
    Result<Integer> number() {
        MS_TRY(const auto raw, take(sizeof(Integer)));
        return load_le<Integer>(raw, 0);
    }
    Result<Bytes> take(std::uint64_t count) {
        if (count > bytes_.size()) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("batch: {} bytes wanted, {} left", count, bytes_.size()));
        }
        const auto taken = bytes_.first(count);
        bytes_ = bytes_.subspan(count);
        return taken;
    }
    Result<std::vector<std::uint64_t>> numbers(std::uint32_t count) {
        MS_TRY(const auto base, number<std::uint64_t>());
        MS_TRY(const auto width, number<std::uint8_t>());
        if (width != 1 && width != 2 && width != 4 && width != 8) {
            return Error(ErrorCode::kCorruption, fmt::format("batch: width {}", width));
        }
        MS_TRY(const auto packed, take(std::uint64_t{count} * width));
        std::vector<std::uint64_t> values(count);
        for (std::uint32_t i = 0; i < count; ++i) {
            std::uint64_t value = 0;
            std::memcpy(&value, packed.data() + std::size_t{i} * width, width);
            values[i] = base + value;
        }
        return values;
    }
    bool at_end() const { return bytes_.empty(); }

private:
    Bytes bytes_;
};

/// Which rows have a value: the bits, and how many are set.
struct Validity {
    std::vector<std::uint64_t> bits;
    std::uint32_t present = 0;
};

Result<Validity> decode_validity(Reader& reader, std::uint32_t rows) {
    const std::uint64_t words = (std::uint64_t{rows} + 63) / 64;
    MS_TRY(const auto raw, reader.take(words * 8));
    Validity validity;
    validity.bits.resize(words);
    if (words > 0) {
        std::memcpy(validity.bits.data(), raw.data(), raw.size());
    }
    for (const auto word : validity.bits) {
        validity.present += static_cast<std::uint32_t>(std::popcount(word));
    }
    if (rows % 64 != 0 && validity.bits.back() >> (rows % 64) != 0) {
        return Error(ErrorCode::kCorruption, "batch: a value behind the last row");
    }
    return validity;
}

/// Ends of texts from their lengths.
Result<std::vector<std::uint32_t>> decode_ends(Reader& reader, std::uint32_t count) {
    MS_TRY(const auto lengths, reader.numbers(count));
    std::vector<std::uint32_t> ends(count);
    std::uint64_t end = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (lengths[i] > UINT32_MAX || (end += lengths[i]) > UINT32_MAX) {
            return Error(ErrorCode::kCorruption, "batch: texts of more than 4 GiB");
        }
        ends[i] = static_cast<std::uint32_t>(end);
    }
    return ends;
}

Result<BatchColumn> decode_column(Reader& reader, std::uint32_t rows) {
    MS_TRY(const auto raw_type, reader.number<std::uint8_t>());
    MS_TRY(const auto type, decode_field_type(raw_type));
    MS_TRY(const auto flags, reader.number<std::uint8_t>());
    MS_TRY(const auto name_bytes, reader.number<std::uint16_t>());
    MS_TRY(const auto name, reader.take(name_bytes));
    if ((flags & ~kHasNulls) != 0) {
        return Error(ErrorCode::kCorruption, fmt::format("batch: column flags {}", flags));
    }
    Validity validity{.bits = {}, .present = rows};
    if ((flags & kHasNulls) != 0) {
        MS_TRY(validity, decode_validity(reader, rows));
        if (validity.present == rows) {
            validity.bits.clear();
        }
    }
    const auto null_count = rows - validity.present;
    std::vector<std::uint64_t> fixed;
    std::vector<std::uint32_t> ends;
    Bytes text;
    if (is_variable_width(type)) {
        MS_TRY(ends, decode_ends(reader, validity.present));
        MS_TRY(text, reader.take(ends.empty() ? 0 : ends.back()));
    } else {
        MS_TRY(fixed, reader.numbers(validity.present));
    }
    return BatchColumn::from_parts(std::string(as_text(name)),
                                   type,
                                   rows,
                                   null_count,
                                   std::move(validity.bits),
                                   std::move(fixed),
                                   std::move(ends),
                                   std::string(as_text(text)));
}

}  // namespace

std::uint64_t EncodedBatch::size_bytes() const {
    std::uint64_t bytes = 0;
    for (const auto piece : pieces_) {
        bytes += piece.size();
    }
    return bytes;
}

EncodedBatch encode_batch(const RowBatch& batch) {
    EncodedBatch out;
    ByteBuffer* small = nullptr;
    const auto begin_small = [&] {
        if (small == nullptr) {
            out.owned_.push_back(std::make_unique<ByteBuffer>());
            small = out.owned_.back().get();
        }
    };
    const auto seal = [&] {
        if (small != nullptr && !small->empty()) {
            out.pieces_.push_back(*small);
        }
        small = nullptr;
    };
    const auto refer = [&](Bytes bytes) {
        // A small piece is copied: a view would cost as much.
        constexpr std::size_t kCopyBytes = 512;
        if (bytes.size() <= kCopyBytes) {
            append_bytes(*small, bytes);
            return;
        }
        seal();
        out.pieces_.push_back(bytes);
        begin_small();
    };
    begin_small();
    append_le(*small, kMagic);
    append_le(*small, batch.rows());
    append_le(*small, static_cast<std::uint32_t>(batch.columns.size()));
    append_numbers(*small, batch.timestamps);
    for (const auto& column : batch.columns) {
        MS_ASSERT(column.rows() == batch.rows());
        append_le(*small, static_cast<std::uint8_t>(column.type()));
        append_le(*small, column.null_count() > 0 ? kHasNulls : std::uint8_t{0});
        MS_ASSERT(column.name().size() <= UINT16_MAX);
        append_le(*small, static_cast<std::uint16_t>(column.name().size()));
        append_bytes(*small, as_bytes(column.name()));
        if (column.null_count() > 0) {
            const auto words = (batch.rows() + 63U) / 64U;
            std::vector<std::uint64_t> bits(column.valid_bits().begin(), column.valid_bits().end());
            bits.resize(words, 0);
            append_bytes(*small, std::as_bytes(std::span(bits)));
        }
        if (is_variable_width(column.type())) {
            append_numbers(*small, lengths_of(column.ends()));
            refer(as_bytes(column.text_bytes()));
        } else {
            append_numbers(*small, column.fixed_values());
        }
    }
    seal();
    return out;
}

Result<RowBatch> decode_batch(Bytes bytes) {
    Reader reader(bytes);
    MS_TRY(const auto magic, reader.number<std::uint32_t>());
    if (magic != kMagic) {
        return Error(ErrorCode::kCorruption, "batch: unknown magic or version");
    }
    MS_TRY(const auto rows, reader.number<std::uint32_t>());
    MS_TRY(const auto columns, reader.number<std::uint32_t>());
    if (columns > kColumnsMax) {
        return Error(ErrorCode::kCorruption, fmt::format("batch: {} columns", columns));
    }
    RowBatch batch;
    MS_TRY(const auto times, reader.numbers(rows));
    batch.timestamps.assign(times.begin(), times.end());
    std::set<std::pair<FieldType, std::string>> seen;
    for (std::uint32_t i = 0; i < columns; ++i) {
        MS_TRY(auto column, decode_column(reader, rows));
        if (!seen.emplace(column.type(), column.name()).second) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("batch: two columns '{}' of one type", column.name()));
        }
        batch.columns.push_back(std::move(column));
    }
    if (!reader.at_end()) {
        return Error(ErrorCode::kCorruption, "batch: bytes after the last column");
    }
    return batch;
}

}  // namespace molesignal
