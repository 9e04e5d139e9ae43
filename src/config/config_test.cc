#include "config/config.h"

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/live_config.h"
#include "config/load_config.h"
#include "config/setting.h"

namespace molesignal {
namespace {

using testing::HasSubstr;
using testing::Not;

ConfigSources file(std::string text) {
    ConfigSources sources;
    sources.file_name = "m.toml";
    sources.file_text = std::move(text);
    return sources;
}

std::string failure(const ConfigSources& sources) {
    const auto loaded = load_config(sources);
    EXPECT_FALSE(loaded.has_value());
    if (loaded.has_value()) {
        return {};
    }
    EXPECT_EQ(loaded.error().code(), ErrorCode::kInvalidArgument);
    return loaded.error().message();
}

TEST(Config, DefaultsAreValid) {
    const auto loaded = load_config({});
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
    EXPECT_EQ(loaded->config.http.listen, "127.0.0.1:5080");
    EXPECT_EQ(loaded->config.http.body_bytes_max, 32 << 20);
    EXPECT_EQ(loaded->config.ingester.flush_interval_secs, std::nullopt);
}

TEST(Config, TableIsConsistent) {
    std::set<std::string> names;
    std::set<std::string_view> sections;
    std::string_view section;
    Config defaults;
    for (const auto& setting : setting_table()) {
        EXPECT_TRUE(names.insert(environment_name(setting.key)).second) << setting.key;
        if (setting.section() != section) {
            section = setting.section();
            EXPECT_TRUE(sections.insert(section).second) << section << " is in two places";
        }
        EXPECT_TRUE(setting.meaning.ends_with('.')) << setting.key;
        const auto ref = setting.ref(defaults);
        EXPECT_EQ(std::holds_alternative<std::optional<std::int64_t>*>(ref),
                  !setting.when_unset.empty())
            << setting.key;
        EXPECT_EQ(std::holds_alternative<ChoiceRef>(ref), !setting.choices.empty()) << setting.key;
        const bool is_number = std::holds_alternative<std::int64_t*>(ref) ||
                               std::holds_alternative<std::optional<std::int64_t>*>(ref) ||
                               std::holds_alternative<double*>(ref);
        EXPECT_EQ(is_number, setting.minimum < setting.maximum) << setting.key;
    }
}

TEST(Config, EveryDefaultIsAllowed) {
    for (const auto& setting : setting_table()) {
        Config config;
        auto text = print_setting(setting, config);
        if (text.starts_with('"')) {
            text = text.substr(1, text.size() - 2);
        }
        if (text.empty() && !setting.when_unset.empty()) {
            text = "unset";
        }
        const auto done = assign_setting(setting, config, text);
        EXPECT_TRUE(done.has_value()) << done.error().message();
    }
}

TEST(Config, NumbersKeepToTheirRange) {
    for (const auto& setting : setting_table()) {
        if (setting.minimum >= setting.maximum) {
            continue;
        }
        for (const auto* wrong : {"-1", "1e99", "99999999999999999999", "", "12x", "nan", " 5"}) {
            Config config;
            const auto before = print_setting(setting, config);
            const auto done = assign_setting(setting, config, wrong);
            ASSERT_FALSE(done.has_value()) << setting.key << " took '" << wrong << "'";
            EXPECT_THAT(done.error().message(), HasSubstr(std::string(setting.key)));
            EXPECT_THAT(done.error().message(), HasSubstr(setting.allowed_text()));
            EXPECT_EQ(print_setting(setting, config), before);
        }
    }
}

TEST(Config, PrecedenceIsFlagEnvFileDefault) {
    auto sources = file("[http]\nlisten = \"127.0.0.1:1\"\nio_threads = 3\nurl_bytes_max = 1024\n");
    sources.env = {{"MS_HTTP_LISTEN", "127.0.0.1:2"},
                   {"MS_HTTP.IO_THREADS", "4"},
                   {"HTTP_LISTEN", "x"},
                   {"MS_TOKEN", "reserved"},
                   {"MS_TEST_SEED", "1"}};
    sources.flags = {{"http.listen", "127.0.0.1:3"}};
    const auto loaded = load_config(sources);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
    EXPECT_EQ(loaded->config.http.listen, "127.0.0.1:3");
    EXPECT_EQ(loaded->config.http.io_threads, 4);
    EXPECT_EQ(loaded->config.http.url_bytes_max, 1024);
    EXPECT_EQ(loaded->origins.at("http.listen"), SettingOrigin::kFlag);
    EXPECT_EQ(loaded->places.at("http.io_threads"), "MS_HTTP.IO_THREADS");
    EXPECT_EQ(loaded->places.at("http.url_bytes_max"), "m.toml:4");
    EXPECT_FALSE(loaded->origins.contains("wal.dir"));
}

TEST(Config, UnknownNamesAreErrorsWithLineAndSuggestion) {
    const auto message =
        failure(file("[http]\nlisten = \"127.0.0.1:1\"\nbody_byte_max = 5\n[wall]\ndir = \"x\"\n"
                     "[store.objekt]\nroot = \"x\"\n"));
    EXPECT_THAT(message,
                HasSubstr("m.toml:3: unknown setting 'http.body_byte_max'; did you mean "
                          "'http.body_bytes_max'?"));
    EXPECT_THAT(message, HasSubstr("m.toml:4: unknown section 'wall'; did you mean 'wal'?"));
    EXPECT_THAT(message, HasSubstr("unknown section 'store.objekt'; did you mean 'store.object'?"));

    ConfigSources sources;
    sources.env = {{"MS_HTTP_LISTNE", "x"}};
    sources.flags = {{"wal.dirr", "x"}};
    const auto others = failure(sources);
    EXPECT_THAT(others,
                HasSubstr("MS_HTTP_LISTNE: unknown setting in the environment; did you "
                          "mean 'MS_HTTP_LISTEN'?"));
    EXPECT_THAT(others, HasSubstr("flag: unknown setting 'wal.dirr'; did you mean 'wal.dir'?"));
}

TEST(Config, TypesInTheFileAreStrict) {
    EXPECT_THAT(failure(file("[http]\nio_threads = \"2\"\n")),
                HasSubstr("m.toml:2: http.io_threads"));
    EXPECT_THAT(failure(file("[http]\nio_threads = 2.5\n")), HasSubstr("wrong type"));
    EXPECT_THAT(failure(file("[http]\nlisten = 5080\n")), HasSubstr("must be an IP address"));
    EXPECT_THAT(failure(file("[store.object]\npath_style = 1\n")), HasSubstr("true or false"));
    EXPECT_THAT(failure(file("http = 1\n")), HasSubstr("'http' is a section"));
    EXPECT_THAT(failure(file("[http.listen]\na = 1\n")), HasSubstr("wrong type"));
    EXPECT_THAT(failure(file("[http\n")), HasSubstr("m.toml:1: "));
    EXPECT_THAT(failure(file("[http]\nio_threads = 1\nio_threads = 2\n")), HasSubstr("m.toml:3"));
}

TEST(Config, ValuesWithUnitsAndUnset) {
    auto sources = file(
        "[http]\nbody_bytes_max = \"16MiB\"\n[ingester]\nflush_interval_secs = 60\n"
        "[store.object.retry]\njitter_ratio = 1\n");
    auto loaded = load_config(sources);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
    EXPECT_EQ(loaded->config.http.body_bytes_max, 16 << 20);
    EXPECT_EQ(loaded->config.ingester.flush_interval_secs, 60);
    EXPECT_EQ(loaded->config.store.object.retry.jitter_ratio, 1.0);
    sources.flags = {{"ingester.flush_interval_secs", "unset"}};
    loaded = load_config(sources);
    ASSERT_TRUE(loaded.has_value());
    EXPECT_EQ(loaded->config.ingester.flush_interval_secs, std::nullopt);
    EXPECT_THAT(failure(file("[wal]\ntotal_mb = \"1GiB\"\n")), HasSubstr("wal.total_mb"));
    EXPECT_THAT(failure(file("[http]\nbody_bytes_max = \"9223372036854775807GiB\"\n")),
                HasSubstr("http.body_bytes_max"));
}

TEST(Config, EveryProblemIsReported) {
    const auto message =
        failure(file("[http]\nio_threads = 0\nlistem = 1\n[wal]\nsync_level = \"x\"\n"));
    EXPECT_THAT(message, HasSubstr("http.io_threads = '0': must be 1 to 256 threads"));
    EXPECT_THAT(message, HasSubstr("http.listem"));
    EXPECT_THAT(message, HasSubstr("wal.sync_level = 'x': must be one of data, none"));
}

TEST(Config, ConflictingVariables) {
    ConfigSources sources;
    sources.env = {{"MS_WAL_DIR", "a"}, {"MS_WAL.DIR", "b"}};
    EXPECT_THAT(failure(sources), HasSubstr("to different values"));
    sources.env = {{"MS_WAL_DIR", "a"}, {"MS_WAL.DIR", "a"}};
    EXPECT_TRUE(load_config(sources).has_value());
}

TEST(Config, WithoutAuthOnlyLoopback) {
    for (const auto* key : {"http.listen", "grpc.listen", "otlp.grpc_listen", "otlp.http_listen"}) {
        for (const auto* address : {"0.0.0.0:5080", "[::]:5080", "10.1.2.3:80"}) {
            ConfigSources sources;
            sources.flags = {{key, address}};
            EXPECT_THAT(failure(sources), HasSubstr("auth.mode = \"token\"")) << key << address;
            sources.flags.emplace_back("auth.mode", "token");
            EXPECT_TRUE(load_config(sources).has_value());
        }
        for (const auto* address : {"127.9.9.9:0", "[::1]:0"}) {
            ConfigSources sources;
            sources.flags = {{key, address}};
            EXPECT_TRUE(load_config(sources).has_value()) << key << address;
        }
    }
}

TEST(Config, RefusedCombinations) {
    EXPECT_THAT(failure(file("[store.object]\nbackend = \"s3\"\n")), HasSubstr("bucket"));
    EXPECT_THAT(
        failure(file("[store.object]\nbackend = \"s3\"\nbucket = \"b\"\naccess_key = \"hush\"\n")),
        HasSubstr("together"));
    EXPECT_THAT(failure(file("[store.meta]\nbackend = \"postgres\"\n")),
                HasSubstr("store.meta.dsn"));
    EXPECT_THAT(failure(file("[ingester]\nbuffer_max_mb = 500\n")),
                HasSubstr("ingester.max_buffer_memory_mb = 192"));
    EXPECT_THAT(failure(file("[wal]\ntotal_mb = 100\n")), HasSubstr("wal.segment_size_mb * 4"));
    EXPECT_THAT(failure(file("[wal]\ntotal_mb = 100_000\nsegment_size_mb = 1\nreserve_mb = 64\n")),
                HasSubstr("more than 65536 files"));
}

TEST(Config, AddressesAreChecked) {
    for (const auto* wrong : {"",
                              "5080",
                              ":5080",
                              "127.0.0.1",
                              "127.0.0.1:",
                              "127.0.0.1:65536",
                              "127.0.0.1:-1",
                              "localhost:1",
                              "::1:1",
                              "[127.0.0.1]:1",
                              "1.2.3:4"}) {
        EXPECT_FALSE(parse_listen_address(wrong).has_value()) << wrong;
    }
    const auto address = parse_listen_address("[::1]:65535");
    ASSERT_TRUE(address.has_value());
    EXPECT_EQ(address->host, "::1");
    EXPECT_EQ(address->port, 65535);
    EXPECT_TRUE(address->is_loopback);
}

TEST(Config, ShowReadsBackAndHidesSecrets) {
    auto sources = file(
        "[store.object]\nbackend = \"s3\"\nbucket = \"a\\\"b\"\naccess_key = \"hush1\"\n"
        "secret_key = \"hush2\"\n[ingester]\nflush_interval_secs = 45\n");
    sources.env = {{"MS_STORE_META_DSN", "hush3"}};
    const auto loaded = load_config(sources);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
    const auto shown = show_config(*loaded);
    EXPECT_THAT(shown, Not(HasSubstr("hush")));
    EXPECT_THAT(shown, HasSubstr("# secret_key = \"********\"  # m.toml:5"));
    EXPECT_THAT(shown, HasSubstr("dsn = \"********\"  # MS_STORE_META_DSN"));
    EXPECT_THAT(shown, HasSubstr("# past_max_secs = unset: the stream's retention  # default"));
    const auto again = load_config(file(shown));
    ASSERT_TRUE(again.has_value()) << again.error().message();
    for (const auto& setting : setting_table()) {
        if (!setting.is_secret()) {
            EXPECT_EQ(print_setting(setting, again->config),
                      print_setting(setting, loaded->config));
        }
    }
}

TEST(Config, SecretsAreNotInMessages) {
    auto sources =
        file("[store.object]\nbackend = \"s3\"\nbucket = \"b\"\nsecret_key = \"hush\"\n");
    EXPECT_THAT(failure(sources), Not(HasSubstr("hush")));
    sources = {};
    sources.flags = {{"store.meta.dsn", std::string("hu\0sh", 5)}};
    EXPECT_THAT(failure(sources), HasSubstr("store.meta.dsn = (secret)"));
}

TEST(Config, SetFlagIsSplitAtTheFirstEquals) {
    const auto pair = parse_set_flag("store.meta.dsn=host=a user=b");
    ASSERT_TRUE(pair.has_value());
    EXPECT_EQ(pair->first, "store.meta.dsn");
    EXPECT_EQ(pair->second, "host=a user=b");
    EXPECT_FALSE(parse_set_flag("wal.dir").has_value());
    EXPECT_FALSE(parse_set_flag("=x").has_value());
}

TEST(Config, PathsAreBelowTheDataDirectory) {
    Config config;
    config.node.data_dir = "/d";
    EXPECT_EQ(resolve_path(config, "wal"), "/d/wal");
    EXPECT_EQ(resolve_path(config, "./wal"), "/d/wal");
    EXPECT_EQ(resolve_path(config, "/else"), "/else");
    EXPECT_EQ(resolve_path(config, "."), "/d");
}

TEST(LiveConfig, AReloadTakesWhatMayChangeAndNamesTheRest) {
    Config now;
    auto wanted = now;
    wanted.query.rows_max = 7;
    wanted.ingester.past_max_secs = 100;
    wanted.telemetry.log_level = TelemetryLogLevel::kError;
    wanted.telemetry.access_log = true;
    wanted.query.threads = 3;
    wanted.node.data_dir = "elsewhere";
    const auto plan = plan_reload(now, wanted);
    ASSERT_TRUE(plan);
    EXPECT_THAT(plan->changed,
                testing::UnorderedElementsAre("query.rows_max",
                                              "ingester.past_max_secs",
                                              "telemetry.log_level",
                                              "telemetry.access_log"));
    EXPECT_THAT(plan->needs_restart,
                testing::UnorderedElementsAre("query.threads", "node.data_dir"));
    EXPECT_EQ(plan->next.query.rows_max, 7);
    EXPECT_EQ(plan->next.ingester.past_max_secs, 100);
    EXPECT_EQ(plan->next.telemetry.log_level, TelemetryLogLevel::kError);
    EXPECT_EQ(plan->next.query.threads, now.query.threads);
    EXPECT_EQ(plan->next.node.data_dir, now.node.data_dir);
    const auto nothing = plan_reload(plan->next, plan->next);
    EXPECT_TRUE(nothing && nothing->changed.empty() && nothing->needs_restart.empty());
}

TEST(LiveConfig, WhatWasReadStaysValid) {
    Config config;
    config.query.rows_max = 1;
    LiveConfig live(config);
    const auto& before = live();
    config.query.rows_max = 2;
    live.replace(config);
    EXPECT_EQ(before.query.rows_max, 1);
    EXPECT_EQ(live().query.rows_max, 2);
}

TEST(Config, ReferencePageIsUpToDate) {
    const char* root = std::getenv("MS_SOURCE_DIR");
    if (root == nullptr) {
        GTEST_SKIP() << "run by ctest, which sets MS_SOURCE_DIR";
    }
    const std::string path = std::string(root) + "/docs/config.md";
    if (std::getenv("MS_TEST_REWRITE") != nullptr) {
        std::ofstream(path) << config_reference();
    }
    std::ifstream page(path);
    std::stringstream text;
    text << page.rdbuf();
    EXPECT_TRUE(text.str() == config_reference())
        << "docs/config.md is not what `molesignal config reference` prints";
}

}  // namespace
}  // namespace molesignal
