#include "metadata/migrations.h"

#include <array>
#include <utility>

namespace molesignal {
namespace {

Migration organizations_step() {
    return {1,
            "organizations_and_tokens",
            {R"(CREATE TABLE organizations (
                 id VARCHAR(64) PRIMARY KEY,
                 slug VARCHAR(64) NOT NULL UNIQUE,
                 name VARCHAR(255) NOT NULL,
                 created_at_micros BIGINT NOT NULL))",
             R"(CREATE TABLE api_tokens (
                 id VARCHAR(64) PRIMARY KEY,
                 org_id VARCHAR(64) NOT NULL REFERENCES organizations(id),
                 name VARCHAR(255) NOT NULL,
                 prefix VARCHAR(32) NOT NULL UNIQUE,
                 secret_hash VARCHAR(64) NOT NULL,
                 permissions VARCHAR(255) NOT NULL,
                 created_at_micros BIGINT NOT NULL,
                 expires_at_micros BIGINT,
                 revoked_at_micros BIGINT))",
             "CREATE INDEX api_tokens_by_org ON api_tokens (org_id, id)"}};
}

Migration streams_step() {
    return {2,
            "streams_and_fields",
            {R"(CREATE TABLE streams (
                 id VARCHAR(64) PRIMARY KEY,
                 org_id VARCHAR(64) NOT NULL REFERENCES organizations(id),
                 name VARCHAR(255) NOT NULL,
                 stream_type VARCHAR(16) NOT NULL,
                 settings TEXT NOT NULL,
                 version BIGINT NOT NULL,
                 created_at_micros BIGINT NOT NULL,
                 updated_at_micros BIGINT NOT NULL,
                 deleted_at_micros BIGINT))",
             R"(CREATE UNIQUE INDEX streams_by_name ON streams (org_id, name, stream_type)
                 WHERE deleted_at_micros IS NULL)",
             R"(CREATE TABLE stream_fields (
                 stream_id VARCHAR(64) NOT NULL REFERENCES streams(id),
                 field_id BIGINT NOT NULL,
                 name {blob} NOT NULL,
                 type BIGINT NOT NULL,
                 inexact_as_float BOOLEAN NOT NULL,
                 PRIMARY KEY (stream_id, field_id),
                 UNIQUE (stream_id, name, type)))"}};
}

Migration shards_step() {
    return {3,
            "shards_and_flush_intents",
            {R"(CREATE TABLE shards (
                 id {serial},
                 stream_id VARCHAR(64) NOT NULL REFERENCES streams(id),
                 epoch BIGINT NOT NULL,
                 state BIGINT NOT NULL,
                 checkpoint BIGINT NOT NULL,
                 last_flush_id VARCHAR(64) NOT NULL,
                 created_at_micros BIGINT NOT NULL))",
             // 3 is ShardState::kDeleted.
             "CREATE INDEX shards_live ON shards (stream_id, id) WHERE state < 3",
             R"(CREATE TABLE flush_intents (
                 flush_id VARCHAR(64) PRIMARY KEY,
                 stream_id VARCHAR(64) NOT NULL REFERENCES streams(id),
                 shard_id BIGINT NOT NULL REFERENCES shards(id),
                 epoch BIGINT NOT NULL,
                 position_begin BIGINT NOT NULL,
                 position_end BIGINT NOT NULL,
                 object_keys TEXT NOT NULL,
                 state VARCHAR(16) NOT NULL,
                 created_at_micros BIGINT NOT NULL))"}};
}

Migration parts_step() {
    return {4,
            "parts",
            {R"(CREATE TABLE parquet_file_meta (
                 id VARCHAR(64) PRIMARY KEY,
                 stream_id VARCHAR(64) NOT NULL REFERENCES streams(id),
                 rows BIGINT NOT NULL,
                 size_bytes BIGINT NOT NULL,
                 raw_bytes BIGINT NOT NULL,
                 time_start_micros BIGINT NOT NULL,
                 time_end_micros BIGINT NOT NULL,
                 shard_id BIGINT NOT NULL,
                 position_begin BIGINT NOT NULL,
                 position_end BIGINT NOT NULL,
                 statistics {blob} NOT NULL,
                 format_version BIGINT NOT NULL,
                 sort_order VARCHAR(255) NOT NULL,
                 created_at_micros BIGINT NOT NULL,
                 added_version BIGINT NOT NULL,
                 removed_version BIGINT,
                 removed_at_micros BIGINT,
                 deleted BOOLEAN NOT NULL))",
             R"(CREATE INDEX parquet_file_meta_live
                 ON parquet_file_meta (stream_id, time_end_micros, time_start_micros)
                 WHERE NOT deleted)",
             "CREATE INDEX parquet_file_meta_removed ON parquet_file_meta (removed_at_micros) "
             "WHERE deleted",
             R"(CREATE TABLE part_objects (
                 part_id VARCHAR(64) NOT NULL REFERENCES parquet_file_meta(id),
                 position BIGINT NOT NULL,
                 kind VARCHAR(32) NOT NULL,
                 object_key VARCHAR(1024) NOT NULL UNIQUE,
                 bytes BIGINT NOT NULL,
                 xxh3 BIGINT NOT NULL,
                 PRIMARY KEY (part_id, position)))"}};
}

Migration leases_step() {
    return {5, "leases", {R"(CREATE TABLE leases (
                 name VARCHAR(255) PRIMARY KEY,
                 holder VARCHAR(255) NOT NULL,
                 epoch BIGINT NOT NULL,
                 expires_at_micros BIGINT NOT NULL))"}};
}

Migration shard_owners_step() {
    return {6,
            "shard_owners",
            {"ALTER TABLE shards ADD COLUMN owner VARCHAR(64) NOT NULL DEFAULT ''",
             "ALTER TABLE shards ADD COLUMN deleted_at_micros BIGINT",
             "UPDATE shards SET deleted_at_micros = 0 WHERE state = 3",
             "CREATE INDEX shards_by_owner ON shards (owner, id) WHERE state < 3",
             "CREATE INDEX shards_deleted ON shards (deleted_at_micros) WHERE state = 3"}};
}

Migration compaction_intents_step() {
    return {7, "compaction_intents", {R"(CREATE TABLE compaction_intents (
                 compaction_id VARCHAR(64) PRIMARY KEY,
                 stream_id VARCHAR(64) NOT NULL REFERENCES streams(id),
                 lease VARCHAR(255) NOT NULL,
                 epoch BIGINT NOT NULL,
                 object_keys TEXT NOT NULL,
                 state VARCHAR(16) NOT NULL,
                 created_at_micros BIGINT NOT NULL))"}};
}

Migration id_packs_step() {
    return {
        8,
        "id_packs",
        {R"(CREATE TABLE id_packs (
                 id VARCHAR(64) PRIMARY KEY,
                 stream_id VARCHAR(64) NOT NULL REFERENCES streams(id),
                 object_key VARCHAR(1024) NOT NULL UNIQUE,
                 bytes BIGINT NOT NULL,
                 xxh3 BIGINT NOT NULL,
                 time_start_micros BIGINT NOT NULL,
                 time_end_micros BIGINT NOT NULL,
                 created_at_micros BIGINT NOT NULL,
                 removed_at_micros BIGINT,
                 deleted BOOLEAN NOT NULL))",
         "CREATE INDEX id_packs_live ON id_packs (stream_id, time_end_micros) WHERE NOT deleted",
         "CREATE INDEX id_packs_removed ON id_packs (removed_at_micros) WHERE deleted"}};
}

Migration part_dumps_step() {
    return {9,
            "part_dumps",
            {R"(CREATE TABLE parquet_file_meta_dump (
                 id VARCHAR(64) PRIMARY KEY,
                 stream_id VARCHAR(64) NOT NULL REFERENCES streams(id),
                 partition_level VARCHAR(16) NOT NULL,
                 partition_key VARCHAR(32) NOT NULL,
                 object_key VARCHAR(1024) NOT NULL UNIQUE,
                 size_bytes BIGINT NOT NULL,
                 xxh3 BIGINT NOT NULL,
                 rows_in_dump BIGINT NOT NULL,
                 rows_total BIGINT NOT NULL,
                 storage_size_bytes BIGINT NOT NULL,
                 raw_size_bytes BIGINT NOT NULL,
                 min_ts_micros BIGINT NOT NULL,
                 max_ts_micros BIGINT NOT NULL,
                 first_end_micros BIGINT NOT NULL,
                 created_at_micros BIGINT NOT NULL,
                 removed_at_micros BIGINT,
                 deleted BOOLEAN NOT NULL))",
             R"(CREATE UNIQUE INDEX parquet_file_meta_dump_partition
                 ON parquet_file_meta_dump (stream_id, partition_level, partition_key)
                 WHERE NOT deleted)",
             R"(CREATE INDEX parquet_file_meta_dump_live
                 ON parquet_file_meta_dump (stream_id, max_ts_micros, min_ts_micros)
                 WHERE NOT deleted)",
             R"(CREATE INDEX parquet_file_meta_dump_removed
                 ON parquet_file_meta_dump (removed_at_micros) WHERE deleted)"}};
}

const std::vector<Migration>& all_migrations() {
    static const std::vector<Migration> kMigrations{organizations_step(),
                                                    streams_step(),
                                                    shards_step(),
                                                    parts_step(),
                                                    leases_step(),
                                                    shard_owners_step(),
                                                    compaction_intents_step(),
                                                    id_packs_step(),
                                                    part_dumps_step()};
    return kMigrations;
}

}  // namespace

std::span<const Migration> migrations() {
    return all_migrations();
}

std::string render_migration(std::string_view statement, const SqlDialect& dialect) {
    const std::array<std::pair<std::string_view, std::string_view>, 2> types{
        {{"{blob}", dialect.blob_type}, {"{serial}", dialect.serial_type}}};
    std::string rendered(statement);
    for (const auto& [mark, type] : types) {
        for (auto at = rendered.find(mark); at != std::string::npos; at = rendered.find(mark)) {
            rendered.replace(at, mark.size(), type);
        }
    }
    return rendered;
}

}  // namespace molesignal
