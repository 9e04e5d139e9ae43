#include "index/id_pack.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <set>

#include "common/assert.h"
#include "index/area_reader.h"
#include "index/hash_table.h"
#include "index/sidecar_writer.h"

namespace molesignal {
namespace {

/// What an index knows of the ids of a field.
enum class Knowledge : std::uint8_t {
    kNothing,  ///< Any id may be there.
    kNone,     ///< There is no value.
    kTable,
    kValues,  ///< Few, listed.
};

Knowledge knowledge_of(const SidecarReader& index, FieldId id) {
    const auto* field = index.find(id);
    if (field == nullptr) {
        return index.directory().all_fields_listed ? Knowledge::kNone : Knowledge::kNothing;
    }
    if (field->present_rows == 0) {
        return Knowledge::kNone;
    }
    if (field->kind == FieldIndexKind::kExact) {
        return Knowledge::kValues;
    }
    const bool has_table = field->kind == FieldIndexKind::kHashed && !field->hashes.is_dropped;
    return has_table ? Knowledge::kTable : Knowledge::kNothing;
}

std::uint64_t table_bytes(const SidecarField& field) {
    const bool has_table = field.kind == FieldIndexKind::kHashed && !field.hashes.is_dropped;
    return has_table ? field.bytes() : 0;
}

/// The hashes of one field in one part, ascending.
class PartIds {
public:
    static Result<PartIds> open(const IdPackInput& part, FieldId id) {
        PartIds ids;
        const auto* field = part.index->find(id);
        SidecarReadStats stats;
        switch (knowledge_of(*part.index, id)) {
            case Knowledge::kNothing:
            case Knowledge::kNone:
                break;
            case Knowledge::kTable: {
                AreaReader areas(*part.index, *part.source, stats);
                MS_TRY(const auto hashes, areas.read_all(*field->area(AreaKind::kHashes)));
                MS_TRY(const auto index, areas.read_all(*field->area(AreaKind::kHashIndex)));
                ids.hashes_.assign(hashes.begin(), hashes.end());
                ids.index_.assign(index.begin(), index.end());
                ids.cursor_.emplace(ids.hashes_, ids.index_, field->hashes, part.index->rows());
                break;
            }
            case Knowledge::kValues: {
                MS_TRY(const auto values, part.index->value_counts(*part.source, id, stats));
                for (const auto& value : *values) {
                    ids.values_.push_back(id_hash(value.value));
                }
                std::ranges::sort(ids.values_);
                break;
            }
        }
        MS_TRY_VOID(ids.advance());
        return ids;
    }

    bool at_end() const { return !hash_.has_value(); }
    std::uint64_t hash() const { return *hash_; }
    Result<> advance() {
        hash_.reset();
        if (cursor_.has_value()) {
            MS_TRY(const auto more, cursor_->next());
            if (more) {
                hash_ = cursor_->hash();
            }
        } else if (next_value_ < values_.size()) {
            hash_ = values_[next_value_++];
        }
        return {};
    }

private:
    // The cursor views the buffers, whose bytes stay where they are when this moves.
    ByteBuffer hashes_;
    ByteBuffer index_;
    std::optional<HashTableCursor> cursor_;
    std::vector<std::uint64_t> values_;
    std::size_t next_value_ = 0;
    std::optional<std::uint64_t> hash_;
};

/// The fields of a pack: with a table in one part, and known in all.
std::vector<FieldId> packed_fields(std::span<const IdPackInput> parts) {
    std::set<FieldId> fields;
    for (const auto& part : parts) {
        for (const auto& field : part.index->fields()) {
            if (table_bytes(field) > 0) {
                fields.insert(field.id);
            }
        }
    }
    std::erase_if(fields, [&](FieldId id) {
        return std::ranges::any_of(parts, [&](const auto& part) {
            return knowledge_of(*part.index, id) == Knowledge::kNothing;
        });
    });
    return {fields.begin(), fields.end()};
}

/// The shape of the table that the parts' make: no longer hashes than the shortest of them.
HashShape packed_shape(std::span<const IdPackInput> parts, FieldId id) {
    constexpr unsigned kExtraHashBits = 7;
    HashShape shape{.hash_bits = kHashBitsMax};
    std::uint64_t entries = 0;
    for (const auto& part : parts) {
        const auto* field = part.index->find(id);
        switch (knowledge_of(*part.index, id)) {
            case Knowledge::kTable:
                entries += field->hashes.entries;
                shape.hash_bits = std::min(shape.hash_bits, field->hashes.hash_bits);
                break;
            case Knowledge::kValues:
                entries += field->distinct;
                break;
            case Knowledge::kNothing:
            case Knowledge::kNone:
                break;
        }
    }
    shape.hash_bits =
        std::min(shape.hash_bits, static_cast<unsigned>(std::bit_width(entries)) + kExtraHashBits);
    shape.bucket_bits = std::min(shape.hash_bits, HashTableEncoder::bucket_bits(entries));
    return shape;
}

/// Merges the tables of one field.
Result<> pack_field(std::span<const IdPackInput> parts,
                    FieldId id,
                    MemoryReservation& memory,
                    SidecarWriter& writer) {
    std::uint64_t bytes = 0;
    for (const auto& part : parts) {
        const auto* field = part.index->find(id);
        bytes += field == nullptr ? 0 : field->bytes();
    }
    MS_TRY_VOID(memory.resize(static_cast<std::int64_t>(bytes)));
    std::vector<PartIds> runs;
    runs.reserve(parts.size());
    std::uint64_t parts_with = 0;
    for (const auto& part : parts) {
        auto run = PartIds::open(part, id);
        if (!run) {
            return std::move(run).error().wrap("part " + part.part);
        }
        parts_with += run->at_end() ? 0 : 1;
        runs.push_back(std::move(*run));
    }
    auto shape = packed_shape(parts, id);
    HashTableEncoder encoder(shape, parts.size());
    const auto kept = ~((std::uint64_t{1} << (64 - shape.hash_bits)) - 1);
    std::vector<std::pair<std::uint64_t, std::uint32_t>> entries;  // Hash and part, of a bucket.
    const auto buckets = std::uint64_t{1} << shape.bucket_bits;
    for (std::uint64_t bucket = 0; bucket < buckets; ++bucket) {
        entries.clear();
        for (std::uint32_t part = 0; part < runs.size(); ++part) {
            auto& run = runs[part];
            while (!run.at_end() &&
                   (shape.bucket_bits == 0 || run.hash() >> (64 - shape.bucket_bits) == bucket)) {
                const std::pair entry{run.hash() & kept, part};
                if (entries.empty() || entries.back() != entry) {
                    entries.push_back(entry);
                }
                if (auto more = run.advance(); !more) {
                    return std::move(more).error().wrap("part " + parts[part].part);
                }
            }
        }
        std::ranges::sort(entries);
        for (const auto& [hash, part] : entries) {
            encoder.add(hash, part);
        }
    }
    auto table = std::move(encoder).finish();
    return writer.add_table(id, parts_with, shape, std::move(table));
}

}  // namespace

std::uint64_t id_table_bytes(const SidecarDirectory& index) {
    std::uint64_t most = 0;
    for (const auto& field : index.fields) {
        most = std::max(most, table_bytes(field));
    }
    return most;
}

Result<ByteBuffer> build_id_pack(std::span<const IdPackInput> parts,
                                 const std::shared_ptr<MemoryBudget>& memory) {
    SidecarWriterOptions options{.rows = static_cast<std::uint32_t>(parts.size())};
    for (const auto& part : parts) {
        options.parts.push_back(part.part);
    }
    SidecarWriter writer(std::move(options), memory);
    MemoryReservation tables(memory);
    for (const auto id : packed_fields(parts)) {
        MS_TRY_VOID(pack_field(parts, id, tables, writer));
    }
    return writer.finish();
}

}  // namespace molesignal
