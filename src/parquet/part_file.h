#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/api.h>
#include <arrow/memory_pool.h>

#include "common/memory_budget.h"
#include "common/result.h"
#include "model/schema.h"
#include "parquet/part_writer.h"

namespace parquet {
class FileMetaData;
class WriterProperties;
}  // namespace parquet

namespace molesignal {

/// What all files of parts have in common (docs/formats/part.md), for their writers. With Arrow's
/// headers: for few sources.

/// kResourceExhausted if memory ran out, else kInternal.
Error parquet_error(std::string_view doing, const arrow::Status& status);

/// Arrow's system memory pool, with every byte counted on a budget. Memory is never refused: what
/// a flush needs it must get, and the budget's other users wait. Thread-safe; the budget may be
/// null.
class BudgetPool final : public arrow::MemoryPool {
public:
    explicit BudgetPool(std::shared_ptr<MemoryBudget> budget) : budget_(std::move(budget)) {}

    using arrow::MemoryPool::Allocate;
    using arrow::MemoryPool::Free;
    using arrow::MemoryPool::Reallocate;
    arrow::Status Allocate(std::int64_t size, std::int64_t alignment, std::uint8_t** out) override {
        auto status = pool_->Allocate(size, alignment, out);
        if (status.ok()) {
            stats_.DidAllocateBytes(size);
            count(size);
        }
        return status;
    }
    arrow::Status Reallocate(std::int64_t old_size,
                             std::int64_t new_size,
                             std::int64_t alignment,
                             std::uint8_t** place) override {
        auto status = pool_->Reallocate(old_size, new_size, alignment, place);
        if (status.ok()) {
            stats_.DidReallocateBytes(old_size, new_size);
            count(new_size - old_size);
        }
        return status;
    }
    void Free(std::uint8_t* place, std::int64_t size, std::int64_t alignment) override {
        pool_->Free(place, size, alignment);
        stats_.DidFreeBytes(size);
        count(-size);
    }
    std::int64_t bytes_allocated() const override { return stats_.bytes_allocated(); }
    std::int64_t max_memory() const override { return stats_.max_memory(); }
    std::int64_t total_bytes_allocated() const override { return stats_.total_bytes_allocated(); }
    std::int64_t num_allocations() const override { return stats_.num_allocations(); }
    std::string backend_name() const override { return pool_->backend_name(); }

private:
    void count(std::int64_t bytes) {
        if (budget_ == nullptr) {
            return;
        }
        if (bytes >= 0) {
            budget_->force_reserve(bytes);
        } else {
            budget_->release(-bytes);
        }
    }

    std::shared_ptr<MemoryBudget> budget_;
    // The process's malloc: the pools of Arrow's package keep what is freed (decision 0015).
    arrow::MemoryPool* pool_ = arrow::system_memory_pool();
    arrow::internal::MemoryPoolStats stats_;
};

/// What the values of a field are in a file, without a dictionary.
std::shared_ptr<arrow::DataType> part_column_type(FieldType type);
/// A column as a file has it.
std::shared_ptr<arrow::Field> part_field(const std::string& name,
                                         std::shared_ptr<arrow::DataType> type,
                                         bool nullable,
                                         std::int32_t id);
/// The columns that every part has, in their order.
std::vector<std::shared_ptr<arrow::Field>> own_part_fields();

/// Names of a file's columns for readers that go by name: distinct, a field's own if it is free.
class PartColumnNames {
public:
    PartColumnNames();
    std::string take(const std::string& field, FieldType type);

private:
    std::vector<std::string> taken_;  ///< Sorted.
};

/// A column with many values, by its name in the file.
struct ManyValuedColumn {
    std::string name;
    FieldType type = FieldType::kString;
};

/// `many_valued`: columns without dictionaries. Numbers and times are packed by their distances,
/// floats by their bytes: less than a dictionary of as many entries and quicker to read.
std::shared_ptr<parquet::WriterProperties> part_properties(
    const PartWriterOptions& options,
    const std::vector<ManyValuedColumn>& many_valued,
    arrow::MemoryPool& pool);

/// What goes into the file's metadata.
std::shared_ptr<const arrow::KeyValueMetadata> part_metadata(std::string_view sort_order);

/// The values of a row group's own columns, row after row.
class OwnPartColumns {
public:
    OwnPartColumns(std::size_t rows, arrow::MemoryPool& pool);
    void set(std::size_t row, std::int64_t time_ns, std::uint64_t shard, std::uint64_t position);
    std::vector<std::shared_ptr<arrow::Array>> arrays() const;

private:
    std::int64_t rows_;
    std::shared_ptr<arrow::Buffer> times_;
    std::shared_ptr<arrow::Buffer> nanos_;
    std::shared_ptr<arrow::Buffer> shards_;
    std::shared_ptr<arrow::Buffer> positions_;
};

std::vector<WrittenRowGroup> row_groups_of(const parquet::FileMetaData& metadata);

}  // namespace molesignal
