#include "metadata/sql_catalogue.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "metadata/migrations.h"
#include "metadata/row_codec.h"
#include "metadata/sql_rows.h"

MS_DEFINE_FAILPOINT(migration_step);
MS_DEFINE_FAILPOINT(catalogue_answer_lost);

namespace molesignal {
namespace {

constexpr int kTriesMax = 12;
constexpr std::string_view kTokenColumns =
    "id, org_id, name, prefix, secret_hash, permissions, created_at_micros, expires_at_micros, "
    "revoked_at_micros";

constexpr std::string_view kMigrations =
    "SELECT version, name FROM schema_migrations ORDER BY version";

/// `[A-Za-z0-9_.-]{1,64}`, as stream names.
Result<> check_slug(std::string_view slug) {
    constexpr std::size_t kSlugBytesMax = 64;
    if (slug.size() > kSlugBytesMax || !check_stream_name(slug)) {
        return Error(ErrorCode::kInvalidArgument,
                     "an organisation is named by 1 to 64 of A-Z a-z 0-9 _ . -");
    }
    return {};
}

std::string join_permissions(const std::vector<std::string>& permissions) {
    return fmt::format("{}", fmt::join(permissions, ","));
}

std::vector<std::string> split_permissions(std::string_view text) {
    std::vector<std::string> permissions;
    while (!text.empty()) {
        const auto comma = std::min(text.find(','), text.size());
        permissions.emplace_back(text.substr(0, comma));
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return permissions;
}

ApiToken read_token(SqlRows& rows, std::size_t row) {
    return {.id = rows.take_text(row, 0),
            .org = OrgId{rows.take_text(row, 1)},
            .name = rows.take_text(row, 2),
            .prefix = rows.take_text(row, 3),
            .secret_sha256_hex = rows.take_text(row, 4),
            .permissions = split_permissions(rows.text(row, 5)),
            .created_us = rows.integer(row, 6),
            .expires_us = rows.optional_integer(row, 7),
            .revoked_us = rows.optional_integer(row, 8)};
}

}  // namespace

SqlCatalogue::SqlCatalogue(Database database, Clock& clock, Random& random)
    : database_(std::move(database)), clock_(clock), random_(random) {
    const auto& dialect = database_.dialect;
    lock_organization_sql_ =
        fmt::format("SELECT id FROM organizations WHERE id = $1{}", dialect.for_update);
    lock_stream_sql_ =
        fmt::format("SELECT deleted_at_micros FROM streams WHERE id = $1{}", dialect.for_update);
    lock_shard_sql_ =
        fmt::format("SELECT {} FROM shards WHERE id = $1{}", kShardColumns, dialect.for_update);
    lock_lease_sql_ =
        fmt::format("SELECT holder, epoch FROM leases WHERE name = $1{}", dialect.for_update);
    lock_intent_sql_ =
        fmt::format("SELECT state FROM flush_intents WHERE flush_id = $1{}", dialect.for_update);
    lock_compaction_intent_sql_ = fmt::format(
        "SELECT state FROM compaction_intents WHERE compaction_id = $1{}", dialect.for_update);
    const auto removal = fmt::format(
        "UPDATE parquet_file_meta SET deleted = TRUE, removed_version = $1, removed_at_micros = {}",
        dialect.now_us);
    delete_parts_sql_ = removal + " WHERE stream_id = $2 AND NOT deleted";
    expire_parts_sql_ = removal +
                        " WHERE id IN (SELECT id FROM parquet_file_meta"
                        " WHERE stream_id = $2 AND NOT deleted AND time_end_micros < $3"
                        " ORDER BY time_end_micros LIMIT $4)";
    replace_part_sql_ = removal +
                        " WHERE id = $3 AND stream_id = $2 AND NOT deleted RETURNING rows,"
                        " time_start_micros, time_end_micros, position_begin, position_end,"
                        " shard_id";
    // Deleted long enough ago, without a part or an intent that may still bring one, and with
    // something left to forget: fields, or itself once no shard names it.
    purged_streams_sql_ = fmt::format(
        "SELECT id FROM streams s WHERE deleted_at_micros IS NOT NULL"
        " AND deleted_at_micros <= {} - $1"
        " AND NOT EXISTS (SELECT 1 FROM parquet_file_meta p WHERE p.stream_id = s.id)"
        " AND NOT EXISTS (SELECT 1 FROM id_packs k WHERE k.stream_id = s.id)"
        " AND NOT EXISTS (SELECT 1 FROM parquet_file_meta_dump d WHERE d.stream_id = s.id)"
        " AND NOT EXISTS (SELECT 1 FROM flush_intents i WHERE i.stream_id = s.id)"
        " AND NOT EXISTS (SELECT 1 FROM compaction_intents c WHERE c.stream_id = s.id)"
        " AND (EXISTS (SELECT 1 FROM stream_fields f WHERE f.stream_id = s.id)"
        " OR NOT EXISTS (SELECT 1 FROM shards h WHERE h.stream_id = s.id))"
        " ORDER BY deleted_at_micros LIMIT $2",
        dialect.now_us);
    removed_parts_sql_ = fmt::format(
        "FROM parquet_file_meta WHERE deleted AND removed_at_micros <= {} - $1"
        " ORDER BY removed_at_micros, id LIMIT $2",
        dialect.now_us);
    const auto pack_removal = fmt::format(
        "UPDATE id_packs SET deleted = TRUE, removed_at_micros = {} WHERE stream_id = $1",
        dialect.now_us);
    remove_id_pack_sql_ = pack_removal + " AND id = $2 AND NOT deleted";
    delete_id_packs_sql_ = pack_removal + " AND NOT deleted";
    removed_id_packs_sql_ = fmt::format(
        "SELECT {} FROM id_packs WHERE deleted AND removed_at_micros <= {} - $1"
        " ORDER BY removed_at_micros, id LIMIT $2",
        kIdPackColumns,
        dialect.now_us);
    acquire_lease_sql_ = fmt::format(
        "INSERT INTO leases (name, holder, epoch, expires_at_micros) VALUES ($1, $2, 1, {0} + $3)"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder,"
        " epoch = leases.epoch + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END,"
        " expires_at_micros = {0} + $3"
        " WHERE leases.holder = excluded.holder OR leases.expires_at_micros <= {0}"
        " OR ($5 > 0 AND substr(leases.holder, 1, CAST($5 AS INTEGER)) = $4)"
        " RETURNING epoch, expires_at_micros",
        dialect.now_us);
}

Result<> SqlCatalogue::transact_once(const RequestContext& context,
                                     SqlAccess access,
                                     const Body& body,
                                     bool& again) {
    auto& pool = access == SqlAccess::kRead && database_.readers != nullptr ? *database_.readers
                                                                            : *database_.writers;
    MS_TRY(auto connection, pool.take(context));
    if (auto begun = connection->begin(context, access); !begun) {
        if (!connection->usable() && context.check()) {
            // The server went away while the connection was idle; so did the others.
            pool.close_idle();
            again = true;
        } else {
            again = connection->retryable();
        }
        connection->rollback();
        return begun;
    }
    auto done = body(*connection);
    if (done) {
        done = connection->commit(context);
    }
    if (!done) {
        again = connection->retryable();
        connection->rollback();
    }
    return done;
}

Result<> SqlCatalogue::transact(const RequestContext& context,
                                SqlAccess access,
                                std::string_view doing,
                                const Body& body) {
    for (int tries_left = kTriesMax;; --tries_left) {
        bool again = false;
        auto done = transact_once(context, access, body, again);
        if (done) {
            return access == SqlAccess::kWrite ? catalogue_answer_lost.pass() : Result<>();
        }
        if (!again || tries_left <= 1) {
            return std::move(done).error().wrap(doing);
        }
    }
}

Result<SqlRows> SqlCatalogue::read(const RequestContext& context,
                                   std::string_view doing,
                                   std::string_view sql,
                                   const SqlParameters& parameters) {
    SqlRows rows;
    MS_TRY_VOID(
        transact(context, SqlAccess::kRead, doing, [&](SqlConnection& connection) -> Result<> {
            MS_TRY(rows, connection.query(context, sql, parameters));
            return {};
        }));
    return rows;
}

Result<> SqlCatalogue::ping(const RequestContext& context) {
    MS_TRY_VOID(read(context, "ping the catalogue", "SELECT 1", {}));
    return {};
}

Result<> SqlCatalogue::check_migrations(const SqlRows& applied) {
    const auto steps = migrations();
    for (std::size_t i = 0; i < applied.size(); ++i) {
        if (i >= steps.size() || steps[i].version != applied.integer(i, 0) ||
            steps[i].name != applied.text(i, 1)) {
            return Error(
                ErrorCode::kConflict,
                fmt::format("its migration {} ({}) is unknown to this program, which has {}: "
                            "use the version that made it, or a newer one",
                            applied.integer(i, 0),
                            applied.text(i, 1),
                            steps.size()));
        }
    }
    return {};
}

Result<> SqlCatalogue::check_version(const RequestContext& context) {
    MS_TRY(const auto applied, read(context, "look at the catalogue's version", kMigrations, {}));
    auto known = check_migrations(applied);
    if (known && applied.size() < migrations().size()) {
        known = Error(ErrorCode::kConflict,
                      fmt::format("it has {} migrations, this program {}: start a server of this "
                                  "version first, or use the program of the server's version",
                                  applied.size(),
                                  migrations().size()));
    }
    if (!known) {
        return std::move(known).error().wrap(describe());
    }
    return {};
}

Result<bool> SqlCatalogue::migrate_one(const RequestContext& context) {
    bool more = false;
    const auto apply = [&](SqlConnection& connection) -> Result<> {
        const auto& dialect = database_.dialect;
        for (const auto statement : {dialect.lift_time_limit, dialect.lock_migrations}) {
            if (!statement.empty()) {
                MS_TRY_VOID(connection.query(context, statement, {}));
            }
        }
        MS_TRY_VOID(connection.query(context,
                                     "CREATE TABLE IF NOT EXISTS schema_migrations ("
                                     "version BIGINT PRIMARY KEY, name VARCHAR(255) NOT NULL,"
                                     " applied_at_micros BIGINT NOT NULL)",
                                     {}));
        MS_TRY(const auto applied, connection.query(context, kMigrations, {}));
        MS_TRY_VOID(check_migrations(applied));
        const auto steps = migrations();
        if (applied.size() == steps.size()) {
            more = false;
            return {};
        }
        const auto& step = steps[applied.size()];
        for (const auto statement : step.statements) {
            MS_TRY_VOID(connection.query(context, render_migration(statement, dialect), {}));
        }
        MS_TRY_VOID(connection.query(
            context,
            "INSERT INTO schema_migrations (version, name, applied_at_micros) VALUES ($1, $2, $3)",
            {step.version, step.name, now_us()}));
        MS_PASS_FAILPOINT(migration_step);
        more = applied.size() + 1 < steps.size();
        return {};
    };
    MS_TRY_VOID(transact(
        context, SqlAccess::kWrite, fmt::format("migrate the catalogue {}", describe()), apply));
    return more;
}

Result<> SqlCatalogue::migrate(const RequestContext& context) {
    for (bool more = true; more;) {
        MS_TRY(more, migrate_one(context));
    }
    return {};
}

Result<std::vector<Organization>> SqlCatalogue::list_organizations(const RequestContext& context) {
    MS_TRY(auto rows,
           read(context,
                "list organisations",
                "SELECT id, slug, name FROM organizations ORDER BY slug",
                {}));
    std::vector<Organization> organizations;
    organizations.reserve(rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
        organizations.push_back({.id = OrgId{rows.take_text(row, 0)},
                                 .slug = rows.take_text(row, 1),
                                 .name = rows.take_text(row, 2)});
    }
    return organizations;
}

Result<Organization> SqlCatalogue::ensure_organization(const RequestContext& context,
                                                       std::string_view slug) {
    MS_TRY_VOID(check_slug(slug));
    constexpr std::string_view kFind = "SELECT id, slug, name FROM organizations WHERE slug = $1";
    MS_TRY(auto rows, read(context, "find an organisation", kFind, {slug}));
    if (rows.empty()) {
        const auto id = make_ulid(clock_.now(), random_);
        const auto insert = [&](SqlConnection& connection) -> Result<> {
            MS_TRY_VOID(connection.query(context,
                                         "INSERT INTO organizations (id, slug, name,"
                                         " created_at_micros) VALUES ($1, $2, $2, $3)"
                                         " ON CONFLICT DO NOTHING",
                                         {id, slug, now_us()}));
            MS_TRY(rows, connection.query(context, kFind, {slug}));
            return {};
        };
        MS_TRY_VOID(transact(context, SqlAccess::kWrite, "make an organisation", insert));
    }
    if (rows.empty()) {
        return Error(ErrorCode::kInternal, "the organisation vanished while it was made");
    }
    return Organization{.id = OrgId{rows.take_text(0, 0)},
                        .slug = rows.take_text(0, 1),
                        .name = rows.take_text(0, 2)};
}

Result<> SqlCatalogue::add_token(const RequestContext& context, const ApiToken& token) {
    const auto permissions = join_permissions(token.permissions);
    return transact(
        context, SqlAccess::kWrite, "add a token", [&](SqlConnection& connection) -> Result<> {
            MS_TRY(const auto org,
                   connection.query(
                       context, "SELECT id FROM organizations WHERE id = $1", {token.org.value}));
            if (org.empty()) {
                return Error(ErrorCode::kNotFound, "the organisation does not exist");
            }
            MS_TRY(const auto added,
                   connection.query(
                       context,
                       fmt::format("INSERT INTO api_tokens ({}) VALUES ($1, $2, $3, $4, $5, $6,"
                                   " $7, $8, $9) ON CONFLICT DO NOTHING",
                                   kTokenColumns),
                       {token.id,
                        token.org.value,
                        token.name,
                        token.prefix,
                        token.secret_sha256_hex,
                        permissions,
                        token.created_us,
                        token.expires_us,
                        token.revoked_us}));
            if (added.changed() != 1) {
                return Error(ErrorCode::kConflict, "a token with this id or prefix exists");
            }
            return {};
        });
}

Result<std::vector<ApiToken>> SqlCatalogue::list_tokens(const RequestContext& context,
                                                        const OrgId& org) {
    MS_TRY(
        auto rows,
        read(context,
             "list tokens",
             fmt::format("SELECT {} FROM api_tokens WHERE org_id = $1 ORDER BY id", kTokenColumns),
             {org.value}));
    std::vector<ApiToken> tokens;
    tokens.reserve(rows.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
        tokens.push_back(read_token(rows, row));
    }
    return tokens;
}

Result<std::optional<ApiToken>> SqlCatalogue::find_token(const RequestContext& context,
                                                         std::string_view prefix) {
    MS_TRY(auto rows,
           read(context,
                "find a token",
                fmt::format("SELECT {} FROM api_tokens WHERE prefix = $1", kTokenColumns),
                {prefix}));
    std::optional<ApiToken> token;
    if (!rows.empty()) {
        token = read_token(rows, 0);
    }
    return token;
}

Result<> SqlCatalogue::revoke_token(const RequestContext& context,
                                    const OrgId& org,
                                    std::string_view id) {
    return transact(
        context, SqlAccess::kWrite, "revoke a token", [&](SqlConnection& connection) -> Result<> {
            MS_TRY(
                const auto revoked,
                connection.query(context,
                                 "UPDATE api_tokens SET revoked_at_micros ="
                                 " COALESCE(revoked_at_micros, $3) WHERE id = $1 AND org_id = $2",
                                 {id, org.value, now_us()}));
            if (revoked.changed() == 0) {
                return Error(ErrorCode::kNotFound, "the token does not exist");
            }
            return {};
        });
}

Result<Lease> SqlCatalogue::acquire_lease(const RequestContext& context,
                                          std::string_view name,
                                          std::string_view holder,
                                          std::int64_t ttl_us,
                                          std::string_view replaces) {
    if (holder.empty() || name.empty()) {
        return Error(ErrorCode::kInvalidArgument, "a lease needs a name and a holder");
    }
    Lease lease{.name = std::string(name), .holder = std::string(holder), .epoch = {}};
    const auto take = [&](SqlConnection& connection) -> Result<> {
        MS_TRY(const auto rows,
               connection.query(
                   context, acquire_lease_sql_, {name, holder, ttl_us, replaces, replaces.size()}));
        if (rows.empty()) {
            return Error(ErrorCode::kConflict, fmt::format("somebody else holds '{}'", name));
        }
        lease.epoch = Epoch{static_cast<std::uint64_t>(rows.integer(0, 0))};
        lease.expires_us = rows.integer(0, 1);
        return {};
    };
    MS_TRY_VOID(transact(context, SqlAccess::kWrite, "acquire a lease", take));
    return lease;
}

Result<> SqlCatalogue::release_lease(const RequestContext& context, const Lease& lease) {
    return transact(
        context, SqlAccess::kWrite, "release a lease", [&](SqlConnection& connection) -> Result<> {
            // The row stays, for its epoch.
            MS_TRY(const auto released,
                   connection.query(context,
                                    "UPDATE leases SET holder = '', expires_at_micros = 0"
                                    " WHERE name = $1 AND holder = $2 AND epoch = $3",
                                    {lease.name, lease.holder, lease.epoch.value}));
            if (released.changed() == 0) {
                return Error(ErrorCode::kConflict,
                             fmt::format("'{}' is not held by {} with epoch {} any more",
                                         lease.name,
                                         lease.holder,
                                         lease.epoch.value));
            }
            return {};
        });
}

}  // namespace molesignal
