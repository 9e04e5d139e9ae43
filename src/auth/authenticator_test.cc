#include "auth/authenticator.h"

#include <atomic>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "auth/token.h"
#include "metadata/open_catalogue.h"

namespace molesignal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string encode_base64(std::string_view text) {
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t i = 0; i < text.size(); i += 3) {
        unsigned bits = 0;
        for (std::size_t j = 0; j < 3; ++j) {
            bits =
                bits << 8U | (i + j < text.size() ? static_cast<unsigned char>(text[i + j]) : 0U);
        }
        for (std::size_t j = 0; j < 4; ++j) {
            out += i + j > text.size() ? '=' : kDigits[bits >> (18 - 6 * j) & 63U];
        }
    }
    return out;
}

/// Time stands still until a test moves it.
class StillClock final : public Clock {
public:
    UnixNanos now() const override { return {1'800'000'000'000'000'000 + passed.load()}; }
    SteadyNanos steady_now() const override { return {1 + passed.load()}; }
    void wait_until(Mutex& mutex, CondVar& condition, SteadyNanos /*deadline*/) override
        MS_REQUIRES(mutex) {
        condition.wait(mutex);
    }
    std::atomic<std::int64_t> passed{0};
};

TEST(Token, HasItsFormAndIsNeverTheSame) {
    SeededRandom random(7);
    std::set<std::string> seen;
    for (int i = 0; i < 100; ++i) {
        const auto token = make_token(random);
        EXPECT_EQ(token.text.size(), kTokenSize);
        EXPECT_EQ(token_prefix(token.text), token.prefix);
        seen.insert(token.text);
    }
    EXPECT_EQ(seen.size(), 100U);
    EXPECT_EQ(sha256_hex("abc"),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_TRUE(equal_in_constant_time("ab", "ab"));
    EXPECT_FALSE(equal_in_constant_time("ab", "ac"));
    EXPECT_FALSE(equal_in_constant_time("ab", "abc"));
}

TEST(Token, IsFoundInBothKindsOfHeader) {
    SeededRandom random(8);
    const auto text = make_token(random).text;
    for (const auto& header : {"Bearer " + text,
                               "bearer  " + text,
                               "BEARER " + text,
                               "Basic " + encode_base64("anyone:" + text),
                               "basic " + encode_base64(":" + text)}) {
        EXPECT_EQ(token_of_header(header), text) << header;
    }
    auto damaged = text;
    damaged[3] = 'A';
    for (const auto& header : {std::string(),
                               std::string("Bearer"),
                               std::string("Bearer "),
                               text,
                               "Bearer" + text,
                               "Token " + text,
                               "Bearer " + text + " ",
                               "Bearer " + text + "x",
                               "Bearer " + text.substr(1),
                               "Bearer " + text + "\r\nX-Org-Id: other",
                               "Bearer " + std::string("\0", 1) + text,
                               "Bearer " + damaged,
                               "Bearer " + text + "," + text,
                               "Basic " + text,
                               "Basic " + encode_base64(text),
                               "Basic " + encode_base64("a:b:" + text),
                               std::string("Basic !!!!"),
                               std::string("Basic A"),
                               "Bearer ms_" + std::string(10'000, 'a')}) {
        EXPECT_FALSE(token_of_header(header).has_value()) << header;
    }
}

TEST(PermissionSet, HoldsWhatItWasGiven) {
    PermissionSet set;
    EXPECT_TRUE(set.has(Permission::kPublic));
    EXPECT_FALSE(set.has(Permission::kAdmin));
    set.add(Permission::kQuery);
    EXPECT_TRUE(set.has(Permission::kQuery));
    EXPECT_FALSE(set.has(Permission::kIngest));
    EXPECT_EQ(parse_permission("ingest"), Permission::kIngest);
    EXPECT_FALSE(parse_permission("public").has_value());
    EXPECT_FALSE(parse_permission("Admin").has_value());
}

class AuthenticatorTest : public ::testing::Test {
protected:
    void SetUp() override {
        SystemRandom unique;
        folder_ = std::filesystem::temp_directory_path() /
                  fmt::format("ms-auth-{:016x}", unique.next_u64());
        std::filesystem::create_directory(folder_);
        auto opened = open_sqlite_catalogue((folder_ / "meta.db").string(), clock_, random_);
        ASSERT_TRUE(opened.has_value());
        catalogue_ = *std::move(opened);
        ASSERT_TRUE(catalogue_->migrate(context()).has_value());
        other_ = catalogue_->ensure_organization(context(), "other")->id;
    }
    void TearDown() override {
        catalogue_.reset();
        std::filesystem::remove_all(folder_);
    }

    RequestContext context() const { return RequestContext::background(clock_, "test"); }
    std::unique_ptr<Authenticator> open(AuthMode mode) {
        return Authenticator::open(context(), *catalogue_, clock_, random_, {.mode = mode}).value();
    }
    static NewToken make(Authenticator& auth,
                         const OrgId& org,
                         std::vector<std::string> permissions = {"ingest"},
                         std::optional<std::int64_t> expires_us = std::nullopt) {
        const auto context = RequestContext{};
        return auth
            .create_token(context,
                          {.org = org,
                           .name = "t",
                           .permissions = std::move(permissions),
                           .expires_us = expires_us})
            .value();
    }
    /// "ok <org slug>" or the error's code.
    std::string ask(Authenticator& auth,
                    const std::optional<std::string>& header,
                    const std::vector<std::string>& organizations = {}) {
        std::optional<std::string_view> view;
        if (header.has_value()) {
            view = *header;
        }
        const auto result = auth.authenticate(context(), view, organizations);
        if (result.has_value()) {
            return "ok " + result->org_slug;
        }
        switch (result.error().code()) {
            case ErrorCode::kUnauthenticated:
                return "unauthenticated";
            case ErrorCode::kForbidden:
                return "forbidden";
            default:
                return result.error().message();
        }
    }

    StillClock clock_;
    SeededRandom random_{42};
    std::filesystem::path folder_;
    std::unique_ptr<Catalogue> catalogue_;
    OrgId other_;
};

/// reliability list: what a sender may put into the header that chooses an organisation.
std::vector<std::string> spoofed_organizations(const OrgId& other) {
    return {"other",
            other.value,
            "Default",
            "DEFAULT",
            "default|other",
            "other|default",
            "default,other",
            "*",
            "",
            " default",
            "default ",
            "../other",
            "default/../other",
            "%64efault",
            "%252e%252e",
            std::string("default\0", 8),
            std::string("default\0other", 13),
            "default\r\nX-Org-Id: other",
            "d\xd0\xb5"
            "fault",  // Cyrillic ie.
            "\xef\xbb\xbf"
            "default",
            "' OR 1=1 --",
            std::string(10'000, 'a')};
}

TEST_F(AuthenticatorTest, ModeNoneIsTheDefaultOrganizationOnly) {
    const auto auth = open(AuthMode::kNone);
    const auto principal = auth->authenticate(context(), std::nullopt, {});
    ASSERT_TRUE(principal.has_value());
    EXPECT_EQ(principal->org, auth->default_organization().id);
    EXPECT_TRUE(principal->token_id.empty());
    EXPECT_TRUE(principal->may(Permission::kAdmin));
    EXPECT_EQ(ask(*auth, std::nullopt, {"default"}), "ok default");
    EXPECT_EQ(ask(*auth, std::nullopt, {"default", principal->org.value}), "ok default");
    EXPECT_EQ(ask(*auth, "Bearer nonsense"), "ok default");
    for (const auto& name : spoofed_organizations(other_)) {
        EXPECT_EQ(ask(*auth, std::nullopt, {name}), "forbidden") << name;
        EXPECT_EQ(ask(*auth, std::nullopt, {"default", name}), "forbidden") << name;
        EXPECT_EQ(ask(*auth, std::nullopt, {name, "default"}), "forbidden") << name;
    }
    EXPECT_FALSE(auth->ensure_bootstrap_token(context())->has_value());
}

TEST_F(AuthenticatorTest, TheOrganizationComesFromTheTokenAlone) {
    const auto auth = open(AuthMode::kToken);
    const auto home = make(*auth, auth->default_organization().id);
    const auto away = make(*auth, other_, {"query", "admin", "query"});
    const auto bearer = "Bearer " + home.text;
    EXPECT_EQ(ask(*auth, bearer), "ok default");
    EXPECT_EQ(ask(*auth, bearer, {"default", "default"}), "ok default");
    EXPECT_EQ(ask(*auth, "Basic " + encode_base64("agent:" + away.text), {"other"}), "ok other");
    for (const auto& name : spoofed_organizations(other_)) {
        EXPECT_EQ(ask(*auth, bearer, {name}), "forbidden") << name;
        EXPECT_EQ(ask(*auth, bearer, {"default", name}), "forbidden") << name;
    }
    EXPECT_EQ(ask(*auth, "Bearer " + away.text, {"default"}), "forbidden");
    const auto principal = auth->authenticate(context(), "Bearer " + away.text, {});
    ASSERT_TRUE(principal.has_value());
    EXPECT_EQ(principal->token_id, away.token.id);
    EXPECT_TRUE(principal->may(Permission::kQuery));
    EXPECT_TRUE(principal->may(Permission::kAdmin));
    EXPECT_FALSE(principal->may(Permission::kIngest));
}

TEST_F(AuthenticatorTest, RefusesWhatIsNotTheToken) {
    const auto auth = open(AuthMode::kToken);
    const auto good = make(*auth, auth->default_organization().id);
    EXPECT_EQ(ask(*auth, std::nullopt), "unauthenticated");
    EXPECT_EQ(ask(*auth, ""), "unauthenticated");
    EXPECT_EQ(ask(*auth, "Bearer " + make_token(random_).text), "unauthenticated");
    // Every single character counts, cached or not.
    for (std::size_t at = 0; at < good.text.size(); ++at) {
        auto wrong = good.text;
        wrong[at] = wrong[at] == 'b' ? 'c' : 'b';
        EXPECT_EQ(ask(*auth, "Bearer " + wrong), "unauthenticated") << at;
    }
    EXPECT_EQ(ask(*auth, "Bearer " + good.text), "ok default");
    const auto refused =
        auth->authenticate(context(), "Bearer " + make_token(random_).text, {"<script>"});
    EXPECT_THAT(refused.error().message(), Not(HasSubstr("<script>")));
}

TEST_F(AuthenticatorTest, MalformedHeadersAskNobody) {
    const auto auth = open(AuthMode::kToken);
    auto cancelled = context();
    cancelled.cancel.cancel();  // Every question to the catalogue would end with kCancelled.
    for (const auto& header : {std::string("Bearer x"), std::string(100'000, 'B')}) {
        const auto result = auth->authenticate(cancelled, header, {});
        ASSERT_FALSE(result.has_value());
        EXPECT_EQ(result.error().code(), ErrorCode::kUnauthenticated);
    }
    const auto asked = auth->authenticate(cancelled, "Bearer " + make_token(random_).text, {});
    ASSERT_FALSE(asked.has_value());
    EXPECT_EQ(asked.error().code(), ErrorCode::kCancelled);
}

TEST_F(AuthenticatorTest, AnUnknownTokenIsLookedUpOnceInFiveSeconds) {
    const auto auth = open(AuthMode::kToken);
    const auto unknown = "Bearer " + make_token(random_).text;
    EXPECT_FALSE(auth->recall(unknown, {}).has_value()) << "nothing is known of it yet";
    EXPECT_EQ(ask(*auth, unknown), "unauthenticated");
    auto cancelled = context();
    cancelled.cancel.cancel();  // Every question to the catalogue would end with kCancelled.
    EXPECT_EQ(auth->authenticate(cancelled, unknown, {}).error().code(),
              ErrorCode::kUnauthenticated);
    EXPECT_EQ(auth->recall(unknown, {})->error().code(), ErrorCode::kUnauthenticated);
    clock_.passed += 5'000'000'000;
    EXPECT_EQ(auth->authenticate(cancelled, unknown, {}).error().code(), ErrorCode::kCancelled);
}

TEST_F(AuthenticatorTest, GuessingIsLimitedAndDoesNotKeepOutWhoIsKnown) {
    const auto auth = open(AuthMode::kToken);
    const auto good = make(*auth, auth->default_organization().id);
    EXPECT_EQ(ask(*auth, "Bearer " + good.text), "ok default");
    const auto guess = [&] { return ask(*auth, "Bearer " + make_token(random_).text); };
    std::string answer;
    int guesses = 0;
    while ((answer = guess()) == "unauthenticated") {
        ASSERT_LT(++guesses, 1000);
    }
    EXPECT_THAT(answer, HasSubstr("auth.unknown_tokens_per_second_max"));
    EXPECT_EQ(ask(*auth, "Bearer " + good.text), "ok default");
    clock_.passed += 5'000'000'000;
    while (guess() == "unauthenticated") {
    }
    EXPECT_EQ(ask(*auth, "Bearer " + good.text), "ok default") << "it must be looked up again";
    clock_.passed += 100'000'000;
    EXPECT_EQ(guess(), "unauthenticated") << "time gives new look-ups";
}

TEST_F(AuthenticatorTest, WhatIsRememberedIsCheckedWithoutTheCatalogue) {
    const auto auth = open(AuthMode::kToken);
    const auto good = make(*auth, auth->default_organization().id);
    const auto bearer = "Bearer " + good.text;
    EXPECT_FALSE(auth->recall(bearer, {}).has_value());
    EXPECT_EQ(ask(*auth, bearer), "ok default");
    ASSERT_TRUE(auth->recall(bearer, {}).has_value());
    EXPECT_EQ((*auth->recall(bearer, {}))->token_id, good.token.id);
    EXPECT_EQ(auth->recall(bearer, {"other"})->error().code(), ErrorCode::kForbidden);
    auto wrong = bearer;
    wrong.back() = wrong.back() == 'b' ? 'c' : 'b';
    EXPECT_EQ(auth->recall(wrong, {})->error().code(), ErrorCode::kUnauthenticated);
    EXPECT_EQ(auth->recall(std::nullopt, {})->error().code(), ErrorCode::kUnauthenticated);
    ASSERT_TRUE(auth->revoke_token(context(), good.token.org, good.token.id).has_value());
    EXPECT_FALSE(auth->recall(bearer, {}).has_value());
    EXPECT_TRUE((*open(AuthMode::kNone)->recall(std::nullopt, {}))->may(Permission::kAdmin));
}

TEST_F(AuthenticatorTest, ARevokedTokenIsRefusedHereAtOnceAndElsewhereInFiveSeconds) {
    const auto here = open(AuthMode::kToken);
    const auto elsewhere = open(AuthMode::kToken);
    const auto token = make(*here, here->default_organization().id);
    const auto bearer = "Bearer " + token.text;
    EXPECT_EQ(ask(*here, bearer), "ok default");
    EXPECT_EQ(ask(*elsewhere, bearer), "ok default");
    EXPECT_FALSE(here->revoke_token(context(), other_, token.token.id).has_value());
    EXPECT_EQ(ask(*here, bearer), "ok default");
    ASSERT_TRUE(here->revoke_token(context(), token.token.org, token.token.id).has_value());
    EXPECT_EQ(ask(*here, bearer), "unauthenticated");
    clock_.passed += 4'999'999'999;
    EXPECT_EQ(ask(*elsewhere, bearer), "ok default");
    clock_.passed += 1;
    EXPECT_EQ(ask(*elsewhere, bearer), "unauthenticated");
    const auto listed = here->list_tokens(context(), token.token.org);
    ASSERT_TRUE(listed.has_value());
    ASSERT_EQ(listed->size(), 1U);
    EXPECT_TRUE((*listed)[0].revoked_us.has_value());
}

TEST_F(AuthenticatorTest, ATokenEndsToTheMicrosecond) {
    const auto auth = open(AuthMode::kToken);
    const auto now_us = clock_.now().value / 1000;
    const auto token = make(*auth, auth->default_organization().id, {"ingest"}, now_us + 1'000'000);
    EXPECT_EQ(ask(*auth, "Bearer " + token.text), "ok default");
    clock_.passed += 999'999'000;
    EXPECT_EQ(ask(*auth, "Bearer " + token.text), "ok default");
    clock_.passed += 1'000;
    EXPECT_EQ(ask(*auth, "Bearer " + token.text), "unauthenticated");
}

TEST_F(AuthenticatorTest, OnlyTheHashIsKept) {
    const auto auth = open(AuthMode::kToken);
    const auto made = make(*auth, auth->default_organization().id);
    const auto found = catalogue_->find_token(context(), made.token.prefix);
    ASSERT_TRUE(found.has_value() && found->has_value());
    EXPECT_EQ((*found)->secret_sha256_hex, sha256_hex(made.text));
    EXPECT_THAT((*found)->secret_sha256_hex, Not(HasSubstr(made.text.substr(12))));
}

TEST_F(AuthenticatorTest, TokensAreCheckedWhenMade) {
    const auto auth = open(AuthMode::kToken);
    const auto& org = auth->default_organization().id;
    const auto code = [&](const TokenRequest& request) {
        const auto made = auth->create_token(context(), request);
        return made.has_value() ? std::optional<ErrorCode>() : made.error().code();
    };
    using Names = std::vector<std::string>;
    const auto request = [&](std::string name, Names permissions) {
        return TokenRequest{.org = org,
                            .name = std::move(name),
                            .permissions = std::move(permissions),
                            .expires_us = std::nullopt};
    };
    EXPECT_EQ(code(request("a", {"ingest"})), std::nullopt);
    EXPECT_EQ(code(request("", {"ingest"})), ErrorCode::kInvalidArgument);
    EXPECT_EQ(code(request("a\nb", {"ingest"})), ErrorCode::kInvalidArgument);
    EXPECT_EQ(code(request(std::string(256, 'a'), {"ingest"})), ErrorCode::kInvalidArgument);
    EXPECT_EQ(code(request("a", {})), ErrorCode::kInvalidArgument);
    EXPECT_EQ(code(request("a", {"ingest", "root"})), ErrorCode::kInvalidArgument);
    EXPECT_EQ(code(request("a", {"ingest,admin"})), ErrorCode::kInvalidArgument);
    auto expired = request("a", {"ingest"});
    expired.expires_us = clock_.now().value / 1000;
    EXPECT_EQ(code(expired), ErrorCode::kInvalidArgument);
    auto stray = request("a", {"ingest"});
    stray.org = OrgId{"nobody"};
    EXPECT_EQ(code(stray), ErrorCode::kNotFound);
}

TEST_F(AuthenticatorTest, TheFirstTokenIsMadeOnce) {
    const auto auth = open(AuthMode::kToken);
    const auto first = auth->ensure_bootstrap_token(context());
    ASSERT_TRUE(first.has_value());
    ASSERT_TRUE(first->has_value());
    const auto principal = auth->authenticate(context(), "Bearer " + **first, {});
    ASSERT_TRUE(principal.has_value());
    EXPECT_EQ(principal->permissions, PermissionSet::all());
    const auto again = auth->ensure_bootstrap_token(context());
    ASSERT_TRUE(again.has_value());
    EXPECT_FALSE(again->has_value());
    // Not even after it was revoked: that would be a way back in for whoever can restart us.
    ASSERT_TRUE(auth->revoke_token(context(), principal->org, principal->token_id).has_value());
    EXPECT_FALSE(auth->ensure_bootstrap_token(context())->has_value());
}

}  // namespace
}  // namespace molesignal
