#include "index/sidecar_format.h"

#include <algorithm>
#include <optional>
#include <span>

#include <fmt/format.h>

#include "common/crc32c.h"
#include "index/coding.h"

namespace molesignal {
namespace {

constexpr std::uint64_t kAllFieldsListed = 1;
constexpr std::uint64_t kOddCase = 1;
constexpr std::uint64_t kHashesDropped = 2;
constexpr unsigned kBlockBitsMax = 31;
constexpr std::size_t kPartIdBytesMax = 64;

Error corrupt(std::string_view what) {
    return Error(ErrorCode::kCorruption, fmt::format("index sidecar: {}", what));
}

std::uint64_t blocks_of(std::uint64_t bytes) {
    return (bytes + (1U << kSidecarBlockBits) - 1) >> kSidecarBlockBits;
}

void append_area(ByteBuffer& out, const SidecarArea& area) {
    out.push_back(static_cast<std::byte>(area.kind));
    append_varint(out, area.offset);
    append_varint(out, area.bytes);
    for (const auto crc : area.block_crcs) {
        append_le(out, crc);
    }
}

bool has_table(const SidecarField& field) {
    return field.kind == FieldIndexKind::kText || field.kind == FieldIndexKind::kHashed;
}

void append_field(ByteBuffer& out, const SidecarField& field) {
    append_varint(out, static_cast<std::uint32_t>(field.id.value));
    out.push_back(static_cast<std::byte>(field.kind));
    append_varint(out, field.present_rows);
    append_varint(out, field.distinct);
    if (field.kind == FieldIndexKind::kText) {
        const auto& text = field.text;
        append_varint(out, text.terms);
        append_varint(out, text.patterns);
    }
    if (has_table(field)) {
        append_varint(out, field.hashes.entries);
        append_varint(out, field.hashes.hash_bits);
        append_varint(out, field.hashes.bucket_bits);
        append_varint(out, field.hashes.block_bits);
        append_varint(
            out,
            (field.text.odd_case ? kOddCase : 0) | (field.hashes.is_dropped ? kHashesDropped : 0));
    }
    append_varint(out, field.areas.size());
    for (const auto& area : field.areas) {
        append_area(out, area);
    }
}

/// `end`: where areas end.
SidecarArea read_area(ByteReader& in, std::uint64_t end) {
    SidecarArea area;
    area.kind = static_cast<AreaKind>(in.u8());
    area.offset = in.varint(end);
    area.bytes = in.varint(end - area.offset);
    const auto blocks = blocks_of(area.bytes);
    if (blocks > in.left() / sizeof(std::uint32_t)) {
        in.fail();
        return area;
    }
    area.block_crcs.resize(blocks);
    for (auto& crc : area.block_crcs) {
        crc = in.u32();
    }
    return area;
}

/// `last`: may be missing.
bool has_areas(const SidecarField& field,
               std::initializer_list<AreaKind> kinds,
               std::optional<AreaKind> last = std::nullopt) {
    auto areas = std::span(field.areas);
    if (last.has_value() && areas.size() == kinds.size() + 1 && areas.back().kind == *last) {
        areas = areas.first(kinds.size());
    }
    return std::ranges::equal(areas, kinds, {}, &SidecarArea::kind);
}

bool is_sound(const HashShape& shape) {
    return shape.bucket_bits <= shape.hash_bits && shape.hash_bits - shape.bucket_bits <= 57 &&
           (shape.entries == 0 || shape.hash_bits > 0);
}

/// Whether the figures of a field fit each other.
bool is_sound(const SidecarField& field) {
    switch (field.kind) {
        case FieldIndexKind::kNone:
            return field.areas.empty();
        case FieldIndexKind::kText:
            return has_areas(field,
                             {AreaKind::kDictionary,
                              AreaKind::kDictionaryIndex,
                              AreaKind::kPostings,
                              AreaKind::kPatternIndex,
                              AreaKind::kHashes,
                              AreaKind::kHashIndex},
                             AreaKind::kSequences) &&
                   is_sound(field.hashes);
        case FieldIndexKind::kExact:
            return has_areas(field, {AreaKind::kValues});
        case FieldIndexKind::kHashed:
            return has_areas(field, {AreaKind::kHashes, AreaKind::kHashIndex}) &&
                   is_sound(field.hashes);
    }
    return false;
}

SidecarField read_field(ByteReader& in, const SidecarDirectory& directory, std::uint64_t end) {
    SidecarField field;
    field.id = FieldId{static_cast<std::int32_t>(in.varint(UINT32_MAX))};
    field.kind = static_cast<FieldIndexKind>(in.u8());
    field.present_rows = in.varint(directory.rows);
    field.distinct = in.varint();
    if (field.kind == FieldIndexKind::kText) {
        auto& text = field.text;
        text.terms = in.varint();
        text.patterns = in.varint(kPatternsMax);
    }
    if (has_table(field)) {
        auto& hashes = field.hashes;
        hashes.entries = in.varint();
        hashes.hash_bits = static_cast<unsigned>(in.varint(kHashBitsMax));
        hashes.bucket_bits = static_cast<unsigned>(in.varint(kHashBitsMax));
        hashes.block_bits = static_cast<unsigned>(in.varint(kBlockBitsMax));
        const auto flags = in.varint(kOddCase | kHashesDropped);
        field.text.odd_case = (flags & kOddCase) != 0;
        hashes.is_dropped = (flags & kHashesDropped) != 0;
    }
    const auto areas = in.varint(8);
    for (std::uint64_t i = 0; i < areas && in.ok(); ++i) {
        field.areas.push_back(read_area(in, end));
    }
    if (in.ok() && !is_sound(field)) {
        in.fail();
    }
    return field;
}

SidecarDirectory read_directory(ByteReader& in, std::uint64_t end) {
    SidecarDirectory directory;
    directory.rows = static_cast<std::uint32_t>(in.varint(kSidecarRowsMax));
    directory.tokenizer_id = static_cast<std::uint32_t>(in.varint(UINT32_MAX));
    directory.tokenizer_version = static_cast<std::uint32_t>(in.varint(UINT32_MAX));
    directory.all_fields_listed = in.varint(kAllFieldsListed) != 0;
    const auto fields = in.varint(std::min<std::uint64_t>(kSidecarFieldsMax, in.left()));
    for (std::uint64_t i = 0; i < fields && in.ok(); ++i) {
        directory.fields.push_back(read_field(in, directory, end));
        if (i > 0 && directory.fields[i - 1].id >= directory.fields[i].id) {
            in.fail();
        }
    }
    const auto parts = in.varint(std::min<std::uint64_t>(directory.rows, in.left()));
    for (std::uint64_t i = 0; i < parts && in.ok(); ++i) {
        directory.parts.emplace_back(in.text(kPartIdBytesMax));
    }
    if (parts != 0 && parts != directory.rows) {
        in.fail();
    }
    return directory;
}

}  // namespace

std::string_view field_index_kind_name(FieldIndexKind kind) {
    switch (kind) {
        case FieldIndexKind::kNone:
            return "none";
        case FieldIndexKind::kText:
            return "text";
        case FieldIndexKind::kExact:
            return "exact";
        case FieldIndexKind::kHashed:
            return "hashed";
    }
    return "unknown";
}

const SidecarArea* SidecarField::area(AreaKind area_kind) const {
    const auto found = std::ranges::find(areas, area_kind, &SidecarArea::kind);
    return found == areas.end() ? nullptr : &*found;
}

std::uint64_t SidecarField::bytes() const {
    std::uint64_t sum = 0;
    for (const auto& each : areas) {
        sum += each.bytes;
    }
    return sum;
}

const SidecarField* SidecarDirectory::find(FieldId id) const {
    const auto found = std::ranges::lower_bound(fields, id, {}, &SidecarField::id);
    return found == fields.end() || found->id != id ? nullptr : &*found;
}

void append_directory(const SidecarDirectory& directory, ByteBuffer& file) {
    const auto begin = file.size();
    append_varint(file, directory.rows);
    append_varint(file, directory.tokenizer_id);
    append_varint(file, directory.tokenizer_version);
    append_varint(file, directory.all_fields_listed ? kAllFieldsListed : 0);
    append_varint(file, directory.fields.size());
    for (const auto& field : directory.fields) {
        append_field(file, field);
    }
    append_varint(file, directory.parts.size());
    for (const auto& part : directory.parts) {
        append_text(file, part);
    }
    const auto directory_bytes = static_cast<std::uint32_t>(file.size() - begin);
    append_le(file, std::uint64_t{file.size() + kSidecarTrailerBytes});
    append_le(file, directory_bytes);
    append_le(file, kSidecarVersion);
    append_le(file, crc32c(Bytes(file).subspan(begin)));
    append_le(file, std::uint32_t{0});
    append_bytes(file, as_bytes(kSidecarMagic));
}

Result<std::uint64_t> directory_tail_bytes(Bytes tail, std::uint64_t file_bytes) {
    if (tail.size() < kSidecarTrailerBytes || tail.size() > file_bytes) {
        return corrupt(fmt::format("{} bytes are too few", tail.size()));
    }
    const auto trailer = tail.last(kSidecarTrailerBytes);
    if (as_text(trailer.last(kSidecarMagic.size())) != kSidecarMagic ||
        load_le<std::uint32_t>(trailer, 20) != 0) {
        return corrupt("no magic at the end");
    }
    const auto version = load_le<std::uint32_t>(trailer, 12);
    if (version < kSidecarVersionMin || version > kSidecarVersion) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("index sidecar: format version {}, this program reads {} to {} "
                                 "(molesignal index rebuild --all writes indexes anew)",
                                 version,
                                 kSidecarVersionMin,
                                 kSidecarVersion));
    }
    const auto directory_bytes = load_le<std::uint32_t>(trailer, 8);
    if (load_le<std::uint64_t>(trailer, 0) != file_bytes ||
        directory_bytes > kSidecarDirectoryBytesMax ||
        directory_bytes > file_bytes - kSidecarTrailerBytes) {
        return corrupt("sizes do not fit the file");
    }
    return directory_bytes + kSidecarTrailerBytes;
}

Result<SidecarDirectory> parse_directory(Bytes tail, std::uint64_t file_bytes) {
    MS_TRY(const auto bytes, directory_tail_bytes(tail, file_bytes));
    if (bytes > tail.size()) {
        return corrupt("the directory is not within the tail");
    }
    const auto part = tail.last(bytes);
    // Up to the checksum itself.
    if (crc32c(part.first(bytes - 16)) !=
        load_le<std::uint32_t>(part, static_cast<std::size_t>(bytes - 16))) {
        return corrupt("the directory's checksum is wrong");
    }
    ByteReader in(part.first(bytes - kSidecarTrailerBytes));
    auto directory = read_directory(in, file_bytes - bytes);
    if (!in.ok() || in.left() != 0) {
        return corrupt("the directory is not as it is written");
    }
    return directory;
}

}  // namespace molesignal
