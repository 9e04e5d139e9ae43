#include "config/load_config.h"

#include <algorithm>
#include <array>
#include <exception>
#include <set>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "common/nearest_name.h"
#include "config/setting.h"
#include "config/validate.h"

namespace molesignal {

namespace {

std::string suggestion(std::string_view wrong, const std::vector<std::string_view>& known) {
    const auto nearest = nearest_name(wrong, known);
    return nearest ? fmt::format("; did you mean '{}'?", *nearest) : std::string();
}

std::vector<std::string_view> all_keys() {
    std::vector<std::string_view> keys;
    for (const auto& setting : setting_table()) {
        keys.push_back(setting.key);
    }
    return keys;
}

/// Every section and its parents: "store", "store.object", …
std::set<std::string_view> all_sections() {
    std::set<std::string_view> sections;
    for (const auto& setting : setting_table()) {
        for (auto section = setting.section();;) {
            sections.insert(section);
            const auto dot = section.rfind('.');
            if (dot == std::string_view::npos) {
                break;
            }
            section = section.substr(0, dot);
        }
    }
    return sections;
}

/// Applies sources in order of precedence, lowest first, and collects every problem.
class Loader {
public:
    explicit Loader(const ConfigSources& sources) : sources_(sources) {}

    Result<LoadedConfig> run() {
        read_file();
        read_env();
        read_flags();
        if (problems_.empty()) {
            problems_ = config_conflicts(loaded_.config);
        }
        if (!problems_.empty()) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("{}", fmt::join(problems_, "\n")));
        }
        return std::move(loaded_);
    }

private:
    void assign(const Setting& setting,
                std::string_view text,
                SettingOrigin origin,
                std::string place) {
        auto done = assign_setting(setting, loaded_.config, text);
        if (!done.has_value()) {
            problems_.push_back(fmt::format("{}: {}", place, done.error().message()));
            return;
        }
        const std::string key(setting.key);
        loaded_.origins[key] = origin;
        loaded_.places[key] = std::move(place);
    }

    void read_file();
    void read_table(const toml::table& table, const std::string& section);
    void read_value(const Setting& setting, const toml::node& node, std::string place);
    void read_env();
    void read_flags();

    const ConfigSources& sources_;
    LoadedConfig loaded_;
    std::vector<std::string> problems_;
    std::set<std::string_view> sections_ = all_sections();
};

void Loader::read_file() {
    if (!sources_.file_text) {
        return;
    }
    try {
        read_table(toml::parse(*sources_.file_text), "");
    } catch (const toml::parse_error& error) {
        problems_.push_back(fmt::format(
            "{}:{}: {}", sources_.file_name, error.source().begin.line, error.description()));
    } catch (const std::exception& error) {
        problems_.push_back(fmt::format("{}: {}", sources_.file_name, error.what()));
    }
}

void Loader::read_table(const toml::table& table, const std::string& section) {
    for (const auto& [name, node] : table) {
        const std::string own(name.str());
        const std::string key = section.empty() ? own : section + "." + own;
        const std::string place =
            fmt::format("{}:{}", sources_.file_name, node.source().begin.line);
        const bool is_section = sections_.contains(key);
        if (is_section && node.is_table()) {
            read_table(*node.as_table(), key);
        } else if (is_section) {
            problems_.push_back(fmt::format("{}: '{}' is a section, not a value", place, key));
        } else if (const auto* setting = find_setting(key)) {
            read_value(*setting, node, place);
        } else if (node.is_table()) {
            problems_.push_back(fmt::format("{}: unknown section '{}'{}",
                                            place,
                                            key,
                                            suggestion(key, {sections_.begin(), sections_.end()})));
        } else {
            problems_.push_back(
                fmt::format("{}: unknown setting '{}'{}", place, key, suggestion(key, all_keys())));
        }
    }
}

void Loader::read_value(const Setting& setting, const toml::node& node, std::string place) {
    Config scratch;
    const auto ref = setting.ref(scratch);
    const bool wants_text =
        std::holds_alternative<std::string*>(ref) || std::holds_alternative<ChoiceRef>(ref);
    const bool wants_bool = std::holds_alternative<bool*>(ref);
    const bool wants_real = std::holds_alternative<double*>(ref);
    const bool wants_integer = !wants_text && !wants_bool && !wants_real;
    if (const auto* text = node.as_string(); text != nullptr) {
        // Numbers with a unit ("32MiB") are text in TOML; "unset" is for optional numbers.
        const bool has_digit_only =
            text->get().find_first_not_of("0123456789+-") == std::string::npos;
        if (wants_text || (wants_integer && !has_digit_only)) {
            assign(setting, text->get(), SettingOrigin::kFile, std::move(place));
            return;
        }
    } else if (const auto* integer = node.as_integer(); integer != nullptr && !wants_text) {
        if (wants_integer || wants_real) {
            assign(setting, std::to_string(integer->get()), SettingOrigin::kFile, std::move(place));
            return;
        }
    } else if (const auto* real = node.as_floating_point(); real != nullptr && wants_real) {
        assign(setting, fmt::format("{}", real->get()), SettingOrigin::kFile, std::move(place));
        return;
    } else if (const auto* flag = node.as_boolean(); flag != nullptr && wants_bool) {
        assign(setting, flag->get() ? "true" : "false", SettingOrigin::kFile, std::move(place));
        return;
    }
    problems_.push_back(fmt::format("{}: {} has the wrong type: must be {} ({})",
                                    place,
                                    setting.key,
                                    setting.allowed_text(),
                                    setting.type_text()));
}

void Loader::read_env() {
    std::map<std::string, const Setting*> by_name;
    for (const auto& setting : setting_table()) {
        by_name[environment_name(setting.key)] = &setting;
    }
    std::map<const Setting*, std::string> seen;  // The variable that set it.
    for (const auto& [variable, value] : sources_.env) {
        if (!variable.starts_with("MS_") || is_reserved_variable(variable)) {
            continue;
        }
        std::string name = variable;
        std::ranges::replace(name, '.', '_');
        const auto found = by_name.find(name);
        if (found == by_name.end()) {
            std::vector<std::string_view> names;
            for (const auto& [known, setting] : by_name) {
                names.emplace_back(known);
            }
            problems_.push_back(fmt::format(
                "{}: unknown setting in the environment{}", variable, suggestion(name, names)));
            continue;
        }
        const auto [other, is_first] = seen.emplace(found->second, variable);
        if (!is_first && sources_.env.at(other->second) != value) {
            problems_.push_back(fmt::format("{} and {} set {} to different values",
                                            other->second,
                                            variable,
                                            found->second->key));
            continue;
        }
        assign(*found->second, value, SettingOrigin::kEnv, variable);
    }
}

void Loader::read_flags() {
    for (const auto& [key, value] : sources_.flags) {
        if (const auto* setting = find_setting(key)) {
            assign(*setting, value, SettingOrigin::kFlag, "flag");
        } else {
            problems_.push_back(
                fmt::format("flag: unknown setting '{}'{}", key, suggestion(key, all_keys())));
        }
    }
}

}  // namespace

Result<LoadedConfig> load_config(const ConfigSources& sources) {
    return Loader(sources).run();
}

Result<std::pair<std::string, std::string>> parse_set_flag(std::string_view text) {
    const auto equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("--set {}: must be section.key=value", text));
    }
    return std::pair{std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
}

bool is_reserved_variable(std::string_view name) {
    static constexpr std::array<std::string_view, 5> kReserved{
        "MS_TOKEN", "MS_URL", "MS_CONFIG", "MS_SOURCE_DIR", "MS_BINARY"};
    return name.starts_with("MS_TEST_") || std::ranges::find(kReserved, name) != kReserved.end();
}

}  // namespace molesignal
