#pragma once

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include "common/random.h"
#include "metadata/describe_part.h"
#include "metadata/open_catalogue.h"
#include "objectstore/memory_object_store.h"
#include "parquet/part_fixture.h"
#include "parquet/part_writer.h"
#include "query/query_registry.h"
#include "query/sql/sql_engine.h"
#include "tests/support/test_environment.h"

namespace molesignal {

/// Hot rows that a test chose.
class ChosenHotRows final : public HotSource {
public:
    HotSnapshot hot_snapshot(const StreamId& stream) override {
        ++snapshots;
        return rows[stream.value];
    }
    std::map<std::string, HotSnapshot> rows;
    std::atomic<int> snapshots{0};
};

/// An engine over a SQLite catalogue, objects in memory and chosen hot rows.
class EngineFixture : public ::testing::Test {
protected:
    EngineFixture() {
        catalogue_ = *open_sqlite_catalogue(directory_.path() + "/meta.db", clock(), random_);
        EXPECT_TRUE(catalogue_->migrate(context()));
        org_ = catalogue_->ensure_organization(context(), "default")->id;
        options_.threads = 2;
        options_.spill_directory = directory_.path() + "/spill";
    }

    /// The clock of catalogue and engine.
    virtual Clock& clock() { return system_clock_; }
    RequestContext context() { return RequestContext::background(clock(), "test"); }

    /// Made when first wanted, by options_.
    SqlEngine& engine() {
        if (engine_ == nullptr) {
            auto made = SqlEngine::make(
                options_, *catalogue_, hot_, objects_, registry_, clock(), metrics_);
            EXPECT_TRUE(made);
            engine_ = std::move(*made);
        }
        return *engine_;
    }

    /// For who brings a clock of its own, which ends before the fixture.
    void close_engine() { engine_.reset(); }

    StreamInfo stream(const std::string& name) {
        return *catalogue_->ensure_stream(context(), org_, StreamType::kLogs, name, 1'000'000);
    }

    /// `chunk` becomes hot rows of a new shard of the stream.
    void add_hot(const std::string& name, HotChunk chunk) {
        const auto info = stream(name);
        chunk.shard = catalogue_->create_shard(context(), info.id, "log")->id;
        auto& hot = hot_.rows[info.id.value];
        for (const auto& column : chunk.columns) {
            const std::pair field(std::string(column.name), column.type);
            if (column.name != kExtraField &&
                std::ranges::find(hot.fields, field) == hot.fields.end()) {
                hot.fields.push_back(field);
                hot.inexact_as_float.push_back(false);
            }
        }
        hot.chunks.push_back(std::move(chunk));
    }

    /// `chunk` becomes one part of the stream, in one row group.
    PartInfo add_part(const std::string& name, HotChunk chunk) {
        const auto info = stream(name);
        const auto shard = *catalogue_->create_shard(context(), info.id, "log");
        chunk.shard = shard.id;
        std::vector<NewField> fields;
        for (const auto& column : chunk.columns) {
            if (column.name != kExtraField) {
                fields.push_back({.name = std::string(column.name), .type = column.type});
            }
        }
        const auto schema = *catalogue_->ensure_fields(context(), info.id, fields);
        PartSlice slice;
        for (std::uint32_t row = 0; row < chunk.rows; ++row) {
            slice.rows.push_back(RowRef::make(0, row));
        }
        slice.group_ends = {slice.rows.size()};
        slice.time_min_ns = *std::min_element(chunk.timestamps, chunk.timestamps + chunk.rows);
        slice.time_max_ns = *std::max_element(chunk.timestamps, chunk.timestamps + chunk.rows);
        const auto written = write_part(slice,
                                        std::span(&chunk, 1),
                                        schema,
                                        shard.id,
                                        {},
                                        MemoryBudget::make_root("test", "none", 1LL << 30));
        EXPECT_TRUE(written);
        const auto part = describe(*written, info.id, shard.id);
        const auto& object = part.objects.front();
        EXPECT_TRUE(objects_.put(context(), object.key, written->file));
        commit(part, shard);
        return part;
    }

    Result<std::unique_ptr<SqlResult>> start(const std::string& statement,
                                             const std::string& id = "") {
        SqlQuery query;
        query.id = id.empty() ? fmt::format("q{}", ++queries_) : id;
        query.org = org_;
        query.statement = statement;
        return engine().run(context(), std::move(query));
    }

    /// The whole answer as CSV, lines ended by '\n', without the header; or "error: …".
    std::string answer(const std::string& statement) {
        auto result = start(statement);
        if (!result) {
            return "error: " + result.error().message();
        }
        return rest(**result);
    }
    /// The error that ends the statement; kInternal "no error" if none does.
    Error failure(const std::string& statement) {
        auto result = start(statement);
        if (!result) {
            return std::move(result).error();
        }
        while (true) {
            std::string out;
            auto more = (*result)->next(SqlFormat::kNdjson, out);
            if (!more) {
                return std::move(more).error();
            }
            if (!*more) {
                return Error(ErrorCode::kInternal, "no error");
            }
        }
    }
    static std::string rest(SqlResult& result) {
        std::string out;
        while (true) {
            const auto more = result.next(SqlFormat::kCsv, out);
            if (!more) {
                return "error: " + more.error().message();
            }
            if (!*more) {
                break;
            }
        }
        std::erase(out, '\r');
        return out.substr(out.find('\n') + 1);
    }

    /// The value of a metric as /metrics shows it.
    double metric(const std::string& name_and_labels) {
        const auto text = metrics_.expose();
        const auto at = text.find("\n" + name_and_labels + " ");
        return at == std::string::npos ? -1
                                       : std::stod(text.substr(at + name_and_labels.size() + 2));
    }

    TemporaryDirectory directory_;
    SystemClock system_clock_;
    SeededRandom random_{7};
    MetricRegistry metrics_;
    std::unique_ptr<Catalogue> catalogue_;
    OrgId org_;
    ChosenHotRows hot_;
    MemoryObjectStore objects_;
    QueryRegistry registry_;
    SqlEngineOptions options_;
    std::unique_ptr<SqlEngine> engine_;

private:
    PartInfo describe(const WrittenPart& written, const StreamId& stream, ShardId shard) {
        PartInfo part;
        part.id = fmt::format("part{:022}", ++parts_);
        part.stream = stream;
        part.objects.push_back({.kind = "parquet",
                                .key = part.id + ".parquet",
                                .bytes = static_cast<std::int64_t>(written.file.size())});
        part.objects.front().xxh3 = XXH3_64bits(written.file.data(), written.file.size());
        part.footer_xxh3 = footer_xxh3(written.file);
        part.rows = static_cast<std::int64_t>(written.rows);
        part.time_min_us = written.time_min_ns / 1000;
        part.time_max_us = (written.time_max_ns + 999) / 1000;
        part.shard = shard;
        part.position_begin = written.position_begin;
        part.position_end = written.position_end;
        part.fields = written.fields;
        for (const auto& zone : written.zone_maps) {
            part.zone_maps.push_back({.field = zone.field,
                                      .min = zone.min,
                                      .max = zone.max,
                                      .null_count = static_cast<std::int64_t>(zone.null_count)});
        }
        for (const auto& group : written.row_groups) {
            part.row_groups.push_back({.rows = static_cast<std::int64_t>(group.rows),
                                       .byte_end = static_cast<std::int64_t>(group.byte_end)});
        }
        return part;
    }

    void commit(const PartInfo& part, const ShardInfo& shard) {
        FlushIntent intent{.flush_id = part.id,
                           .stream = part.stream,
                           .shard = shard.id,
                           .epoch = shard.epoch,
                           .begin = part.position_begin,
                           .end = part.position_end,
                           .object_keys = {part.objects.front().key}};
        EXPECT_TRUE(catalogue_->add_flush_intent(context(), intent));
        EXPECT_TRUE(catalogue_->commit_flush(context(),
                                             {.flush_id = part.id,
                                              .shard = shard.id,
                                              .epoch = shard.epoch,
                                              .expected_checkpoint = shard.checkpoint,
                                              .new_checkpoint = part.position_end,
                                              .parts = {part}}));
    }

    std::uint64_t queries_ = 0;
    std::uint64_t parts_ = 0;
};

/// A chunk of `rows` rows a microsecond apart with `n` counting from `first` and `body` of
/// `body_bytes` bytes.
inline HotChunk numbered_chunk(std::uint32_t rows,
                               std::uint64_t first = 0,
                               std::size_t body_bytes = 8) {
    std::vector<std::int64_t> times;
    std::vector<std::optional<std::uint64_t>> numbers;
    std::vector<std::optional<std::string>> bodies;
    for (std::uint32_t row = 0; row < rows; ++row) {
        times.push_back(1'700'000'000'000'000'000 + row * 1'000);
        numbers.emplace_back(first + row);
        auto body = std::to_string(first + row);
        body.resize(std::max(body.size(), body_bytes), 'x');
        bodies.emplace_back(std::move(body));
    }
    return ChunkBuilder(0, times)
        .fixed("n", FieldType::kInt64, numbers)
        .text("body", FieldType::kString, bodies)
        .build();
}

}  // namespace molesignal
