// Conformance: what every catalogue does, on SQLite and on Postgres.
#include <map>

#include "metadata/catalogue_fixture.h"

namespace molesignal {
namespace {

MS_CATALOGUE_SUITE(CatalogueTest);

TEST_P(CatalogueTest, PingsAndSaysWhatItIs) {
    EXPECT_OK(catalogue_->ping(context()));
    EXPECT_TRUE(catalogue_->describe().starts_with(GetParam())) << catalogue_->describe();
}

TEST_P(CatalogueTest, MakesAnOrganizationOnce) {
    const auto first = catalogue_->ensure_organization(context(), "acme");
    const auto second = catalogue_->ensure_organization(context(), "acme");
    ASSERT_OK(first);
    ASSERT_OK(second);
    EXPECT_EQ(first->id, second->id);
    EXPECT_EQ(first->id.value.size(), 26U);
    ASSERT_OK(catalogue_->ensure_organization(context(), "default"));
    const auto all = catalogue_->list_organizations(context());
    ASSERT_OK(all);
    ASSERT_EQ(all->size(), 2U);
    EXPECT_EQ((*all)[0].slug, "acme");
    for (const std::string& bad : {std::string(),
                                   std::string("a|b"),
                                   std::string("../x"),
                                   std::string("a\0b", 3),
                                   std::string(65, 'a')}) {
        EXPECT_CODE(catalogue_->ensure_organization(context(), bad), ErrorCode::kInvalidArgument);
    }
}

TEST_P(CatalogueTest, StreamsBelongToOneOrganization) {
    const auto mine = make_stream("app.log");
    EXPECT_EQ(mine.version, 0);
    EXPECT_GT(mine.created_us, 0);
    const auto other = catalogue_->ensure_organization(context(), "other");
    ASSERT_OK(other);
    const auto hidden = catalogue_->get_stream(context(), other->id, mine.id);
    ASSERT_OK(hidden);
    EXPECT_FALSE(hidden->has_value());
    const auto visible = catalogue_->get_stream(context(), mine.org, mine.id);
    ASSERT_OK(visible);
    ASSERT_TRUE(visible->has_value());
    EXPECT_EQ((*visible)->name, "app.log");
    const auto of_other_type =
        catalogue_->find_stream(context(), mine.org, StreamType::kTraces, "app.log");
    ASSERT_OK(of_other_type);
    EXPECT_FALSE(of_other_type->has_value());
    const auto same =
        catalogue_->ensure_stream(context(), other->id, StreamType::kLogs, "app.log", 10);
    ASSERT_OK(same);
    EXPECT_NE(same->id, mine.id);
    EXPECT_CODE(catalogue_->delete_stream(context(), other->id, mine.id), ErrorCode::kNotFound);
    EXPECT_CODE(catalogue_->update_stream_settings(context(), other->id, mine.id, {}, {}),
                ErrorCode::kNotFound);
    EXPECT_CODE(catalogue_->ensure_stream(context(), OrgId{"nobody"}, StreamType::kLogs, "x", 10),
                ErrorCode::kNotFound);
    EXPECT_CODE(catalogue_->ensure_stream(context(), mine.org, StreamType::kLogs, "a/b", 10),
                ErrorCode::kInvalidArgument);
}

TEST_P(CatalogueTest, TheLimitOfStreamsNamesItself) {
    const auto first = make_stream("one");
    ASSERT_OK(catalogue_->ensure_stream(context(), first.org, StreamType::kLogs, "two", 2));
    const auto third =
        catalogue_->ensure_stream(context(), first.org, StreamType::kLogs, "three", 2);
    EXPECT_CODE(third, ErrorCode::kLimitReached);
    EXPECT_THAT(third.error().message(), ::testing::HasSubstr("the limit is 2"));
    // Existing ones still open; a deleted one makes room.
    ASSERT_OK(catalogue_->ensure_stream(context(), first.org, StreamType::kLogs, "two", 2));
    ASSERT_OK(catalogue_->delete_stream(context(), first.org, first.id));
    ASSERT_OK(catalogue_->ensure_stream(context(), first.org, StreamType::kLogs, "three", 2));
}

TEST_P(CatalogueTest, SettingsComeBackAsGiven) {
    const auto stream = make_stream();
    const StreamSettings settings{
        .retention_days = 14,
        .full_text_fields = {"body", "a \"quoted\"\n\\ Ünïcode", std::string("nul\0here", 8)},
        .pinned_types = {{"zeta", FieldType::kString}, {"alpha", FieldType::kInt64}}};
    ASSERT_OK(catalogue_->update_stream_settings(context(), stream.org, stream.id, {}, settings));
    const auto found =
        catalogue_->find_stream(context(), stream.org, StreamType::kLogs, stream.name);
    ASSERT_OK(found);
    ASSERT_TRUE(found->has_value());
    EXPECT_EQ((*found)->settings.retention_days, 14);
    EXPECT_EQ((*found)->settings.full_text_fields, settings.full_text_fields);
    EXPECT_EQ((*found)->settings.pinned_types, settings.pinned_types);
    EXPECT_CODE(catalogue_->update_stream_settings(
                    context(),
                    stream.org,
                    stream.id,
                    settings,
                    {.retention_days = {}, .full_text_fields = {"\xff"}, .pinned_types = {}}),
                ErrorCode::kInvalidArgument);
}

TEST_P(CatalogueTest, SettingsAreReplacedOnlyByWhoHasReadThem) {
    const auto stream = make_stream();
    StreamSettings first;
    first.retention_days = 7;
    StreamSettings second;
    second.full_text_fields = {"body"};
    ASSERT_OK(catalogue_->update_stream_settings(
        context(), stream.org, stream.id, stream.settings, first));
    EXPECT_CODE(catalogue_->update_stream_settings(
                    context(), stream.org, stream.id, stream.settings, second),
                ErrorCode::kConflict);
    const auto found = catalogue_->get_stream(context(), stream.org, stream.id);
    ASSERT_OK(found);
    EXPECT_EQ((*found)->settings, first);
    ASSERT_OK(catalogue_->update_stream_settings(
        context(), stream.org, stream.id, (*found)->settings, second));
}

TEST_P(CatalogueTest, ADeletedStreamIsForgottenOnceItsPartsAndShardsAre) {
    const auto stream = make_stream();
    const auto kept =
        catalogue_->ensure_stream(context(), stream.org, StreamType::kLogs, "kept", 10);
    ASSERT_OK(kept);
    const std::vector<NewField> fields = {{.name = "n", .type = FieldType::kInt64}};
    ASSERT_OK(catalogue_->ensure_fields(context(), stream.id, fields));
    ASSERT_OK(catalogue_->ensure_fields(context(), kept->id, fields));
    const auto shard = catalogue_->create_shard(context(), stream.id, "log");
    ASSERT_OK(shard);
    ASSERT_OK(flush(*shard, 0, 10));
    const auto purged = [this](std::int64_t grace_us) {
        const auto done = catalogue_->purge_streams(context(), grace_us, 10);
        EXPECT_OK(done);
        return done ? *done : -1;
    };
    const auto rows = [this](const std::string& sql) { return database_->number(sql); };
    EXPECT_EQ(purged(0), 0) << "nothing is deleted";
    ASSERT_OK(catalogue_->delete_stream(context(), stream.org, stream.id));
    EXPECT_EQ(purged(0), 0) << "its part is not gone";
    const auto removed = catalogue_->list_removed_parts(context(), 0, 10);
    ASSERT_OK(removed);
    ASSERT_EQ(removed->size(), 1U);
    ASSERT_OK(catalogue_->purge_part(context(), removed->front().id));
    EXPECT_EQ(purged(3'600'000'000), 0) << "not old enough";
    EXPECT_EQ(purged(0), 1);
    EXPECT_EQ(rows("SELECT COUNT(*) FROM stream_fields"), 1) << "those of the other stream";
    EXPECT_EQ(rows("SELECT COUNT(*) FROM streams"), 2) << "a shard still names it";
    EXPECT_EQ(purged(0), 0) << "nothing to do until the shard is gone";
    ASSERT_OK(catalogue_->purge_shards(context(), 0));
    EXPECT_EQ(purged(0), 1);
    EXPECT_EQ(rows("SELECT COUNT(*) FROM streams"), 1);
}

TEST_P(CatalogueTest, ADeletedStreamTakesItsPartsAndFreesItsName) {
    const auto stream = make_stream();
    const auto shard = catalogue_->create_shard(context(), stream.id, "log");
    ASSERT_OK(shard);
    ASSERT_OK(flush(*shard, 0, 10));
    const auto pending = make_commit(*shard, 10, 20);
    ASSERT_OK(catalogue_->add_flush_intent(context(), intent_for(pending, stream.id)));
    ASSERT_OK(catalogue_->delete_stream(context(), stream.org, stream.id));

    std::int64_t total = 0;
    EXPECT_CODE(catalogue_->snapshot(context(), stream.id, 0, 1, total), ErrorCode::kNotFound);
    EXPECT_CODE(catalogue_->commit_flush(context(), pending), ErrorCode::kNotFound);
    EXPECT_CODE(catalogue_->ensure_fields(context(), stream.id, {}), ErrorCode::kNotFound);
    EXPECT_CODE(catalogue_->create_shard(context(), stream.id, "log"), ErrorCode::kNotFound);
    EXPECT_CODE(catalogue_->delete_stream(context(), stream.org, stream.id), ErrorCode::kNotFound);
    const auto dead = catalogue_->get_shard(context(), shard->id);
    ASSERT_OK(dead);
    ASSERT_TRUE(dead->has_value());
    EXPECT_EQ((*dead)->state, ShardState::kDeleted);
    const auto removed = catalogue_->list_removed_parts(context(), 0, 10);
    ASSERT_OK(removed);
    ASSERT_EQ(removed->size(), 1U);
    EXPECT_EQ((*removed)[0].objects.size(), 1U);
    const auto again = make_stream();
    EXPECT_NE(again.id, stream.id);
    EXPECT_TRUE(snapshot(again.id).parts.empty());
}

TEST_P(CatalogueTest, FieldIdsAreGivenOnceAndKept) {
    const auto stream = make_stream();
    const std::string odd("nul\0 and \xc3\xbc", 11);
    const auto first = catalogue_->ensure_fields(
        context(),
        stream.id,
        {{.name = "level", .type = FieldType::kString},
         {.name = "n", .type = FieldType::kInt64},
         {.name = odd, .type = FieldType::kString},
         {.name = "n", .type = FieldType::kInt64, .inexact_as_float = true}});
    ASSERT_OK(first);
    ASSERT_EQ(first->variants.size(), 3U);
    EXPECT_EQ(first->variants[0].id, FieldId{1});
    EXPECT_EQ(first->variants[2].name, odd);
    EXPECT_TRUE(first->find("n", FieldType::kInt64)->inexact_as_float);
    // Never back to exact; another type is another id; asking again changes nothing.
    for (int round = 0; round < 2; ++round) {
        const auto more = catalogue_->ensure_fields(
            context(),
            stream.id,
            {{.name = "n", .type = FieldType::kInt64}, {.name = "n", .type = FieldType::kString}});
        ASSERT_OK(more);
        ASSERT_EQ(more->variants.size(), 4U);
        EXPECT_EQ(more->variants[3].id, FieldId{4});
        EXPECT_TRUE(more->find("n", FieldType::kInt64)->inexact_as_float);
        EXPECT_EQ(more->variants, snapshot(stream.id).schema.variants);
    }
    const auto flagged = catalogue_->ensure_fields(
        context(),
        stream.id,
        {{.name = "level", .type = FieldType::kString, .inexact_as_float = true}});
    ASSERT_OK(flagged);
    EXPECT_TRUE(flagged->find("level", FieldType::kString)->inexact_as_float);
}

TEST_P(CatalogueTest, ShardsAreNumberedForLifeAndOnlyGoForward) {
    const auto stream = make_stream();
    const auto first = catalogue_->create_shard(context(), stream.id, "log");
    const auto second = catalogue_->create_shard(context(), stream.id, "log");
    ASSERT_OK(first);
    ASSERT_OK(second);
    EXPECT_LT(first->id, second->id);
    EXPECT_EQ(first->epoch, Epoch{1});
    EXPECT_EQ(first->checkpoint, Position{0});
    const auto set = [&](Epoch epoch, ShardState state) {
        return catalogue_->set_shard_state(context(), first->id, epoch, state);
    };
    ASSERT_OK(set(Epoch{1}, ShardState::kClosed));
    ASSERT_OK(set(Epoch{1}, ShardState::kClosed));
    EXPECT_CODE(set(Epoch{1}, ShardState::kOpen), ErrorCode::kConflict);
    EXPECT_CODE(set(Epoch{2}, ShardState::kDeleted), ErrorCode::kConflict);
    EXPECT_EQ(snapshot(stream.id).shards.size(), 2U);
    ASSERT_OK(set(Epoch{1}, ShardState::kDeleted));
    const auto live = catalogue_->list_live_shards(context());
    ASSERT_OK(live);
    ASSERT_EQ(live->size(), 1U);
    EXPECT_EQ((*live)[0].id, second->id);
    EXPECT_EQ(snapshot(stream.id).shards.size(), 1U);
    EXPECT_CODE(catalogue_->set_shard_state(context(), ShardId{999}, Epoch{1}, ShardState::kClosed),
                ErrorCode::kNotFound);
    const auto missing = catalogue_->get_shard(context(), ShardId{999});
    ASSERT_OK(missing);
    EXPECT_FALSE(missing->has_value());
}

TEST_P(CatalogueTest, TokensAreFoundByPrefixAndRevokedForEver) {
    const auto org = catalogue_->ensure_organization(context(), "default");
    ASSERT_OK(org);
    const ApiToken token{.id = "t1",
                         .org = org->id,
                         .name = "agent",
                         .prefix = "abcd",
                         .secret_sha256_hex = std::string(64, 'a'),
                         .permissions = {"ingest", "query"},
                         .created_us = 5,
                         .expires_us = 17,
                         .revoked_us = std::nullopt};
    ASSERT_OK(catalogue_->add_token(context(), token));
    auto twin = token;
    twin.id = "t2";
    EXPECT_CODE(catalogue_->add_token(context(), twin), ErrorCode::kConflict);
    auto stray = token;
    stray.org = OrgId{"nobody"};
    EXPECT_CODE(catalogue_->add_token(context(), stray), ErrorCode::kNotFound);
    const auto found = catalogue_->find_token(context(), "abcd");
    ASSERT_OK(found);
    ASSERT_TRUE(found->has_value());
    EXPECT_EQ((*found)->permissions, token.permissions);
    EXPECT_EQ((*found)->expires_us, 17);
    EXPECT_FALSE((*found)->revoked_us.has_value());
    const auto missing = catalogue_->find_token(context(), "zzzz");
    ASSERT_OK(missing);
    EXPECT_FALSE(missing->has_value());

    EXPECT_CODE(catalogue_->revoke_token(context(), OrgId{"nobody"}, "t1"), ErrorCode::kNotFound);
    ASSERT_OK(catalogue_->revoke_token(context(), org->id, "t1"));
    const auto once = catalogue_->list_tokens(context(), org->id);
    clock_.offset += 1'000'000'000;
    ASSERT_OK(catalogue_->revoke_token(context(), org->id, "t1"));
    const auto twice = catalogue_->list_tokens(context(), org->id);
    ASSERT_OK(once);
    ASSERT_OK(twice);
    ASSERT_EQ(twice->size(), 1U);
    ASSERT_TRUE((*once)[0].revoked_us.has_value());
    EXPECT_EQ((*once)[0].revoked_us, (*twice)[0].revoked_us);
}

TEST_P(CatalogueTest, ALeaseHasOneHolderAndItsEpochGrows) {
    const auto take = [&](std::string_view holder, std::int64_t ttl_us) {
        return catalogue_->acquire_lease(context(), "job", holder, ttl_us, "");
    };
    const auto first = take("a", 60'000'000);
    ASSERT_OK(first);
    EXPECT_EQ(first->epoch, Epoch{1});
    EXPECT_CODE(take("b", 60'000'000), ErrorCode::kConflict);
    // Renewed to end in the past by the database's clock: somebody else may have it now.
    const auto renewed = take("a", -1);
    ASSERT_OK(renewed);
    EXPECT_EQ(renewed->epoch, Epoch{1});
    const auto second = take("b", 60'000'000);
    ASSERT_OK(second);
    EXPECT_EQ(second->epoch, Epoch{2});
    EXPECT_CODE(take("a", 60'000'000), ErrorCode::kConflict);
    EXPECT_CODE(catalogue_->release_lease(context(), *renewed), ErrorCode::kConflict);
    ASSERT_OK(catalogue_->release_lease(context(), *second));
    const auto third = take("b", 60'000'000);
    ASSERT_OK(third);
    EXPECT_EQ(third->epoch, Epoch{3});
    EXPECT_CODE(take("", 1), ErrorCode::kInvalidArgument);
}

TEST_P(CatalogueTest, ALeaseCanBeTakenFromAHolderOfTheSameName) {
    const auto take = [&](std::string_view holder, std::string_view replaces) {
        return catalogue_->acquire_lease(context(), "job", holder, 60'000'000, replaces);
    };
    ASSERT_OK(take("node_1/first", "node_1/"));
    EXPECT_CODE(take("node_2/first", "node_2/"), ErrorCode::kConflict);
    EXPECT_CODE(take("node_1/second", ""), ErrorCode::kConflict);
    EXPECT_CODE(take("node_1/second", "node%/"), ErrorCode::kConflict);
    const auto second = take("node_1/second", "node_1/");
    ASSERT_OK(second);
    EXPECT_EQ(second->epoch, Epoch{2});
    EXPECT_CODE(take("node_1/first", ""), ErrorCode::kConflict);
}

TEST_P(CatalogueTest, StopsWhenTheCallerIsGone) {
    auto cancelled = context();
    cancelled.cancel.cancel();
    EXPECT_CODE(catalogue_->ping(cancelled), ErrorCode::kCancelled);
    auto late = context();
    late.deadline = clock_.steady_now();
    EXPECT_CODE(catalogue_->ping(late), ErrorCode::kTimeout);
    EXPECT_OK(catalogue_->ping(context()));
}

TEST_P(CatalogueTest, ACatalogueOpenedAgainHasEverything) {
    const auto stream = make_stream();
    const auto shard = catalogue_->create_shard(context(), stream.id, "log");
    ASSERT_OK(shard);
    ASSERT_OK(flush(*shard, 0, 10));
    catalogue_.reset();
    catalogue_ = connect();
    ASSERT_OK(catalogue_->migrate(context()));
    const auto seen = snapshot(stream.id);
    EXPECT_EQ(seen.parts.size(), 1U);
    ASSERT_EQ(seen.shards.size(), 1U);
    EXPECT_EQ(seen.shards[0].checkpoint, Position{10});
}

}  // namespace
}  // namespace molesignal
