#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace molesignal {

/// What is used of SQLite's file format (docs/formats/catalogue.md; SQLite's "Database File
/// Format" is the source).

inline constexpr std::string_view kSqliteMagic{"SQLite format 3\0", 16};
inline constexpr std::size_t kSqliteHeaderBytes = 100;
inline constexpr std::size_t kSqlitePageSizeAt = 16;
inline constexpr std::size_t kSqliteReservedAt = 20;
inline constexpr std::uint32_t kSqlitePageBytesMin = 512;
inline constexpr std::uint32_t kSqlitePageBytesMax = 65'536;

// The write-ahead log: a header, then frames of a header and a page.
inline constexpr std::uint32_t kJournalMagic = 0x377f0682;  ///< The lowest bit: big-endian sums.
inline constexpr std::size_t kJournalHeaderBytes = 32;
inline constexpr std::size_t kFrameHeaderBytes = 24;
inline constexpr std::size_t kJournalSaltsAt = 16;
inline constexpr std::size_t kJournalSumsAt = 24;
inline constexpr std::size_t kFrameSaltsAt = 8;
inline constexpr std::size_t kFrameSumsAt = 16;
inline constexpr std::size_t kSaltsBytes = 8;

inline std::uint32_t load_be32(const void* bytes) {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes, sizeof value);
    return std::endian::native == std::endian::little ? __builtin_bswap32(value) : value;
}

inline bool is_sqlite_page_size(std::uint64_t bytes) {
    return bytes >= kSqlitePageBytesMin && bytes <= kSqlitePageBytesMax &&
           std::has_single_bit(bytes);
}

/// Of a database's header. 0: none that SQLite allows.
inline std::uint32_t sqlite_page_size(const void* header) {
    const auto* at = static_cast<const unsigned char*>(header) + kSqlitePageSizeAt;
    const auto size = static_cast<std::uint32_t>(at[0] << 8U | at[1]);
    const auto bytes = size == 1 ? kSqlitePageBytesMax : size;
    return is_sqlite_page_size(bytes) ? bytes : 0;
}

/// The two running sums of a write-ahead log. Each header ends with the sums of all that comes
/// before them: of the log's header, then of the first 8 bytes and the page of each frame.
class JournalSums {
public:
    JournalSums() = default;
    /// Goes on from the sums that end a header.
    JournalSums(const void* stored, bool big_endian_words)
        : first_(load_be32(stored)),
          second_(load_be32(static_cast<const char*>(stored) + 4)),
          big_endian_words_(big_endian_words) {}
    explicit JournalSums(bool big_endian_words) : big_endian_words_(big_endian_words) {}

    /// `count`: a multiple of 8.
    void add(const void* bytes, std::size_t count) {
        const auto* at = static_cast<const char*>(bytes);
        for (const auto* end = at + count; at != end; at += 8) {
            first_ += word(at) + second_;
            second_ += word(at + 4) + first_;
        }
    }
    bool equals(const void* stored) const {
        return first_ == load_be32(stored) &&
               second_ == load_be32(static_cast<const char*>(stored) + 4);
    }

private:
    std::uint32_t word(const char* at) const {
        if (big_endian_words_) {
            return load_be32(at);
        }
        std::uint32_t value = 0;
        std::memcpy(&value, at, sizeof value);
        return value;
    }
    std::uint32_t first_ = 0;
    std::uint32_t second_ = 0;
    bool big_endian_words_ = false;
};

}  // namespace molesignal
