#include "query/sql/engine_instance.h"

#include <algorithm>
#include <array>
#include <thread>

#include <duckdb.hpp>
#include <duckdb/common/local_file_system.hpp>
#include <duckdb/parallel/task_scheduler.hpp>
#include <fmt/format.h>

#include "common/log.h"
#include "query/sql/kernels/kernels.h"
#include "query/sql/value_counts.h"

namespace molesignal {
namespace {

/// DuckDB spills by its own file system, so that is what clears up behind it.
void remove_directory(const std::string& path) {
    try {
        duckdb::LocalFileSystem files;
        if (files.DirectoryExists(path)) {
            files.RemoveDirectory(path);
        }
    } catch (const std::exception& exception) {
        log_warn("a directory of spilled data could not be removed",
                 {{"path", path}, {"error", duckdb::ErrorData(exception).RawMessage()}});
    }
}

}  // namespace

std::shared_ptr<const ScanSource> InstanceState::source(std::uint64_t handle) {
    const MutexLock lock(mutex);
    const auto found = sources.find(handle);
    if (found == sources.end()) {
        throw duckdb::BinderException("no such scan");
    }
    return found->second;
}

const RowSet* InstanceState::keep_rows(RowSet rows) {
    if (!memory->charge(static_cast<std::int64_t>(rows.memory_bytes()))) {
        throw duckdb::OutOfMemoryException("no memory for the rows that an index has found");
    }
    const QueryMemory::Scope uncounted(nullptr);
    const MutexLock lock(mutex);
    selections.push_back(std::make_unique<const RowSet>(std::move(rows)));
    return selections.back().get();
}

void InstanceState::select(const PartInfo& part) {
    const QueryMemory::Scope uncounted(nullptr);
    const MutexLock lock(mutex);
    for (const auto& object : part.objects) {
        const auto found = readable.find(object.key);
        if (object.kind != "parquet" || found == readable.end()) {
            continue;
        }
        if (std::exchange(found->second.selected, true)) {
            continue;
        }
        ++counters->parts_selected;
        counters->row_groups_total += static_cast<std::int64_t>(part.row_groups.size());
    }
}

void InstanceState::note_index(const IndexTally& tally) {
    const MutexLock lock(mutex);
    counters->index_parts += tally.parts;
    counters->index_parts_whole += tally.parts_whole;
    counters->index_parts_counted += tally.parts_counted;
    counters->index_rows += tally.rows;
    counters->index_filters += tally.filters;
}

void InstanceState::note_scan(std::uint64_t scan, const ScanReport& report) {
    if (explains) {
        const QueryMemory::Scope uncounted(nullptr);
        const MutexLock lock(mutex);
        reports.insert_or_assign(scan, report);
    }
}

EngineInstance::EngineInstance(const SqlEngineOptions& options, std::string spill_directory)
    : memory_(options.memory_bytes, options.memory), spill_directory_(std::move(spill_directory)) {}

EngineInstance::~EngineInstance() {
    connection_.reset();
    if (!workers_.empty()) {
        working_ = false;
        duckdb::TaskScheduler::GetScheduler(*database_->instance).Signal(workers_.size());
        for (auto& worker : workers_) {
            worker.join();
        }
    }
    database_.reset();
    if (!spill_directory_.empty()) {
        remove_directory(spill_directory_);
    }
}

void EngineInstance::start_workers(std::size_t threads) {
    // The thread that asks for rows works too.
    for (std::size_t i = 1; i < threads; ++i) {
        workers_.emplace_back([this] {
            const QueryMemory::Scope scope(&memory_);
            duckdb::TaskScheduler::GetScheduler(*database_->instance).ExecuteForever(&working_);
        });
    }
}

Result<std::unique_ptr<EngineInstance>> EngineInstance::make(
    const SqlEngineOptions& options,
    const std::string& spill_directory,
    std::shared_ptr<ObjectReader> objects) try {
    std::unique_ptr<EngineInstance> instance(new EngineInstance(options, spill_directory));
    instance->state_ = std::make_shared<InstanceState>(std::move(objects));
    instance->state_->memory = &instance->memory_;
    duckdb::DBConfig config;
    config.options.autoload_known_extensions = false;
    config.options.autoinstall_known_extensions = false;
    config.options.allow_community_extensions = false;
    // DuckDB counts its buffers only; the rest of the query's memory is for what it does not count.
    config.options.maximum_memory = static_cast<duckdb::idx_t>(options.memory_bytes / 4 * 3);
    config.allocator = duckdb::unique_ptr<duckdb::Allocator>(make_counting_allocator().release());
    const auto threads = options.threads > 0
                             ? options.threads
                             : std::max<std::size_t>(1, std::thread::hardware_concurrency());
    config.options.maximum_threads = threads;
    config.options.external_threads = threads;
    config.options.temporary_directory = spill_directory;
    instance->database_ = std::make_unique<duckdb::DuckDB>(nullptr, &config);
    duckdb::Connection connection(*instance->database_);
    register_object_files(*instance->database_, instance->state_);
    register_part_scan(*instance->database_, connection, instance->state_);
    register_hot_scan(*instance->database_, connection, instance->state_);
    register_value_counts(*instance->database_, connection, instance->state_);
    register_match(*instance->database_, connection);
    register_text_functions(*instance->database_, connection);
    register_regex_functions(*instance->database_, connection);
    register_utc_functions(*instance->database_, connection);
    register_distinct_counts(*instance->database_);
    // Locked last; nothing after it can be changed, and no local file can be reached.
    const std::array<std::string, 8> settings = {
        "SET GLOBAL TimeZone = 'UTC'",
        "SET preserve_insertion_order = false",
        fmt::format("SET max_temp_directory_size = '{}B'", options.spill_bytes),
        "SET allow_persistent_secrets = false",
        // Its cache of file ranges is per instance, outside our budget, and hides reads from stats.
        "SET enable_external_file_cache = false",
        "SET allowed_directories = ['ms://']",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    };
    for (const auto& statement : settings) {
        const auto done = connection.Query(statement);
        if (done->HasError()) {
            return Error(
                ErrorCode::kInternal,
                fmt::format("prepare the SQL engine: {}: {}", statement, done->GetError()));
        }
    }
    instance->start_workers(threads);
    return instance;
} catch (const std::exception& exception) {
    return Error(
        ErrorCode::kInternal,
        fmt::format("start the SQL engine: {}", duckdb::ErrorData(exception).RawMessage()));
}

void EngineInstance::begin(const RequestContext& context, std::shared_ptr<ScanCounters> counters) {
    {
        const MutexLock lock(state_->mutex);
        state_->context = context;
        state_->counters = std::move(counters);
    }
    auto connection = std::make_unique<duckdb::Connection>(*database_);
    memory_.begin(connection->context->interrupted);
    const MutexLock lock(interrupt_mutex_);
    connection_ = std::move(connection);
}

std::uint64_t EngineInstance::add_source(std::shared_ptr<const ScanSource> source) {
    const MutexLock lock(state_->mutex);
    for (const auto& part : source->parts) {
        for (const auto& object : part.objects) {
            auto& entry = state_->readable[object.key];
            entry.bytes = static_cast<std::uint64_t>(object.bytes);
            if (object.kind == "parquet") {
                entry.xxh3 = object.xxh3;
                entry.footer_xxh3 = part.footer_xxh3;
                entry.row_groups = part.row_groups;
                entry.touched.assign(part.row_groups.size(), false);
            }
        }
    }
    state_->sources[next_handle_] = std::move(source);
    return next_handle_++;
}

Result<> EngineInstance::count_values(const RequestContext& context, ScanSource& source) {
    return molesignal::count_values(*state_, context, source);
}

std::vector<ScanReport> EngineInstance::scan_reports() {
    const MutexLock lock(state_->mutex);
    std::vector<ScanReport> reports;
    for (const auto& [scan, report] : state_->reports) {
        reports.push_back(report);
    }
    return reports;
}

void EngineInstance::interrupt() {
    const MutexLock lock(interrupt_mutex_);
    if (connection_ != nullptr) {
        connection_->Interrupt();
    }
}

void EngineInstance::end() {
    std::unique_ptr<duckdb::Connection> connection;
    {
        const MutexLock lock(interrupt_mutex_);
        connection = std::move(connection_);
    }
    // With the connection go the plan, its tasks and whatever they hold: a result that was not read
    // to its end lives on in a connection that is kept.
    if (connection != nullptr) {
        connection->Interrupt();
        memory_.end();
        connection.reset();
    }
    const MutexLock lock(state_->mutex);
    state_->sources.clear();
    state_->readable.clear();
    state_->selections.clear();
    state_->reports.clear();
    state_->explains = false;
    state_->context = RequestContext();
    state_->counters = nullptr;
}

void prepare_spill_directory(const std::string& directory) {
    if (directory.empty()) {
        return;
    }
    std::vector<std::string> found;
    try {
        duckdb::LocalFileSystem files;
        files.CreateDirectoriesRecursive(directory);
        files.ListFiles(directory, [&](const duckdb::string& name, bool is_directory) {
            if (is_directory && name.starts_with(kSpillPrefix)) {
                found.push_back(directory + "/" + name);
            }
        });
    } catch (const std::exception& exception) {
        log_warn("the directory for spilled data cannot be used: queries that need it will fail",
                 {{"path", directory}, {"error", duckdb::ErrorData(exception).RawMessage()}});
    }
    for (const auto& path : found) {
        remove_directory(path);
    }
}

}  // namespace molesignal
