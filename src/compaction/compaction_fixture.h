#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include "common/random.h"
#include "compaction/part_input.h"
#include "metadata/catalogue.h"
#include "metadata/describe_part.h"
#include "objectstore/object_store.h"
#include "parquet/part_fixture.h"
#include "parquet/part_plan.h"
#include "parquet/part_writer.h"

namespace molesignal {

/// The fields of a row that have a value, by name and type, as text.
using TestRow = std::map<std::string, std::string>;
/// Rows by shard and position.
using TestRows = std::map<std::pair<std::uint64_t, std::uint64_t>, TestRow>;

/// What a row of a part has, as text.
inline TestRow test_row(const PartChunk& chunk, std::uint32_t row) {
    TestRow out{{"time", std::to_string(chunk.rows.timestamps[row])}};
    for (const auto& view : chunk.rows.columns) {
        const auto slot = view.slot(row);
        if (slot == HotColumnView::kNoSlot) {
            continue;
        }
        auto& value = out[fmt::format("{}/{}", view.name, field_type_name(view.type))];
        value = view.encoding == HotEncoding::kFixed ? std::to_string(view.fixed[slot])
                                                     : std::string(view.text(slot));
    }
    return out;
}

/// Makes parts of random rows with a few fields of several types, as flushes do.
class PartMaker {
public:
    PartMaker(StreamId stream, std::uint64_t seed) : stream_(std::move(stream)), random_(seed) {
        for (const auto& [name, type] : {std::pair{"message", FieldType::kString},
                                         {"service", FieldType::kString},
                                         {"status", FieldType::kInt64},
                                         {"status", FieldType::kString},
                                         {"trace_id", FieldType::kString},
                                         {"ok", FieldType::kBool},
                                         {"tags", FieldType::kJson}}) {
            fields_.push_back({.name = name, .type = type});
        }
    }

    const std::vector<NewField>& fields() const { return fields_; }
    /// Field ids from 1, in the order of fields().
    StreamSchema schema() const {
        StreamSchema schema;
        for (const auto& field : fields_) {
            schema.variants.push_back(
                {.id = FieldId{static_cast<std::int32_t>(schema.variants.size() + 1)},
                 .name = field.name,
                 .type = field.type});
        }
        return schema;
    }

    /// `rows` rows of `shard` from `position`, at random times in [begin_ns, begin_ns + span_ns).
    /// Every second part lacks some fields. The object is stored under the part's id.
    PartInfo make(ObjectStore& objects,
                  const RequestContext& context,
                  ShardId shard,
                  std::uint64_t position,
                  std::uint32_t rows,
                  std::int64_t begin_ns,
                  std::int64_t span_ns) {
        const auto chunks = make_chunks(position, rows, begin_ns, span_ns);
        // As old rows: all of one day are one part.
        const auto slices = plan_parts(chunks, UnixNanos{INT64_MAX / 2}, rows_per_group);
        EXPECT_EQ(slices.size(), 1U);
        const auto written = write_part(slices.front(),
                                        chunks,
                                        schema(),
                                        shard,
                                        {.zstd_level = 1, .rows_per_group = rows_per_group},
                                        MemoryBudget::make_root("test", "none", 1LL << 40));
        EXPECT_TRUE(written);
        PartInfo part;
        part.id = fmt::format("part{:022}", ++parts_);
        part.stream = stream_;
        part.objects.push_back({.kind = "parquet",
                                .key = part.id + ".parquet",
                                .bytes = static_cast<std::int64_t>(written->file.size()),
                                .xxh3 = XXH3_64bits(written->file.data(), written->file.size())});
        part.rows = rows;
        part.raw_bytes = rows * 200;
        const auto floor_us = [](std::int64_t ns) { return ns / 1000 - (ns % 1000 < 0 ? 1 : 0); };
        part.time_min_us = floor_us(written->time_min_ns);
        part.time_max_us = floor_us(written->time_max_ns + 999);
        part.shard = shard;
        part.position_begin = written->position_begin;
        part.position_end = written->position_end;
        part.fields = written->fields;
        for (const auto& zone : written->zone_maps) {
            part.zone_maps.push_back(
                {zone.field, zone.min, zone.max, static_cast<std::int64_t>(zone.null_count)});
        }
        for (const auto& group : written->row_groups) {
            part.row_groups.push_back(
                {static_cast<std::int64_t>(group.rows), static_cast<std::int64_t>(group.byte_end)});
        }
        part.footer_xxh3 = footer_xxh3(written->file);
        part.sort_order = written->sort_order;
        EXPECT_TRUE(objects.put(context, part.objects[0].key, written->file));
        return part;
    }

    /// All rows of a part's object; adds to `rows`, which has none of them yet.
    void read(ObjectStore& objects,
              const RequestContext& context,
              const PartInfo& part,
              TestRows& rows) const {
        const auto fields = schema();
        auto input = PartInput::open(context, objects, part, fields, nullptr);
        ASSERT_TRUE(input) << input.error().message();
        while (!input->at_end()) {
            const auto chunks = input->read_next();
            ASSERT_TRUE(chunks) << chunks.error().message();
            for (const auto& chunk : *chunks) {
                for (std::uint32_t row = 0; row < chunk.rows.rows; ++row) {
                    const auto [at, is_new] = rows.try_emplace(
                        {chunk.shards[row], chunk.positions[row]}, test_row(chunk, row));
                    EXPECT_TRUE(is_new) << "a row came twice";
                }
            }
        }
        const auto verified = input->verify();
        EXPECT_TRUE(verified) << verified.error().message();
    }

    std::uint64_t rows_per_group = 1'000;

private:
    std::uint64_t pick(std::uint64_t below) { return random_.next_u64() % below; }

    std::vector<HotChunk> make_chunks(std::uint64_t position,
                                      std::uint32_t rows,
                                      std::int64_t begin_ns,
                                      std::int64_t span_ns) {
        const bool has_all = parts_ % 2 == 0;
        std::vector<HotChunk> chunks;
        for (std::uint32_t begin = 0; begin < rows; begin += HotChunk::kRowsMax) {
            const auto count = std::min(HotChunk::kRowsMax, rows - begin);
            std::vector<std::int64_t> times;
            std::vector<std::optional<std::string>> messages;
            std::vector<std::optional<std::string>> traces;
            std::vector<std::optional<std::string>> tags;
            std::vector<std::optional<std::uint64_t>> numbers;
            std::vector<std::optional<std::uint64_t>> oks;
            std::vector<std::optional<std::string>> words;
            std::vector<std::uint16_t> services;
            for (std::uint32_t i = 0; i < count; ++i) {
                times.push_back(begin_ns + static_cast<std::int64_t>(
                                               pick(static_cast<std::uint64_t>(span_ns))));
                messages.push_back(fmt::format("request {} took {} ms", pick(50), pick(1'000'000)));
                traces.push_back(pick(10) == 0
                                     ? std::nullopt
                                     : std::optional(fmt::format("{:032x}", random_.next_u64())));
                tags.push_back(pick(100) == 0 ? std::optional<std::string>("[1,2]") : std::nullopt);
                const bool is_number = pick(8) != 0;
                numbers.push_back(is_number ? std::optional(pick(600)) : std::nullopt);
                words.push_back(is_number ? std::nullopt : std::optional<std::string>("n/a"));
                oks.push_back(pick(2));
                services.push_back(static_cast<std::uint16_t>(pick(3)));
            }
            ChunkBuilder builder(position + begin, times);
            builder.text("message", FieldType::kString, messages)
                .fixed("status", FieldType::kInt64, numbers);
            if (has_all) {
                builder.coded("service", {"web", "api", "db"}, services)
                    .text("status", FieldType::kString, words)
                    .text("trace_id", FieldType::kString, traces)
                    .fixed("ok", FieldType::kBool, oks)
                    .text("tags", FieldType::kJson, tags);
            } else {
                std::vector<std::optional<std::string>> plain;
                for (const auto service : services) {
                    plain.push_back(service == 0 ? std::nullopt
                                                 : std::optional<std::string>("svc"));
                }
                builder.text("service", FieldType::kString, plain)
                    .text(std::string(kExtraField), FieldType::kJson, tags);
            }
            chunks.push_back(builder.build());
        }
        return chunks;
    }

    StreamId stream_;
    SeededRandom random_;
    std::vector<NewField> fields_;
    int parts_ = 0;
};

}  // namespace molesignal
