#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "common/result.h"
#include "model/ids.h"

namespace molesignal {

/// The layout of docs/formats/index.md. Integers are little-endian.
inline constexpr std::string_view kSidecarMagic = "MSINDEX\n";
inline constexpr std::uint32_t kSidecarVersion = 3;
/// Of the oldest that is read.
inline constexpr std::uint32_t kSidecarVersionMin = 2;
inline constexpr std::size_t kSidecarTrailerBytes = 32;
/// What one read of a sidecar's end usually needs.
inline constexpr std::size_t kSidecarTailBytes = 64 * 1024;
/// Blocks of an area, each with a checksum; the last is shorter.
inline constexpr unsigned kSidecarBlockBits = 14;

inline constexpr std::uint32_t kSidecarRowsMax = 1U << 31U;
inline constexpr std::uint32_t kSidecarFieldsMax = 1U << 16U;
inline constexpr std::uint32_t kSidecarDirectoryBytesMax = 64U << 20U;

/// Tokens of more bytes are not in the dictionary.
inline constexpr std::size_t kTermBytesMax = 64;
/// Terms that are no tokens: their row sets are kept like those of tokens.
inline constexpr std::string_view kNullRowsTerm = "\x01";    ///< Rows without a value.
inline constexpr std::string_view kHashedRowsTerm = "\x02";  ///< Rows with a hashed token.
inline constexpr std::string_view kLongRowsTerm = "\x03";    ///< Rows with a long token.
inline constexpr std::uint32_t kPatternsMax = 1U << 16U;

/// Ids point at blocks of 2^11 rows, which is what a reader skips; ids that are in many blocks of a
/// large part at blocks of 2^15.
inline constexpr unsigned kIdBlockBits = 11;
inline constexpr unsigned kWideIdBlockBits = 15;
inline constexpr unsigned kHashBitsMax = 40;

/// Values of exact fields point at blocks of so many rows.
inline constexpr std::uint32_t kValueBlockRows = 2'048;
inline constexpr std::uint32_t kExactValuesMax = 4'096;
inline constexpr std::size_t kExactValueBytesMax = 256;

/// How a field is indexed. The values reach disk.
enum class FieldIndexKind : std::uint8_t {
    kNone = 0,    ///< It has values, and no structure.
    kText = 1,    ///< Words: which rows have a token.
    kExact = 2,   ///< Few values: how often each occurs, and in which blocks of rows.
    kHashed = 4,  ///< Many values, as ids are: which blocks of rows have a value's hash.
};
std::string_view field_index_kind_name(FieldIndexKind kind);

/// A run of bytes of a sidecar. The values reach disk.
enum class AreaKind : std::uint8_t {
    kDictionary = 1,
    kDictionaryIndex = 2,
    kPostings = 3,
    kPatternIndex = 4,
    kHashes = 5,
    kHashIndex = 6,
    kValues = 7,
    kSequences = 8,  ///< Of version 3; not of every text.
};

struct SidecarArea {
    AreaKind kind = AreaKind::kDictionary;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    std::vector<std::uint32_t> block_crcs;
};

/// Figures of a table of ids.
struct HashShape {
    std::uint64_t entries = 0;
    unsigned hash_bits = 0;    ///< Of a hash that are kept, its bucket's included.
    unsigned bucket_bits = 0;  ///< The table has 2^bucket_bits buckets.
    unsigned block_bits = 0;   ///< log2 of the rows of a block.
    bool is_dropped = false;   ///< There were too many: any id may be anywhere.
};

/// Figures of a text field's structures.
struct TextShape {
    std::uint64_t terms = 0;     ///< In the dictionary.
    std::uint64_t patterns = 0;  ///< Row sets that common terms are made of.
    bool odd_case = false;       ///< A term has a letter that is i, k or s in another case.
};

struct SidecarField {
    FieldId id;
    FieldIndexKind kind = FieldIndexKind::kNone;
    std::uint64_t present_rows = 0;  ///< Rows with a value.
    std::uint64_t distinct = 0;      ///< Values, or tokens of a text; an estimate for kHashed.
    TextShape text;                  ///< Of kText.
    HashShape hashes;                ///< Of kText (tokens that are ids) and kHashed.
    std::vector<SidecarArea> areas;  ///< By kind, each at most once.

    const SidecarArea* area(AreaKind area_kind) const;
    std::uint64_t bytes() const;
};

/// What the end of a sidecar says of the rest.
struct SidecarDirectory {
    std::uint32_t rows = 0;
    std::uint32_t tokenizer_id = 0;
    std::uint32_t tokenizer_version = 0;
    /// Fields that are not in `fields` have no value in the part.
    bool all_fields_listed = false;
    std::vector<SidecarField> fields;  ///< Ascending by id.
    /// Of a pack of ids: the ids of the parts that its rows stand for.
    std::vector<std::string> parts;

    const SidecarField* find(FieldId id) const;
};

/// Appends directory and trailer to `file`, which holds the areas.
void append_directory(const SidecarDirectory& directory, ByteBuffer& file);

/// Bytes of the end that hold directory and trailer, from at least the trailer's bytes.
/// kCorruption: it is not the end of a sidecar of `file_bytes`. kInvalidArgument: of another
/// version.
Result<std::uint64_t> directory_tail_bytes(Bytes tail, std::uint64_t file_bytes);

/// Reads a directory from the end of a sidecar of `file_bytes`; every place in it lies in the file.
/// kCorruption: the tail is too short, a checksum is wrong, or something is not as written.
Result<SidecarDirectory> parse_directory(Bytes tail, std::uint64_t file_bytes);

}  // namespace molesignal
