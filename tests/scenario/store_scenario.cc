#include "tests/scenario/store_scenario.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "compaction/retention.h"
#include "ingest/ingester.h"
#include "ingest/json_decoder.h"
#include "metadata/open_catalogue.h"
#include "objectstore/local_object_store.h"
#include "query/query_registry.h"
#include "query/sql/sql_engine.h"
#include "tests/support/crash_fs.h"
#include "tests/support/manual_clock.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr std::uint64_t kSeed = 7;

std::string error_line(const Error& error) {
    return fmt::format("error: {}\n", error.message());
}

std::string outcome(const Result<>& result) {
    return result ? "ok\n" : error_line(result.error());
}

}  // namespace

struct StoreScript::Parts {
    using Verb = std::string (Parts::*)(const DataCommand&);
    static const std::map<std::string, Verb, std::less<>>& verbs();

    void open_catalogue();
    std::string open();
    void stop();

    std::string ingest(const DataCommand& command);
    std::string flush(const DataCommand& command);
    std::string sql(const DataCommand& command);
    std::string list_parts(const DataCommand& command);
    std::string schema(const DataCommand& command);
    std::string shards(const DataCommand& command);
    std::string intents(const DataCommand& command);
    std::string count_objects(const DataCommand& command);
    std::string settings(const DataCommand& command);
    std::string pass(const DataCommand& command);
    std::string retention(const DataCommand& command);
    std::string restart(const DataCommand& command);
    std::string crash(const DataCommand& command);
    std::string failpoint(const DataCommand& command);
    std::string wal(const DataCommand& command);
    std::string drop(const DataCommand& command);

    Result<StreamInfo> find(const DataCommand& command);

    TemporaryDirectory directory;
    ManualClock clock;
    SeededRandom random{kSeed};
    MetricRegistry metrics;
    RequestContext context = RequestContext::background(clock, "script");
    std::unique_ptr<CrashFs> files = std::make_unique<CrashFs>();
    std::unique_ptr<Catalogue> catalogue;
    OrgId org;
    std::unique_ptr<LocalObjectStore> objects;
    std::unique_ptr<Ingester> ingester;
    QueryRegistry queries;
    std::unique_ptr<SqlEngine> engine;
    std::uint64_t query_number = 0;
};

const std::map<std::string, StoreScript::Parts::Verb, std::less<>>& StoreScript::Parts::verbs() {
    static const std::map<std::string, Verb, std::less<>> kVerbs = {
        {"ingest", &Parts::ingest},
        {"flush", &Parts::flush},
        {"sql", &Parts::sql},
        {"parts", &Parts::list_parts},
        {"schema", &Parts::schema},
        {"shards", &Parts::shards},
        {"intents", &Parts::intents},
        {"objects", &Parts::count_objects},
        {"settings", &Parts::settings},
        {"pass", &Parts::pass},
        {"retention", &Parts::retention},
        {"restart", &Parts::restart},
        {"crash", &Parts::crash},
        {"failpoint", &Parts::failpoint},
        {"wal", &Parts::wal},
        {"drop", &Parts::drop},
    };
    return kVerbs;
}

void StoreScript::Parts::open_catalogue() {
    catalogue = *open_sqlite_catalogue(directory.path() + "/meta.db", clock, random);
    MS_ASSERT(catalogue->migrate(context));
    org = catalogue->ensure_organization(context, "default")->id;
}

std::string StoreScript::Parts::open() {
    objects = *LocalObjectStore::open(context, *files, "objects", random);
    IngesterOptions options;
    options.wal_directory = "wal";
    options.wal.segment_bytes = 1 << 16;
    options.wal.reserve_bytes = 0;
    // Flushes come from the script, unless it lets this much time pass.
    options.flush_interval = std::chrono::hours(24);
    options.shard_idle = std::chrono::hours(24 * 365);
    auto opened = Ingester::open(context,
                                 options,
                                 *files,
                                 *catalogue,
                                 *objects,
                                 clock,
                                 random,
                                 metrics,
                                 MemoryBudget::make_root("script", "none", 1LL << 30),
                                 [](std::uint64_t) {});
    if (!opened) {
        return error_line(opened.error());
    }
    ingester = std::move(*opened);
    SqlEngineOptions sql;
    sql.threads = 1;
    sql.spill_directory = directory.path();
    engine = *SqlEngine::make(sql, *catalogue, *ingester, *objects, queries, clock, metrics);
    const auto& replay = ingester->wal().replay_stats();
    return fmt::format("replayed {} rows{}\n",
                       replay.rows,
                       replay.damaged_records > 0
                           ? fmt::format(", {} records damaged", replay.damaged_records)
                           : "");
}

void StoreScript::Parts::stop() {
    engine.reset();
    if (ingester != nullptr) {
        (void)ingester->close(context);
    }
    ingester.reset();
    objects.reset();
}

Result<StreamInfo> StoreScript::Parts::find(const DataCommand& command) {
    const auto name = command.text("stream", "app");
    MS_TRY(auto stream, catalogue->find_stream(context, org, StreamType::kLogs, name));
    if (!stream.has_value()) {
        return Error(ErrorCode::kNotFound, fmt::format("no stream '{}'", name));
    }
    return std::move(*stream);
}

/// Rows are the input lines (NDJSON); `age=HOURS` sets the time of rows without one.
std::string StoreScript::Parts::ingest(const DataCommand& command) {
    const auto name = command.text("stream", "app");
    DecodeSettings settings;
    settings.now_ns = clock.now().value - command.number("age") * 3'600'000'000'000;
    if (const auto stream = find(command)) {
        settings.pinned_types = stream->settings.pinned_types;
    }
    auto body = command.input_text();
    body.reserve(body.size() + kJsonPaddingBytes);
    auto decoded = decode_json_rows(body, {}, settings);
    if (!decoded) {
        return error_line(decoded.error());
    }
    std::string out;
    for (const auto& error : decoded->errors) {
        out += fmt::format("row {}: {}\n", error.index, error.reason);
    }
    const auto commit = command.text("commit", "auto");
    const auto receipt =
        ingester->ingest(context,
                         org,
                         StreamType::kLogs,
                         name,
                         std::move(decoded->batches),
                         body.size(),
                         commit == "force" ? CommitMode::kForce : CommitMode::kAuto);
    if (!receipt) {
        return out + error_line(receipt.error());
    }
    return out + fmt::format("shard {} rows {}..{}\n",
                             receipt->shard.value,
                             receipt->begin.value,
                             receipt->end.value);
}

/// Waits for the flush, or for its first failure: the retry comes when the script lets time pass.
std::string StoreScript::Parts::flush(const DataCommand&) {
    auto flush_context = context;
    flush_context.cancel = CancelToken();
    const auto failures = ingester->stats().flush_failures_in_a_row;
    std::atomic<bool> done = false;
    Result<> flushed;
    std::thread waiter([&] {
        flushed = ingester->flush_all(flush_context);
        done = true;
    });
    while (!done && ingester->stats().flush_failures_in_a_row <= failures) {
        std::this_thread::yield();
    }
    const auto stats = ingester->stats();
    const bool failed = !done && stats.flush_failures_in_a_row > failures;
    flush_context.cancel.cancel();
    while (!done) {
        clock.advance(std::chrono::nanoseconds(0));  // Wakes the waiter, which looks and leaves.
        std::this_thread::yield();
    }
    waiter.join();
    return failed ? fmt::format("failed: {}\n", stats.last_flush_error) : outcome(flushed);
}

std::string StoreScript::Parts::sql(const DataCommand& command) {
    std::string statement;
    for (const auto& line : command.input) {
        statement += line + " ";
    }
    SqlQuery query;
    query.id = fmt::format("q{}", ++query_number);
    query.org = org;
    query.statement = statement;
    auto result = engine->run(context, std::move(query));
    if (!result) {
        return error_line(result.error());
    }
    std::string out;
    while (true) {
        const auto more = (*result)->next(SqlFormat::kCsv, out);
        if (!more) {
            return out + error_line(more.error());
        }
        if (!*more) {
            break;
        }
    }
    std::erase(out, '\r');
    if (command.has("stats")) {
        const auto stats = (*result)->stats();
        out += fmt::format("parts {} of {}, row groups {} of {}, hot rows {}\n",
                           stats.parts_total - stats.parts_skipped,
                           stats.parts_total,
                           stats.row_groups_total - stats.row_groups_skipped,
                           stats.row_groups_total,
                           stats.hot_rows);
    }
    return out;
}

std::string StoreScript::Parts::list_parts(const DataCommand& command) {
    const auto stream = find(command);
    if (!stream) {
        return error_line(stream.error());
    }
    std::int64_t total = 0;
    auto snapshot = catalogue->snapshot(context, stream->id, INT64_MIN, INT64_MAX, total);
    std::ranges::sort(snapshot->parts, {}, [](const PartInfo& part) {
        return std::pair(part.shard, part.position_begin);
    });
    std::string out;
    for (const auto& part : snapshot->parts) {
        out += fmt::format("{} rows of shard {} in {}..{}, {}..{} s ago, fields",
                           part.rows,
                           part.shard.value,
                           part.position_begin.value,
                           part.position_end.value,
                           (clock.now().value / 1000 - part.time_max_us) / 1'000'000,
                           (clock.now().value / 1000 - part.time_min_us) / 1'000'000);
        for (const auto field : part.fields) {
            out += fmt::format(" {}", field.value);
        }
        out += "\n";
    }
    return out.empty() ? "none\n" : out;
}

std::string StoreScript::Parts::schema(const DataCommand& command) {
    const auto stream = find(command);
    if (!stream) {
        return error_line(stream.error());
    }
    std::int64_t total = 0;
    const auto snapshot = catalogue->snapshot(context, stream->id, INT64_MIN, INT64_MAX, total);
    std::string out;
    for (const auto& field : snapshot->schema.variants) {
        out += fmt::format("{} {} {}{}\n",
                           field.id.value,
                           field.name,
                           field_type_name(field.type),
                           field.inexact_as_float ? " (not exact as float)" : "");
    }
    return out.empty() ? "no fields\n" : out;
}

std::string StoreScript::Parts::shards(const DataCommand&) {
    std::string out;
    const auto live = catalogue->list_live_shards(context);
    for (const auto& shard : *live) {
        out += fmt::format("shard {} checkpoint {} epoch {}{}\n",
                           shard.id.value,
                           shard.checkpoint.value,
                           shard.epoch.value,
                           shard.state == ShardState::kClosed ? " closed" : "");
    }
    return out.empty() ? "none\n" : out;
}

std::string StoreScript::Parts::intents(const DataCommand&) {
    std::string out;
    const auto pending = catalogue->list_flush_intents(context);
    for (const auto& intent : *pending) {
        out += fmt::format("shard {} rows {}..{}, {} objects\n",
                           intent.shard.value,
                           intent.begin.value,
                           intent.end.value,
                           intent.object_keys.size());
    }
    return out.empty() ? "none\n" : out;
}

std::string StoreScript::Parts::count_objects(const DataCommand&) {
    int count = 0;
    const auto listed = objects->list(context, "", [&count](const ObjectMeta&) {
        ++count;
        return true;
    });
    return listed ? fmt::format("{}\n", count) : error_line(listed.error());
}

/// `retention_days=N`, `pin=NAME:TYPE`.
std::string StoreScript::Parts::settings(const DataCommand& command) {
    const auto stream = find(command);
    if (!stream) {
        return error_line(stream.error());
    }
    auto changed = stream->settings;
    if (command.has("retention_days")) {
        changed.retention_days = static_cast<std::int32_t>(command.number("retention_days"));
    }
    if (command.has("pin")) {
        const auto pin = command.text("pin");
        const auto colon = pin.find(':');
        changed.pinned_types.emplace_back(pin.substr(0, colon),
                                          *parse_field_type(pin.substr(colon + 1)));
    }
    const auto updated =
        catalogue->update_stream_settings(context, org, stream->id, stream->settings, changed);
    ingester->refresh_stream(stream->id);
    return outcome(updated);
}

std::string StoreScript::Parts::pass(const DataCommand& command) {
    clock.advance(std::chrono::hours(24 * command.number("days") + command.number("hours")) +
                  std::chrono::seconds(command.number("seconds")));
    return "";
}

std::string StoreScript::Parts::retention(const DataCommand& command) {
    Retention rounds({.retention_days = static_cast<std::int32_t>(command.number("days"))},
                     *catalogue,
                     *objects,
                     clock,
                     metrics);
    const auto report = rounds.run_once(context);
    return report ? fmt::format("{} parts expired, {} purged, {} objects removed\n",
                                report->parts_expired,
                                report->parts_purged,
                                report->objects_removed)
                  : error_line(report.error());
}

std::string StoreScript::Parts::restart(const DataCommand&) {
    stop();
    return open();
}

/// A power cut: what was not synced is gone. The old process ends on files that nobody sees.
std::string StoreScript::Parts::crash(const DataCommand&) {
    disarm_failpoints();
    auto after = files->clone_after_crash(kSeed, CrashModel::kDropUnsynced);
    stop();
    files = std::move(after);
    return open();
}

/// `failpoint NAME`: fails at its next passage.
std::string StoreScript::Parts::failpoint(const DataCommand& command) {
    return outcome(arm_failpoints(command.text("name") + "=error"));
}

std::string StoreScript::Parts::wal(const DataCommand&) {
    std::string out;
    for (const auto& queue : ingester->wal().queues()) {
        out += fmt::format(
            "queue {} rows {}..{}\n", queue.queue.value, queue.truncated.value, queue.next.value);
    }
    return out.empty() ? "no queues\n" : out;
}

std::string StoreScript::Parts::drop(const DataCommand& command) {
    const auto stream = find(command);
    if (!stream) {
        return error_line(stream.error());
    }
    if (auto deleted = catalogue->delete_stream(context, org, stream->id); !deleted) {
        return error_line(deleted.error());
    }
    return outcome(ingester->drop_stream(context, stream->id));
}

StoreScript::StoreScript() : parts_(std::make_unique<Parts>()) {
    parts_->open_catalogue();
    (void)parts_->open();
}

StoreScript::~StoreScript() {
    disarm_failpoints();
    parts_->stop();
}

std::string StoreScript::run(const DataCommand& command) {
    const auto verb = Parts::verbs().find(command.name);
    return verb == Parts::verbs().end() ? "no such command\n"
                                        : ((*parts_).*(verb->second))(command);
}

}  // namespace molesignal
