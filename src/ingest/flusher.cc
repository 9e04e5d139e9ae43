#include "ingest/flusher.h"

#include <algorithm>

#include <fmt/format.h>
#include <xxhash.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "ingest/part_index.h"
#include "metadata/describe_part.h"
#include "metadata/part_key.h"
#include "objectstore/verify_object.h"
#include "parquet/part_plan.h"
#include "parquet/part_writer.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(flush_begin);
MS_DEFINE_FAILPOINT(flush_fields_assigned);
MS_DEFINE_FAILPOINT(flush_intent_recorded);
MS_DEFINE_FAILPOINT(flush_part_written);
MS_DEFINE_FAILPOINT(flush_part_put);
MS_DEFINE_FAILPOINT(flush_index_put);
MS_DEFINE_FAILPOINT(flush_part_stored);
MS_DEFINE_FAILPOINT(flush_all_stored);
MS_DEFINE_FAILPOINT(flush_committed);

std::int64_t floor_us(std::int64_t nanos) {
    return nanos / 1000 - (nanos % 1000 < 0 ? 1 : 0);
}

PartObject describe_object(std::string kind, std::string key, Bytes content) {
    return {.kind = std::move(kind),
            .key = std::move(key),
            .bytes = static_cast<std::int64_t>(content.size()),
            .xxh3 = XXH3_64bits(content.data(), content.size())};
}

/// The catalogue's row of a part that was written and stored under `key`.
PartInfo describe_part(const Shard& shard,
                       const Memtable& frozen,
                       const std::string& key,
                       WrittenPart written,
                       Bytes index,
                       std::uint64_t flush_rows) {
    PartInfo part;
    part.id = key.substr(key.rfind('/') + 1, 26);
    part.stream = shard.stream().id;
    part.objects.push_back(describe_object("parquet", key, written.file));
    if (!index.empty()) {
        part.objects.push_back(describe_object("index", index_object_key(key), index));
    }
    part.raw_bytes = static_cast<std::int64_t>(frozen.raw_bytes() * written.rows / flush_rows);
    part.shard = shard.id();
    part.footer_xxh3 = footer_xxh3(written.file);
    describe_shape(std::move(written), part);
    return part;
}

}  // namespace

Flusher::Flusher(const FlusherOptions& options,
                 Catalogue& catalogue,
                 ObjectStore& objects,
                 Clock& clock,
                 Random& random,
                 MetricRegistry& metrics,
                 std::shared_ptr<MemoryBudget> memory)
    : options_(options),
      catalogue_(catalogue),
      objects_(objects),
      clock_(clock),
      random_(random),
      memory_(std::move(memory)),
      seconds_(metrics.histogram("ingester_flush_duration_seconds",
                                 "Time of a flush, from the frozen memtable to the commit",
                                 MetricRegistry::latency_buckets())),
      ratio_(metrics.histogram("ingester_parquet_encoded_raw_ratio",
                               "Bytes of a flush's parts by bytes that the senders sent",
                               {0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 2},
                               {{"stream_type", "logs"}})),
      rows_(metrics.counter("ingester_flushed_rows_total", "Rows written to parts")),
      bytes_(metrics.counter("ingester_flushed_bytes_total", "Bytes of the parts written")),
      parts_(metrics.counter("ingester_flushed_parts_total", "Parts written")),
      metrics_(metrics) {
    // There from the start, so that an alert can watch them.
    for (const auto* step : {"begin", "upload", "commit", "committed"}) {
        errors(step);
    }
}

Counter& Flusher::errors(std::string_view step) {
    return metrics_.counter("ingester_flush_errors_total",
                            "Flushes that failed, by step",
                            {{"step", std::string(step)}});
}

Result<Position> Flusher::flush(const RequestContext& context,
                                Shard& shard,
                                const Memtable& frozen) {
    const auto started = clock_.steady_now();
    const auto fail = [this](std::string_view step, Error error) {
        errors(step).add();
        return std::move(error).wrap(step);
    };
    auto& attempt = shard.attempt();
    if (attempt.flush_id.empty()) {
        attempt.flush_id = make_ulid(clock_.now(), random_);
        attempt.planned_at = clock_.now();
    }
    if (auto passed = flush_begin.pass(); !passed) {
        return fail("begin", std::move(passed).error());
    }
    if (!attempt.commit.has_value()) {
        if (auto stored = store_parts(context, shard, frozen); !stored) {
            return fail("upload", std::move(stored).error());
        }
    }
    if (auto committed = catalogue_.commit_flush(context, *attempt.commit); !committed) {
        return fail("commit", std::move(committed).error());
    }
    if (auto passed = flush_committed.pass(); !passed) {
        return fail("committed", std::move(passed).error());
    }
    std::int64_t bytes = 0;
    for (const auto& part : attempt.commit->parts) {
        for (const auto& object : part.objects) {
            bytes += object.bytes;
        }
    }
    const auto took = clock_.steady_now().value - started.value;
    seconds_.observe(static_cast<double>(took) * 1e-9);
    if (frozen.raw_bytes() > 0) {
        ratio_.observe(static_cast<double>(bytes) / static_cast<double>(frozen.raw_bytes()));
    }
    rows_.add(static_cast<double>(frozen.rows()));
    bytes_.add(static_cast<double>(bytes));
    parts_.add(static_cast<double>(attempt.commit->parts.size()));
    log_debug("flushed",
              {{"stream", shard.stream().name},
               {"shard", shard.id().value},
               {"rows", frozen.rows()},
               {"parts", attempt.commit->parts.size()},
               {"bytes", bytes},
               {"took_ms", took / 1'000'000}});
    return attempt.commit->new_checkpoint;
}

Result<StreamSchema> Flusher::ensure_fields(const RequestContext& context,
                                            const Shard& shard,
                                            const Memtable& frozen) {
    std::vector<NewField> fields;
    for (const auto& field : frozen.fields()) {
        if (field.name != kExtraField) {
            fields.push_back({.name = field.name,
                              .type = field.type,
                              .inexact_as_float = field.inexact_as_float});
        }
    }
    return catalogue_.ensure_fields(context, shard.stream().id, fields);
}

Result<> Flusher::store_parts(const RequestContext& context, Shard& shard, const Memtable& frozen) {
    auto& attempt = shard.attempt();
    MS_TRY(const auto schema, ensure_fields(context, shard, frozen));
    MS_PASS_FAILPOINT(flush_fields_assigned);

    // After damage in the log the replayed rows may begin below the checkpoint.
    HotSnapshot rows{.chunks = frozen.snapshot(), .fields = {}, .inexact_as_float = {}};
    drop_flushed_rows(rows, {{shard.id(), shard.checkpoint()}});
    const auto slices =
        plan_parts(rows.chunks, attempt.planned_at, options_.rows_per_group, options_.parts_max);
    if (attempt.object_keys.empty()) {
        for (const auto& slice : slices) {
            attempt.object_keys.push_back(part_object_key(
                shard.stream(), slice.time_max_ns, make_ulid(clock_.now(), random_)));
        }
    }
    MS_ASSERT(attempt.object_keys.size() == slices.size());
    auto all_keys = attempt.object_keys;
    for (const auto& key : attempt.object_keys) {
        if (options_.writes_index) {
            all_keys.push_back(index_object_key(key));
        }
    }
    MS_TRY_VOID(catalogue_.add_flush_intent(context,
                                            {.flush_id = attempt.flush_id,
                                             .stream = shard.stream().id,
                                             .shard = shard.id(),
                                             .epoch = shard.epoch(),
                                             .begin = frozen.begin(),
                                             .end = frozen.end(),
                                             .object_keys = std::move(all_keys),
                                             .created_us = floor_us(attempt.planned_at.value)}));
    MS_PASS_FAILPOINT(flush_intent_recorded);

    const auto total_rows = std::max<std::uint64_t>(1, rows.rows());
    while (attempt.stored.size() < slices.size()) {
        const auto next = attempt.stored.size();
        if (!attempt.encoded.has_value()) {
            MS_TRY_VOID(encode_part(shard, slices[next], rows.chunks, schema));
        }
        MS_PASS_FAILPOINT(flush_part_written);
        const auto& key = attempt.object_keys[next];
        MS_TRY_VOID(store_part(context, key, attempt));
        MS_PASS_FAILPOINT(flush_part_stored);
        attempt.stored.push_back(describe_part(
            shard, frozen, key, std::move(*attempt.encoded), attempt.encoded_index, total_rows));
        attempt.encoded.reset();
        attempt.is_encoded_stored = false;
        ByteBuffer().swap(attempt.encoded_index);
        attempt.encoded_memory.reset();
    }
    MS_PASS_FAILPOINT(flush_all_stored);
    attempt.commit = FlushCommit{.flush_id = attempt.flush_id,
                                 .shard = shard.id(),
                                 .epoch = shard.epoch(),
                                 .expected_checkpoint = shard.checkpoint(),
                                 .new_checkpoint = frozen.end(),
                                 .parts = std::move(attempt.stored)};
    return {};
}

Result<> Flusher::encode_part(Shard& shard,
                              const PartSlice& slice,
                              std::span<const HotChunk> chunks,
                              const StreamSchema& schema) {
    auto& attempt = shard.attempt();
    MS_TRY(
        attempt.encoded,
        write_part(slice,
                   chunks,
                   schema,
                   shard.id(),
                   {.zstd_level = options_.zstd_level, .rows_per_group = options_.rows_per_group},
                   memory_));
    attempt.encoded_index.clear();
    if (options_.writes_index) {
        auto index = write_part_index(slice,
                                      chunks,
                                      schema,
                                      shard.stream().settings.full_text_fields,
                                      random_.next_u64(),
                                      memory_);
        if (index) {
            attempt.encoded_index = std::move(*index);
        } else {
            // A part without one is searched by reading it.
            log_warn("a part gets no index",
                     {{"stream", shard.stream().name}, {"error", index.error().message()}});
        }
    }
    attempt.encoded_memory = MemoryReservation(memory_);
    attempt.encoded_memory.force_resize(static_cast<std::int64_t>(
        attempt.encoded->file.capacity() + attempt.encoded_index.capacity()));
    return {};
}

/// Puts the part's objects, and checks what the store says it has before the catalogue relies on
/// it.
Result<> Flusher::store_part(const RequestContext& context,
                             const std::string& key,
                             FlushAttempt& attempt) {
    if (!attempt.is_encoded_stored) {
        MS_TRY_VOID(objects_.put(context, key, attempt.encoded->file));
        MS_PASS_FAILPOINT(flush_part_put);
        MS_TRY_VOID(verify_object(context, objects_, key, attempt.encoded->file));
        attempt.is_encoded_stored = true;
    }
    if (attempt.encoded_index.empty()) {
        return {};
    }
    MS_TRY_VOID(objects_.put(context, index_object_key(key), attempt.encoded_index));
    MS_PASS_FAILPOINT(flush_index_put);
    return verify_object(context, objects_, index_object_key(key), attempt.encoded_index);
}

}  // namespace molesignal
