#include "storage/memtable.h"

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/random.h"

namespace molesignal {
namespace {

using Cell = std::optional<std::string>;
using Row = std::map<std::string, std::string>;

std::uint64_t seed_from_environment() {
    const auto* text = std::getenv("MS_TEST_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : 20261124;
}

RowBatch batch_of(std::initializer_list<std::pair<std::string, std::string>> cells,
                  std::int64_t time) {
    RowBatch batch;
    batch.timestamps.push_back(time);
    for (const auto& [name, value] : cells) {
        batch.columns[batch.find_or_add(name, FieldType::kString)].append_text(0, value);
    }
    batch.finish();
    return batch;
}

std::vector<Row> rows_of(const std::vector<HotChunk>& chunks) {
    std::vector<Row> rows;
    for (const auto& chunk : chunks) {
        for (auto row = chunk.begin; row < chunk.rows; ++row) {
            Row cells;
            cells["@"] =
                fmt::format("{}/{}", chunk.timestamps[row], chunk.first_position.value + row);
            for (const auto& column : chunk.columns) {
                if (!column.is_null(row)) {
                    cells[fmt::format("{}:{}", column.name, field_type_name(column.type))] =
                        is_variable_width(column.type) ? std::string(column.text_at(row))
                                                       : std::to_string(column.fixed_at(row));
                }
            }
            rows.push_back(std::move(cells));
        }
    }
    return rows;
}

TEST(Memtable, KeepsRandomRowsOfManyShapesInOrder) {
    const auto seed = seed_from_environment();
    SCOPED_TRACE(fmt::format("MS_TEST_SEED={}", seed));
    SeededRandom random(seed);
    Memtable table(ShardId{7}, Position{100});
    std::vector<Row> expected;
    while (expected.size() < 30'000) {
        RowBatch batch;
        const auto rows = 1 + random.next_u64() % 3000;
        for (std::uint32_t row = 0; row < rows; ++row) {
            Row cells;
            const auto time = static_cast<std::int64_t>(random.next_u64() >> 2U);
            cells["@"] = fmt::format("{}/{}", time, 100 + expected.size());
            batch.timestamps.push_back(time);
            for (int field = 0; field < 8; ++field) {
                // Fields 6 and 7 are rare at first; 7 becomes common in the middle.
                const auto one_in = field < 6                                ? 3U
                                    : field == 6 || expected.size() < 15'000 ? 40U
                                                                             : 2U;
                if ((random.next_u64() % one_in == 0) == (field < 6)) {
                    continue;
                }
                const auto name = fmt::format("f{}", field);
                // Fields 0-1 have few values, 2 many, 3 grows, 4-5 are numbers.
                const auto range = field < 2 ? 5 : field == 2 ? UINT64_MAX : expected.size() + 1;
                if (field < 4 || field == 7) {
                    const auto value = fmt::format("v{}", random.next_u64() % range);
                    batch.columns[batch.find_or_add(name, FieldType::kString)].append_text(row,
                                                                                           value);
                    cells[name + ":string"] = value;
                } else {
                    const auto value = random.next_u64() % range;
                    batch.columns[batch.find_or_add(name, FieldType::kInt64)].append_fixed(row,
                                                                                           value);
                    cells[name + ":int64"] = std::to_string(value);
                }
            }
            expected.push_back(std::move(cells));
        }
        batch.finish();
        table.append(batch, 10);
    }
    EXPECT_EQ(table.rows(), expected.size());
    EXPECT_EQ(rows_of(table.snapshot()), expected);
    EXPECT_GT(table.capacity_bytes(), expected.size() * 8);
}

TEST(Memtable, SnapshotDoesNotSeeLaterRowsAndOutlivesTheTable) {
    std::vector<HotChunk> before;
    {
        Memtable table(ShardId{1}, Position{0});
        table.append(batch_of({{"a", "1"}}, 5), 1);
        before = table.snapshot();
        table.append(batch_of({{"b", "2"}}, 6), 1);
        EXPECT_EQ(rows_of(table.snapshot()).size(), 2U);
    }
    const std::vector<Row> expected = {{{"@", "5/0"}, {"a:string", "1"}}};
    EXPECT_EQ(rows_of(before), expected);
}

TEST(Memtable, DictionaryIsGivenUpWhenItStopsPaying) {
    Memtable table(ShardId{1}, Position{0});
    std::vector<HotChunk> early;
    for (int i = 0; i < 200; ++i) {
        table.append(
            batch_of({{"id", fmt::format("unique-{}", i)}, {"level", i % 2 == 0 ? "info" : "warn"}},
                     i),
            1);
        if (i == 10) {
            early = table.snapshot();
        }
    }
    const auto chunks = table.snapshot();
    ASSERT_EQ(chunks.size(), 1U);
    EXPECT_EQ(chunks[0].find("id", FieldType::kString)->encoding, HotEncoding::kText);
    EXPECT_EQ(chunks[0].find("level", FieldType::kString)->encoding, HotEncoding::kDictionary);
    EXPECT_EQ(rows_of(early)[3].at("id:string"), "unique-3");
}

TEST(Memtable, ASmallChunkDoesNotJudgeADictionary) {
    Memtable table(ShardId{1}, Position{0});
    // More values than the first chunk's dictionary holds, and few for all rows.
    for (int i = 0; i < 12'000; ++i) {
        table.append(batch_of({{"host", fmt::format("host-{}", i % 128)}}, i), 1);
    }
    const auto chunks = table.snapshot();
    ASSERT_EQ(chunks.size(), 4U);
    EXPECT_EQ(chunks[0].find("host", FieldType::kString)->encoding, HotEncoding::kText);
    for (std::size_t i = 1; i < chunks.size(); ++i) {
        EXPECT_EQ(chunks[i].find("host", FieldType::kString)->encoding, HotEncoding::kDictionary);
    }
}

TEST(Memtable, SparseColumnsTakeMemoryByTheirValues) {
    Memtable table(ShardId{1}, Position{0});
    // 20,000 rows; each of 500 fields has a value in 40 of them.
    for (int i = 0; i < 20'000; ++i) {
        table.append(batch_of({{fmt::format("f{}", i % 500), "v"}}, i), 1);
    }
    EXPECT_LT(table.capacity_bytes(), 3U << 20U);
    const auto rows = rows_of(table.snapshot());
    ASSERT_EQ(rows.size(), 20'000U);
    const Row expected = {{"@", "19999/19999"}, {"f499:string", "v"}};
    EXPECT_EQ(rows.back(), expected);
}

TEST(Memtable, ManyDenseColumnsMakeSmallChunks) {
    Memtable table(ShardId{1}, Position{0});
    RowBatch batch;
    for (std::uint32_t row = 0; row < 8000; ++row) {
        batch.timestamps.push_back(row);
        for (int field = 0; field < 300; ++field) {
            if (row == 0) {
                batch.columns.emplace_back(fmt::format("f{}", field), FieldType::kInt64);
            }
            batch.columns[static_cast<std::size_t>(field)].append_fixed(row, row);
        }
    }
    batch.finish();
    table.append(batch, 1);
    // 8,000 x 300 x 8 bytes, and not much for rows that have not come.
    EXPECT_LT(table.capacity_bytes(), 8000U * 300U * 8U * 3U / 2U);
    EXPECT_EQ(rows_of(table.snapshot()).at(7999).at("f299:int64"), "7999");
}

TEST(Memtable, NotesIntegersThatFloatCannotHold) {
    Memtable table(ShardId{1}, Position{0});
    const auto append = [&table](std::string_view name, FieldType type, std::uint64_t bits) {
        RowBatch batch;
        batch.timestamps.push_back(0);
        batch.columns[batch.find_or_add(name, type)].append_fixed(0, bits);
        batch.finish();
        table.append(batch, 1);
    };
    append("small", FieldType::kInt64, static_cast<std::uint64_t>(-(std::int64_t{1} << 53)));
    append("large", FieldType::kInt64, (1ULL << 53U) + 1);
    append("even", FieldType::kInt64, (1ULL << 53U) + 2);
    append("max", FieldType::kInt64, INT64_MAX);
    append("min", FieldType::kInt64, static_cast<std::uint64_t>(INT64_MIN));
    append("umax", FieldType::kUint64, UINT64_MAX);
    append("u63", FieldType::kUint64, 1ULL << 63U);
    std::map<std::string, bool> inexact;
    for (const auto& field : table.fields()) {
        inexact[field.name] = field.inexact_as_float;
    }
    const std::map<std::string, bool> expected = {{"small", false},
                                                  {"large", true},
                                                  {"even", false},
                                                  {"max", true},
                                                  {"min", false},
                                                  {"umax", true},
                                                  {"u63", false}};
    EXPECT_EQ(inexact, expected);
}

TEST(Memtable, ReadersSeeConsistentRowsWhileOneAppends) {
    Memtable table(ShardId{1}, Position{0});
    // Few at first, then all: the column becomes dense under the readers' eyes.
    const auto is_rare = [](std::uint64_t position) {
        return position % 50 == 0 || position % 1000 > 600;
    };
    std::mutex mutex;
    std::atomic<bool> done = false;
    std::thread reader([&] {
        while (!done) {
            std::vector<HotChunk> chunks;
            {
                const std::lock_guard lock(mutex);
                chunks = table.snapshot();
            }
            std::uint64_t position = 0;
            for (const auto& chunk : chunks) {
                const auto* column = chunk.find("n", FieldType::kString);
                const auto* rare = chunk.find("rare", FieldType::kString);
                for (std::uint32_t row = 0; row < chunk.rows; ++row, ++position) {
                    const bool has_rare = rare != nullptr && !rare->is_null(row);
                    ASSERT_EQ(has_rare, is_rare(position)) << position;
                    if (has_rare) {
                        ASSERT_EQ(rare->text_at(row), std::to_string(position));
                    }
                    ASSERT_EQ(chunk.first_position.value + row, position);
                    ASSERT_EQ(column->text_at(row), std::to_string(position % 700));
                }
            }
        }
    });
    for (int i = 0; i < 5000; ++i) {
        auto cells = batch_of({{"n", std::to_string(i % 700)}}, i);
        if (is_rare(static_cast<std::uint64_t>(i))) {
            cells = batch_of({{"n", std::to_string(i % 700)}, {"rare", std::to_string(i)}}, i);
        }
        const std::lock_guard lock(mutex);
        table.append(cells, 1);
    }
    done = true;
    reader.join();
}

TEST(DropFlushedRows, CutsAtTheCheckpointOfEachShard) {
    HotSnapshot snapshot;
    for (std::uint64_t shard = 1; shard <= 4; ++shard) {
        Memtable table(ShardId{shard}, Position{10});
        for (int i = 0; i < 4; ++i) {
            table.append(batch_of({{"a", "x"}}, i), 1);
        }
        snapshot.chunks.push_back(table.snapshot().front());
    }
    drop_flushed_rows(
        snapshot,
        {{ShardId{1}, Position{14}}, {ShardId{2}, Position{11}}, {ShardId{3}, Position{10}}});
    ASSERT_EQ(snapshot.chunks.size(), 2U);
    EXPECT_EQ(snapshot.chunks[0].begin, 1U);
    EXPECT_EQ(snapshot.chunks[1].begin, 0U);
    EXPECT_EQ(snapshot.rows(), 7U);
}

}  // namespace
}  // namespace molesignal
