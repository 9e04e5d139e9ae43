#include "roles/standalone.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "api/grpc/otlp_grpc_server.h"
#include "api/http/http_api.h"
#include "api/http/http_lanes.h"
#include "api/services.h"
#include "auth/authenticator.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/memory_budget.h"
#include "common/metrics.h"
#include "compaction/compactor.h"
#include "compaction/part_dumper.h"
#include "compaction/retention.h"
#include "compaction/scrubber.h"
#include "ingest/ingester.h"
#include "io/process_memory.h"
#include "io/process_stats.h"
#include "io/thread_cpu.h"
#include "net/http_server.h"
#include "objectstore/metered_object_store.h"
#include "query/query_registry.h"
#include "query/sql/sql_engine.h"
#include "roles/background.h"
#include "roles/memory_watch.h"
#include "roles/open_stores.h"
#include "roles/owner_lease.h"
#include "roles/part_dump_settings.h"
#include "storage/cache/forgetting_object_store.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(start_directory_locked);
MS_DEFINE_FAILPOINT(start_object_store_probed);
MS_DEFINE_FAILPOINT(start_migrated);
MS_DEFINE_FAILPOINT(start_ready);
MS_DEFINE_FAILPOINT(drain_begun);
MS_DEFINE_FAILPOINT(drain_requests_done);
MS_DEFINE_FAILPOINT(drain_log_closed);

constexpr std::int64_t kMegabyte = 1 << 20;
/// What the start and the probes wait for one dependency.
constexpr std::chrono::seconds kDependencyWait{60};
constexpr std::chrono::seconds kProbeWait{10};
/// Deleted shards are remembered for logs that come back from a backup.
constexpr std::chrono::hours kShardMemory{24 * 30};
constexpr std::chrono::hours kCompactionRoundMax{24};

std::string object_backend_name(const Config& config) {
    return config.store.object.backend == ObjectBackend::kLocal ? "local" : "s3";
}

/// Writes, reads back and removes one object. It has one name for each data directory: what a
/// killed process leaves behind is the next one's.
Result<> probe_object_store(const RequestContext& context,
                            ObjectStore& objects,
                            std::string_view node_id,
                            Random& random) {
    const auto key = fmt::format("_probe/{}", node_id);
    const auto body = fmt::format("molesignal {:016x}", random.next_u64());
    MS_TRY_VOID(objects.put(context, key, as_bytes(body)));
    MS_TRY(const auto back, objects.get(context, key, 0, body.size()));
    if (as_text(back) != body) {
        return Error(ErrorCode::kCorruption, "the object store returned other bytes than were put");
    }
    return objects.remove(context, key);
}

IngesterOptions ingester_options(const Config& config) {
    IngesterOptions options;
    options.wal_directory = resolve_path(config, config.wal.dir);
    options.wal.segment_bytes = static_cast<std::uint64_t>(config.wal.segment_size_mb * kMegabyte);
    options.wal.total_bytes_max = static_cast<std::uint64_t>(config.wal.total_mb * kMegabyte);
    options.wal.reserve_bytes = static_cast<std::uint64_t>(config.wal.reserve_mb * kMegabyte);
    options.wal.flush_strategy = static_cast<WalFlushStrategy>(config.wal.flush_strategy);
    if (config.wal.sync_level == SyncLevel::kNone) {
        options.wal.flush_strategy = WalFlushStrategy::kNone;
    }
    options.wal.prepares_aside = true;
    options.memtable_bytes = static_cast<std::uint64_t>(config.ingester.buffer_max_mb * kMegabyte);
    options.memory_bytes_max =
        static_cast<std::uint64_t>(config.ingester.max_buffer_memory_mb * kMegabyte);
    if (config.ingester.flush_interval_secs.has_value()) {
        options.flush_interval = std::chrono::seconds(*config.ingester.flush_interval_secs);
    }
    options.shard_idle = std::chrono::seconds(config.ingester.shard_idle_secs);
    options.persist_timeout = std::chrono::milliseconds(config.ingester.persist_timeout_ms);
    options.streams_max = config.ingester.streams_max;
    options.rows_per_group = static_cast<std::uint64_t>(config.ingester.row_group_rows);
    options.zstd_level = static_cast<int>(config.ingester.zstd_level);
    options.writes_index = config.ingester.index;
    options.flush_threads = static_cast<std::size_t>(config.ingester.flush_parallelism);
    return options;
}

class StandaloneServer final : public Standalone {
public:
    StandaloneServer(const Config& config,
                     const std::string& version,
                     FileSystem& fs,
                     Clock& clock,
                     Random& random,
                     const CancelToken& start_cancel)
        : config_(config),
          fs_(fs),
          clock_(clock),
          random_(random),
          live_(config),
          memory_(MemoryBudget::make_root(
              "process", "memory.limit_mb", config.memory.limit_mb * kMegabyte)),
          memory_watch_(memory_, clock, resident_bytes, release_free_memory),
          services_{
              .config = live_,
              .clock = clock,
              .random = random,
              .metrics = metrics_,
              .health = health_,
              .version = version,
              .memory = memory_,
              .decode_memory = memory_->make_child("requests that are being decoded",
                                                   "ingester.decode_memory_mb",
                                                   config.ingester.decode_memory_mb * kMegabyte)},
          start_cancel_(start_cancel),
          background_(clock) {}

    ~StandaloneServer() override {
        if (!closed_) {
            (void)drain();
        }
    }

    Result<> run();
    const ServerAddresses& addresses() const override { return addresses_; }
    const std::string& first_token() const override { return first_token_; }
    const Config& reload(const Result<Config>& wanted) override;
    Result<> drain() override;

private:
    Result<> open_object_store(const RequestContext& context);
    Result<> open_catalogue(const RequestContext& context);
    Result<> open_ingester(const RequestContext& context);
    Result<> open_readers();
    RequestContext start_context() const;
    RequestContext background_context(std::string what, std::chrono::nanoseconds longest) const;
    void renew_lease();
    void probe_objects();
    void run_retention();
    Result<> open_compactor();
    void run_compaction();
    void run_part_dump();
    void scrub();
    void report_durability();
    void report_replay();
    void report_log_damage();
    void report_log_state(const WalStats& wal);
    Result<> listen();
    void drain_requests(SteadyNanos deadline);
    void start_background();
    void update_process_gauges();
    void update_gauges();

    const Config config_;
    FileSystem& fs_;
    Clock& clock_;
    Random& random_;
    LiveConfig live_;  ///< What may change is read from here; config_ is that of the start.
    MetricRegistry metrics_;
    Health health_;
    std::shared_ptr<MemoryBudget> memory_;
    MemoryWatch memory_watch_;
    ApiServices services_;
    ServerAddresses addresses_;
    std::string first_token_;
    std::unique_ptr<DirectoryLock> lock_;
    std::unique_ptr<S3Library> s3_;
    std::unique_ptr<ObjectStore> objects_;
    std::shared_ptr<ObjectReader> reader_;
    std::unique_ptr<Catalogue> catalogue_;
    std::unique_ptr<OwnerLease> owner_;
    std::unique_ptr<Authenticator> authenticator_;
    QueryRegistry queries_;
    std::unique_ptr<Ingester> ingester_;
    std::unique_ptr<SqlEngine> sql_;
    std::unique_ptr<Retention> retention_;
    std::unique_ptr<Compactor> compactor_;
    std::unique_ptr<PartDumper> dumper_;
    Mutex merge_mutex_;  ///< Held by the compactor's or the dumper's round.
    std::unique_ptr<Scrubber> scrubber_;
    std::unique_ptr<HttpApi> http_api_;
    std::unique_ptr<HttpServer> http_;
    std::unique_ptr<OtlpGrpcServer> grpc_;
    const CancelToken start_cancel_;
    const CancelToken stop_cancel_;  ///< Ends background work that need not be finished.
    std::string node_id_;
    Background background_;
    bool scrub_failing_ = false;     ///< Used by its thread.
    bool compaction_begun_ = false;  ///< Used by its thread.
    bool dump_begun_ = false;        ///< Used by its thread.
    bool closed_ = false;
};

Result<> StandaloneServer::open_object_store(const RequestContext& context) {
    MS_TRY(auto opened,
           molesignal::open_object_store(context, config_, StoreUse::kServe, fs_, clock_, random_));
    s3_ = std::move(opened.library);
    objects_ = std::move(opened.store);
    objects_ = std::make_unique<MeteredObjectStore>(
        std::move(objects_), object_backend_name(config_), clock_, metrics_);
    if (auto probed = probe_object_store(context, *objects_, node_id_, random_); !probed) {
        return std::move(probed).error().wrap(
            fmt::format("the object store ({}) does not work", objects_->describe()));
    }
    auto caches = make_object_reader(config_, *objects_, memory_, fs_, clock_, metrics_);
    if (!caches.problem.empty()) {
        log_warn("a server starts without its disk cache", {{"problem", caches.problem}});
        health_.set_problem("disk_cache", Health::Severity::kWarning, std::move(caches.problem));
    }
    reader_ = std::move(caches.reader);
    objects_ = std::make_unique<ForgettingObjectStore>(std::move(objects_), reader_);
    return {};
}

Result<> StandaloneServer::open_catalogue(const RequestContext& context) {
    MS_TRY(catalogue_, molesignal::open_catalogue(config_, clock_, random_));
    const auto migrate = [&]() -> Result<> {
        MS_TRY_VOID(catalogue_->ping(context));
        // As long as it takes: a migration of a large table that is cut begins anew.
        return catalogue_->migrate(start_context());
    };
    if (auto migrated = migrate(); !migrated) {
        return std::move(migrated).error().wrap(
            fmt::format("the catalogue ({})", catalogue_->describe()));
    }
    catalogue_->use_part_dumps(make_part_dump_reader(reader_, memory_, clock_, metrics_));
    owner_ = std::make_unique<OwnerLease>(*catalogue_, node_id_, lock_->identity(), random_);
    auto lease_context = start_context();
    lease_context.deadline = clock_.steady_now() + kDependencyWait;
    return owner_->take(lease_context);
}

Result<> StandaloneServer::open_ingester(const RequestContext& context) {
    MS_TRY(authenticator_,
           Authenticator::open(context, *catalogue_, clock_, random_, config_.auth));
    MS_TRY(auto first_token, authenticator_->ensure_bootstrap_token(context));
    first_token_ = first_token.value_or("");
    health_.set_phase(Health::Phase::kReplaying);
    MS_TRY(ingester_,
           Ingester::open(context,
                          ingester_options(config_),
                          fs_,
                          *catalogue_,
                          *objects_,
                          clock_,
                          random_,
                          metrics_,
                          memory_,
                          [this, next = std::uint64_t{1'000'000}](std::uint64_t rows) mutable {
                              health_.set_replayed_rows(rows);
                              if (rows >= next) {
                                  log_info("replaying the write-ahead log", {{"rows", rows}});
                                  next = rows + 1'000'000;
                              }
                          }));
    report_durability();
    report_replay();
    return {};
}

void StandaloneServer::report_durability() {
    const bool relaxed = ingester_options(config_).wal.flush_strategy == WalFlushStrategy::kNone;
    metrics_
        .gauge("wal_sync_relaxed",
               "1 if rows are acknowledged before they are on stable storage, by the settings")
        .set(relaxed ? 1 : 0);
    if (relaxed) {
        log_warn(
            "rows are acknowledged before they are on stable storage: a power cut can lose them",
            {{"wal.flush_strategy",
              config_.wal.flush_strategy == FlushStrategy::kNone ? "none" : "set"},
             {"wal.sync_level", config_.wal.sync_level == SyncLevel::kNone ? "none" : "data"}});
    }
}

void StandaloneServer::report_replay() {
    const auto replay = ingester_->wal().replay_stats();
    if (replay.segments > 0) {
        log_info("replayed the write-ahead log",
                 {{"segments", replay.segments},
                  {"rows", replay.rows},
                  {"torn_bytes", replay.torn_bytes},
                  {"damaged_records", replay.damaged_records}});
    }
    report_log_damage();
    if (const auto& findings = ingester_->start_findings(); !findings.empty()) {
        health_.set_problem("catalogue_age",
                            Health::Severity::kWarning,
                            fmt::format("the catalogue is older than the log ({} shards): {}",
                                        findings.size(),
                                        findings.front()));
    }
}

/// Stays until somebody has looked into quarantine/ and removed what is there.
void StandaloneServer::report_log_damage() {
    const auto replay = ingester_->wal().replay_stats();
    const auto set_aside = replay.quarantined_before + replay.quarantined_segments.size();
    std::string text;
    if (!replay.findings.empty()) {
        text = fmt::format("the log is damaged, {} durable records are lost; the first finding: {}",
                           replay.damaged_records,
                           replay.findings.front());
    } else if (replay.suspect_records > 0) {
        text = fmt::format(
            "{} records at the end of the log were dropped behind one that cannot be "
            "read; if the power did not fail, the disk has changed it",
            replay.suspect_records);
    }
    if (set_aside > 0) {
        text += fmt::format(
            "{}{} damaged segments of the log are in {}/quarantine; remove them when "
            "they are looked at",
            text.empty() ? "" : "; ",
            set_aside,
            resolve_path(config_, config_.wal.dir));
    }
    if (!text.empty()) {
        health_.set_problem("wal_damage", Health::Severity::kWarning, std::move(text));
    }
}

Result<> StandaloneServer::open_readers() {
    SqlEngineOptions sql;
    sql.threads = static_cast<std::size_t>(config_.query.threads);
    sql.memory_bytes = config_.query.memory_mb * kMegabyte;
    sql.memory = memory_;
    sql.reader = reader_;
    sql.spill_bytes = config_.query.spill_mb * kMegabyte;
    sql.spill_directory = resolve_path(config_, "spill");
    sql.rows_max = config_.query.rows_max;
    sql.bytes_max = config_.query.bytes_max;
    sql.concurrency_max = static_cast<std::size_t>(config_.query.concurrency);
    sql.timeout = std::chrono::seconds(config_.query.timeout_secs);
    MS_TRY_VOID(fs_.create_directories(sql.spill_directory));
    MS_TRY(sql_,
           SqlEngine::make(sql, *catalogue_, *ingester_, *objects_, queries_, clock_, metrics_));
    retention_ = std::make_unique<Retention>(
        RetentionOptions{
            .retention_days = static_cast<std::int32_t>(config_.compactor.retention_days),
            .grace = std::max(std::chrono::seconds(900),
                              2 * std::chrono::seconds(config_.query.timeout_secs))},
        *catalogue_,
        *objects_,
        clock_,
        metrics_);
    scrubber_ = std::make_unique<Scrubber>(
        ScrubberOptions{
            .bytes_per_second = static_cast<std::uint64_t>(config_.scrub.bytes_per_second),
            .interval = std::chrono::hours(config_.scrub.interval_hours),
            .position_file = resolve_path(config_, "scrub_position")},
        *catalogue_,
        *objects_,
        fs_,
        clock_,
        metrics_);
    return open_compactor();
}

Result<> StandaloneServer::open_compactor() {
    const auto& config = config_.compactor;
    CompactorOptions options;
    options.plan.target_bytes = static_cast<std::uint64_t>(config.target_mb * kMegabyte);
    options.plan.parts_min = static_cast<std::size_t>(config.parts_min);
    options.plan.memory_bytes = static_cast<std::uint64_t>(config.memory_mb * kMegabyte);
    options.writer = {
        .zstd_level = static_cast<int>(config_.ingester.zstd_level),
        .rows_per_group = static_cast<std::uint64_t>(config_.ingester.row_group_rows)};
    options.writes_index = config_.ingester.index;
    options.index_rows_max =
        std::min(options.index_rows_max, index_rows_for(config.memory_mb * kMegabyte));
    options.scratch_directory = resolve_path(config_, "compaction");
    options.holder = {.name = owner_->holder(), .replaces = owner_->directory()};
    options.packer.parts_min = static_cast<std::size_t>(config.pack_parts_min);
    options.packer.table_bytes_max = pack_table_bytes_for(config.memory_mb * kMegabyte);
    MS_TRY(compactor_,
           Compactor::make(
               options,
               *catalogue_,
               *objects_,
               fs_,
               clock_,
               random_,
               metrics_,
               memory_->make_child(
                   "merging of parts", "compactor.memory_mb", config.memory_mb * kMegabyte)));
    dumper_ = std::make_unique<PartDumper>(
        PartDumperOptions{.plan = options.plan, .holder = options.holder},
        *catalogue_,
        *objects_,
        clock_,
        random_,
        metrics_,
        memory_);
    return {};
}

Result<> StandaloneServer::listen() {
    http_api_ = std::make_unique<HttpApi>(services_);
    auto options = http_server_options(config_);
    options.memory = memory_;
    options.open_files_max = raise_open_files_limit();
    MS_TRY(http_,
           HttpServer::start(
               std::move(options),
               [this](const RequestContext& context, HttpRequest&& request) {
                   return http_api_->handle(context, std::move(request));
               },
               http_api_->hooks(),
               clock_,
               random_));
    addresses_.http = http_->addresses().at(0);
    addresses_.otlp_http = http_->addresses().at(1);
    return {};
}

Result<> StandaloneServer::run() {
    MS_TRY_VOID(ensure_durable_directory(fs_, config_.node.data_dir));
    MS_TRY(lock_, fs_.lock_directory(config_.node.data_dir));
    MS_PASS_FAILPOINT(start_directory_locked);
    MS_TRY(node_id_, load_node_id(fs_, resolve_path(config_, "node_id"), clock_, random_));
    MS_TRY_VOID(listen());
    const auto context = start_context();
    auto dependency_context = context;
    dependency_context.deadline = clock_.steady_now() + kDependencyWait;
    MS_TRY_VOID(open_object_store(dependency_context));
    MS_PASS_FAILPOINT(start_object_store_probed);
    dependency_context.deadline = clock_.steady_now() + kDependencyWait;
    MS_TRY_VOID(open_catalogue(dependency_context));
    MS_PASS_FAILPOINT(start_migrated);
    MS_TRY_VOID(open_ingester(context));
    MS_TRY_VOID(open_readers());
    services_.catalogue = catalogue_.get();
    services_.authenticator = authenticator_.get();
    services_.ingester = ingester_.get();
    services_.sql = sql_.get();
    services_.queries = &queries_;
    services_.started.store(true, std::memory_order_release);
    auto grpc_options = OtlpGrpcServer::Options::from(config_);
    grpc_options.body_memory = http_->body_memory();
    MS_TRY(grpc_, OtlpGrpcServer::start(grpc_options, services_));
    addresses_.otlp_grpc = grpc_->otlp_address();
    addresses_.grpc = grpc_->grpc_address();
    start_background();
    health_.set_phase(Health::Phase::kReady);
    MS_PASS_FAILPOINT(start_ready);
    return {};
}

RequestContext StandaloneServer::start_context() const {
    auto context = RequestContext::background(clock_, "start");
    context.cancel = start_cancel_;
    return context;
}

RequestContext StandaloneServer::background_context(std::string what,
                                                    std::chrono::nanoseconds longest) const {
    auto context = RequestContext::background(clock_, std::move(what));
    context.deadline = clock_.steady_now() + longest;
    context.cancel = stop_cancel_;
    return context;
}

void StandaloneServer::renew_lease() {
    const auto renewed = owner_->renew(background_context("lease", OwnerLease::kRenewalInterval));
    if (renewed || renewed.error().code() == ErrorCode::kCancelled) {
        return;
    }
    if (renewed.error().code() != ErrorCode::kConflict) {
        log_warn("the catalogue's owner lease was not renewed",
                 {{"error", renewed.error().message()}});
        return;
    }
    // Ending at once loses nothing: every acknowledged row is in this machine's log, and whoever
    // owns the catalogue now leaves shards of other logs alone.
    log_error("another server took over the catalogue; this one ends",
              {{"error", renewed.error().message()}});
    std::_Exit(EXIT_FAILURE);
}

void StandaloneServer::probe_objects() {
    const auto started = clock_.steady_now();
    auto probed =
        probe_object_store(background_context("probe", kProbeWait), *objects_, node_id_, random_);
    if (stop_cancel_.cancelled()) {
        return;
    }
    health_.report_probe("object_store", probed);
    metrics_
        .histogram("object_store_health_check_duration_seconds",
                   "Time of a probe: put, get and delete of a small object",
                   MetricRegistry::latency_buckets(),
                   {{"backend", object_backend_name(config_)}})
        .observe(static_cast<double>(clock_.steady_now().value - started.value) * 1e-9);
}

void StandaloneServer::run_retention() {
    const auto context = background_context("retention", std::chrono::seconds(600));
    retention_->set_retention_days(static_cast<std::int32_t>(live_().compactor.retention_days));
    const auto run = [&]() -> Result<> {
        MS_TRY_VOID(retention_->run_once(context));
        const auto age = std::chrono::microseconds(kShardMemory).count();
        MS_TRY_VOID(catalogue_->purge_shards(context, age));
        return {};
    };
    if (const auto done = run(); !done && !stop_cancel_.cancelled()) {
        log_warn("retention did not finish its round", {{"error", done.error().message()}});
    }
}

void StandaloneServer::run_compaction() {
    const auto& config = live_().compactor;
    // A start has enough to do.
    if (!std::exchange(compaction_begun_, true) || !config.merge) {
        return;
    }
    lower_thread_priority();
    const MutexLock turn(merge_mutex_);
    compactor_->set_pace({.cpu_share = static_cast<double>(config.cpu_percent) / 100,
                          .bytes_per_second = static_cast<std::uint64_t>(config.bytes_per_second)});
    const auto done = compactor_->run_once(background_context("compaction", kCompactionRoundMax));
    if (!done && !stop_cancel_.cancelled()) {
        log_warn("compaction did not finish its round", {{"error", done.error().message()}});
    }
}

void StandaloneServer::run_part_dump() {
    const auto& config = live_();
    if (!std::exchange(dump_begun_, true) || !config.storage.parquet_file_meta_dump.enabled) {
        return;
    }
    lower_thread_priority();
    // Of the same name as the compactor, each would take the other's leases.
    const MutexLock turn(merge_mutex_);
    apply_part_dump_settings(config, dumper_->options());
    const auto done = dumper_->run_once(background_context("part dump", kCompactionRoundMax));
    if (!done && !stop_cancel_.cancelled()) {
        log_warn("the dump of old parts' rows did not finish its round",
                 {{"error", done.error().message()}});
    }
}

void StandaloneServer::scrub() {
    const auto& config = live_().scrub;
    scrubber_->set_rate(static_cast<std::uint64_t>(config.bytes_per_second),
                        std::chrono::hours(config.interval_hours));
    const auto worked = scrubber_->work(background_context("scrub", std::chrono::seconds(60)));
    if (worked) {
        scrub_failing_ = false;
    } else if (!stop_cancel_.cancelled() && !std::exchange(scrub_failing_, true)) {
        log_warn("scrubbing waits", {{"error", worked.error().message()}});
    }
    constexpr std::size_t kNamedMax = 5;
    auto damaged = scrubber_->damaged();
    const auto count = damaged.size();
    damaged.resize(std::min(count, kNamedMax));
    health_.set_problem("parts",
                        Health::Severity::kWarning,
                        count == 0 ? ""
                                   : fmt::format("{} objects are damaged, queries that read them "
                                                 "fail; restore them from a backup: {}{}",
                                                 count,
                                                 fmt::join(damaged, "; "),
                                                 count > kNamedMax ? "; …" : ""));
}

const Config& StandaloneServer::reload(const Result<Config>& wanted) {
    auto plan = wanted ? plan_reload(live_(), *wanted) : Result<ConfigReload>(wanted.error());
    auto& success = metrics_.gauge("config_reload_success", "1 if the last reload succeeded");
    if (!plan) {
        success.set(0);
        log_error("the configuration was not reloaded; the old one stays in force",
                  {{"error", plan.error().message()}});
        return live_();
    }
    live_.replace(plan->next);
    success.set(1);
    metrics_
        .gauge("config_last_reload_timestamp_seconds",
               "Last successful reload or start, since 1970")
        .set(static_cast<double>(clock_.now().value) * 1e-9);
    log_info("the configuration was reloaded",
             {{"changed", fmt::format("{}", fmt::join(plan->changed, ","))}});
    if (!plan->needs_restart.empty()) {
        log_warn("settings differ that take effect at the next start only",
                 {{"settings", fmt::format("{}", fmt::join(plan->needs_restart, ","))}});
    }
    return live_();
}

void StandaloneServer::start_background() {
    metrics_.gauge("config_reload_success", "1 if the last reload succeeded").set(1);
    metrics_
        .gauge("config_last_reload_timestamp_seconds",
               "Last successful reload or start, since 1970")
        .set(static_cast<double>(clock_.now().value) * 1e-9);
    // In this order, whichever thread comes first.
    update_gauges();
    health_.report_probe("object_store", {});
    health_.report_probe("catalogue", {});
    health_.set_problem("parts", Health::Severity::kWarning, "");
    background_.repeat(OwnerLease::kRenewalInterval, [this] { renew_lease(); });
    background_.repeat(std::chrono::seconds(1), [this] { update_gauges(); });
    background_.repeat(MemoryWatch::kInterval, [this] { memory_watch_.look(); });
    background_.repeat(std::chrono::seconds(1), [this] { ingester_->maintain(); });
    // Each with a thread and a time limit of its own: one that is down hides nothing of the other.
    const std::chrono::seconds interval(config_.store.object.health_probe_interval_secs);
    background_.repeat(interval, [this] { probe_objects(); });
    background_.repeat(interval, [this] {
        const auto probed = catalogue_->ping(background_context("probe", kProbeWait));
        if (!stop_cancel_.cancelled()) {
            health_.report_probe("catalogue", probed);
        }
    });
    background_.repeat(std::chrono::seconds(1), [this] { scrub(); });
    background_.repeat(std::chrono::seconds(config_.compactor.interval_secs),
                       [this] { run_retention(); });
    background_.repeat(std::chrono::seconds(config_.compactor.interval_secs),
                       [this] { run_compaction(); });
    background_.repeat(std::chrono::seconds(config_.storage.parquet_file_meta_dump.interval_secs),
                       [this] { run_part_dump(); });
}

void StandaloneServer::update_process_gauges() {
    const auto process = read_process_stats();
    if (!process) {
        return;
    }
    const auto set = [this](std::string_view name, std::string_view help, double value) {
        metrics_.gauge(name, help).set(value);
    };
    auto& cpu = metrics_.counter("process_cpu_seconds_total", "User and system time");
    cpu.add(process->cpu_seconds - cpu.value());
    set("process_resident_memory_bytes",
        "Resident memory",
        static_cast<double>(process->resident_bytes));
    set("process_virtual_memory_bytes",
        "Virtual memory",
        static_cast<double>(process->virtual_bytes));
    set("process_open_fds", "Open files", static_cast<double>(process->open_files));
    set("process_max_fds", "Limit of open files", static_cast<double>(process->open_files_max));
    set("process_threads", "Threads", static_cast<double>(process->threads));
    set("process_start_time_seconds", "Start, since 1970", process->start_time_seconds);
}

void StandaloneServer::update_gauges() {
    update_process_gauges();
    http_api_->export_stats(http_->stats());
    const auto wal = ingester_->wal().stats();
    metrics_.gauge("wal_segments", "Segments of the log").set(static_cast<double>(wal.segments));
    metrics_.gauge("wal_bytes", "Size of the log on disk").set(static_cast<double>(wal.bytes));
    metrics_.gauge("wal_live_bytes", "Bytes of the log whose rows are not in parts yet")
        .set(static_cast<double>(wal.live_bytes));
    const auto rows = ingester_->stats();
    metrics_.gauge("ingester_buffer_reserved_bytes", "Memory of all memtables")
        .set(static_cast<double>(rows.memtable_bytes));
    metrics_.gauge("ingester_buffer_rows", "Rows in memtables").set(static_cast<double>(rows.rows));
    metrics_.gauge("ingester_shards", "Shards in memory").set(static_cast<double>(rows.shards));
    metrics_.gauge("molesignal_memory_budget_used_bytes", "Memory counted by the process's budget")
        .set(static_cast<double>(memory_->used_bytes()));
    metrics_
        .gauge("molesignal_memory_budget_uncounted_bytes",
               "Memory beyond the budget's count for which it leaves room")
        .set(static_cast<double>(memory_->uncounted_bytes()));
    report_log_state(wal);
    report_log_damage();
    constexpr std::uint64_t kFailuresToReport = 3;
    health_.set_problem("flush",
                        Health::Severity::kWarning,
                        rows.flush_failures_in_a_row >= kFailuresToReport
                            ? fmt::format("{} shards cannot be flushed, one failed {} times in a "
                                          "row: {}",
                                          rows.failing_shards,
                                          rows.flush_failures_in_a_row,
                                          rows.last_flush_error)
                            : "");
}

void StandaloneServer::report_log_state(const WalStats& wal) {
    auto severity = Health::Severity::kDegraded;
    std::string text;
    if (wal.read_only) {
        text = fmt::format(
            "the write-ahead log is read-only after a failed write ({}): rows are refused until a "
            "restart; reads go on",
            wal.problem);
    } else if (wal.out_of_space) {
        severity = Health::Severity::kWarning;
        text =
            "the disk of the write-ahead log is full: rows are refused until there is space, then "
            "taken by themselves; reads go on";
    } else if (!wal.problem.empty()) {
        text = fmt::format("the write-ahead log cannot be written ({}): rows are refused",
                           wal.problem);
    }
    health_.set_problem("wal", severity, std::move(text));
}

Result<> StandaloneServer::drain() {
    closed_ = true;
    health_.set_phase(Health::Phase::kDraining);
    (void)drain_begun.pass();
    const auto deadline =
        clock_.steady_now() + std::chrono::seconds(config_.node.drain_timeout_secs);
    stop_cancel_.cancel();
    if (ingester_ != nullptr) {
        ingester_->stop_waiting();  // Rows are durable, with a flush or without.
    }
    drain_requests(deadline);
    (void)drain_requests_done.pass();
    background_.stop();
    Result<> result;
    if (ingester_ != nullptr) {
        auto context = RequestContext::background(clock_, "drain");
        context.deadline = deadline;
        result = ingester_->close(context);
    }
    (void)drain_log_closed.pass();
    sql_.reset();
    if (owner_ != nullptr) {
        auto context = RequestContext::background(clock_, "drain");
        context.deadline = clock_.steady_now() + std::chrono::seconds(5);
        // Not essential: the lease ends by itself.
        (void)owner_->release(context);
    }
    return result;
}

/// Both protocols at once: they share the time, and neither takes new work while the other ends.
void StandaloneServer::drain_requests(SteadyNanos deadline) {
    if (http_ != nullptr) {
        http_->stop_accepting();
    }
    std::thread grpc([this, deadline] {
        if (grpc_ != nullptr) {
            grpc_->drain(deadline);
        }
    });
    if (http_ != nullptr) {
        if (auto drained = http_->drain(deadline); !drained) {
            log_warn("requests were cut at the end of the drain time-out",
                     {{"error", drained.error().message()}});
        }
        http_->stop();
    }
    grpc.join();
}

}  // namespace

Result<std::unique_ptr<Standalone>> Standalone::start(const Config& config,
                                                      const std::string& version,
                                                      FileSystem& fs,
                                                      Clock& clock,
                                                      Random& random,
                                                      const CancelToken& cancel) {
    auto server = std::make_unique<StandaloneServer>(config, version, fs, clock, random, cancel);
    MS_TRY_VOID(server->run());
    return std::unique_ptr<Standalone>(std::move(server));
}

Result<> write_ready_file(FileSystem& fs,
                          const std::string& path,
                          const ServerAddresses& addresses,
                          int pid) {
    const auto text = fmt::format(
        R"({{"http": "{}", "grpc": "{}", "otlp_grpc": "{}", "otlp_http": "{}", "pid": {}}})"
        "\n",
        addresses.http,
        addresses.grpc,
        addresses.otlp_grpc,
        addresses.otlp_http,
        pid);
    return write_file_atomically(fs, path, as_bytes(text));
}

}  // namespace molesignal
