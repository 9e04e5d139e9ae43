#include "query/sql/parts/page_checks.h"

#include <cstdint>
#include <optional>

#include <fmt/format.h>
#include <zlib.h>

namespace molesignal {
namespace {

/// What is wanted of a page's header (parquet.thrift, PageHeader).
struct PageHeader {
    std::optional<std::int32_t> type;
    std::optional<std::int32_t> compressed_bytes;
    std::optional<std::int32_t> crc;
    unsigned integers = 0;        ///< A bit for each field that is an integer.
    unsigned inner_field = 0;     ///< Of the header of the page's own type.
    unsigned inner_integers = 0;  ///< A bit for each of its fields that is one.
    std::size_t header_bytes = 0;

    /// Whether it has what a reader insists on. A reader that finds out by itself cannot say
    /// which object it was.
    bool is_whole() const {
        struct Kind {
            std::int32_t type;
            unsigned field;
            unsigned required;  ///< Of its integer fields.
        };
        constexpr Kind kKinds[] = {{0, 5, 0b11110}, {2, 7, 0b110}, {3, 8, 0b1111110}};
        constexpr unsigned kRequired = 0b1110;
        for (const auto& kind : kKinds) {
            if (type == kind.type) {
                return (integers & kRequired) == kRequired && inner_field == kind.field &&
                       (inner_integers & kind.required) == kind.required;
            }
        }
        return false;
    }
};

/// Thrift's compact protocol, as far as page headers need it; `failed` stays set after a fault.
class HeaderReader {
public:
    explicit HeaderReader(std::string_view bytes) : bytes_(bytes) {}

    PageHeader read() {
        PageHeader header;
        std::int64_t field = 0;
        while (const auto type = next_field(field)) {
            constexpr std::int64_t kType = 1;
            constexpr std::int64_t kCompressedBytes = 3;
            constexpr std::int64_t kCrc = 4;
            if (type == kInt32) {
                const auto value = static_cast<std::int32_t>(zigzag());
                header.integers |= bit_of(field);
                if (field == kType) {
                    header.type = value;
                } else if (field == kCompressedBytes) {
                    header.compressed_bytes = value;
                } else if (field == kCrc) {
                    header.crc = value;
                }
            } else if (type == kStruct) {
                header.inner_field = field > 0 && field < 16 ? static_cast<unsigned>(field) : 0;
                header.inner_integers = read_inner();
            } else {
                skip(type, 0);
            }
        }
        header.header_bytes = at_;
        return header;
    }
    bool failed() const { return failed_; }

private:
    static constexpr int kBoolTrue = 1;
    static constexpr int kBoolFalse = 2;
    static constexpr int kByte = 3;
    static constexpr int kInt16 = 4;
    static constexpr int kInt32 = 5;
    static constexpr int kInt64 = 6;
    static constexpr int kDouble = 7;
    static constexpr int kBinary = 8;
    static constexpr int kList = 9;
    static constexpr int kSet = 10;
    static constexpr int kStruct = 12;
    static constexpr int kDepthMax = 8;

    static unsigned bit_of(std::int64_t field) {
        return field >= 0 && field < 32 ? 1U << static_cast<unsigned>(field) : 0;
    }
    /// Skips a struct; a bit for each of its integer fields.
    unsigned read_inner() {
        unsigned integers = 0;
        std::int64_t field = 0;
        while (const auto type = next_field(field)) {
            integers |= type == kInt32 ? bit_of(field) : 0;
            skip(type, 1);
        }
        return integers;
    }
    std::uint8_t byte() {
        if (at_ >= bytes_.size()) {
            failed_ = true;
            return 0;
        }
        return static_cast<std::uint8_t>(bytes_[at_++]);
    }
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64 && !failed_; shift += 7) {
            const auto next = byte();
            value |= static_cast<std::uint64_t>(next & 0x7fU) << shift;
            if (next < 0x80) {
                return value;
            }
        }
        failed_ = true;
        return 0;
    }
    std::int64_t zigzag() {
        const auto value = varint();
        return static_cast<std::int64_t>(value >> 1U) ^ -static_cast<std::int64_t>(value & 1U);
    }
    /// The type of the struct's next field, 0 at its end.
    int next_field(std::int64_t& field) {
        const auto head = byte();
        const int type = head & 0x0f;
        if (failed_ || type == 0) {
            return 0;
        }
        const auto delta = head >> 4U;
        field = delta == 0 ? zigzag() : field + delta;
        return type;
    }
    void advance(std::uint64_t bytes) {
        if (bytes > bytes_.size() - at_) {
            failed_ = true;
        } else {
            at_ += bytes;
        }
    }
    void skip(int type, int depth) {
        if (depth > kDepthMax) {
            failed_ = true;
        }
        if (failed_) {
            return;
        }
        switch (type) {
            case kBoolTrue:
            case kBoolFalse:
                return;
            case kByte:
                return advance(1);
            case kInt16:
            case kInt32:
            case kInt64:
                varint();
                return;
            case kDouble:
                return advance(8);
            case kBinary:
                return advance(varint());
            case kList:
            case kSet: {
                const auto head = byte();
                auto count = static_cast<std::uint64_t>(head >> 4U);
                count = count == 15 ? varint() : count;
                for (std::uint64_t i = 0; i < count && !failed_; ++i) {
                    // Booleans in lists take a byte each.
                    const int element = head & 0x0f;
                    skip(element == kBoolTrue || element == kBoolFalse ? kByte : element,
                         depth + 1);
                }
                return;
            }
            case kStruct: {
                std::int64_t field = 0;
                while (const auto inner = next_field(field)) {
                    skip(inner, depth + 1);
                }
                return;
            }
            default:
                failed_ = true;
        }
    }

    std::string_view bytes_;
    std::size_t at_ = 0;
    bool failed_ = false;
};

}  // namespace

Result<> check_pages(std::string_view chunk) {
    std::size_t at = 0;
    while (at < chunk.size()) {
        HeaderReader reader(chunk.substr(at));
        const auto header = reader.read();
        const auto left = chunk.size() - at - std::min(chunk.size() - at, header.header_bytes);
        if (reader.failed() || !header.is_whole() || *header.compressed_bytes < 0 ||
            static_cast<std::size_t>(*header.compressed_bytes) > left) {
            return Error(ErrorCode::kCorruption, fmt::format("no page begins at byte {}", at));
        }
        const auto page = chunk.substr(at + header.header_bytes,
                                       static_cast<std::size_t>(*header.compressed_bytes));
        if (!header.crc.has_value() ||
            ::crc32_z(0, reinterpret_cast<const Bytef*>(page.data()), page.size()) !=
                static_cast<std::uint32_t>(*header.crc)) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("the checksum of the page at byte {} is wrong", at));
        }
        at += header.header_bytes + page.size();
    }
    return {};
}

}  // namespace molesignal
