#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/result.h"
#include "config/config.h"

namespace molesignal {

/// Where settings come from. The caller reads the file and the environment.
struct ConfigSources {
    std::string file_name;                   ///< For messages: "molesignal.toml".
    std::optional<std::string> file_text;    ///< TOML; unset: no file.
    std::map<std::string, std::string> env;  ///< The whole environment; MS_… is looked at.
    std::vector<std::pair<std::string, std::string>> flags;  ///< (key, value): --set and own flags.
};

enum class SettingOrigin : std::uint8_t { kDefault = 1, kFile = 2, kEnv = 3, kFlag = 4 };

/// A valid configuration and, for every setting, who decided it.
struct LoadedConfig {
    Config config;
    std::map<std::string, SettingOrigin> origins;  ///< By key; absent: the default.
    std::map<std::string, std::string> places;  ///< By key: "molesignal.toml:12", "MS_HTTP_LISTEN".
};

/// Reads all sources; a flag wins over the environment, that over the file, that over the default.
///
/// kInvalidArgument with everything that is wrong, one a line: unknown settings with the line and
/// the nearest name, values with their key and allowed range, and combinations that are refused.
Result<LoadedConfig> load_config(const ConfigSources& sources);

/// Splits "section.key=value" of `--set`. kInvalidArgument without a '='.
Result<std::pair<std::string, std::string>> parse_set_flag(std::string_view text);

/// What the environment may hold besides settings: MS_TOKEN, MS_URL, MS_CONFIG and the tests'
/// variables.
bool is_reserved_variable(std::string_view name);

/// `key = value  # origin` for every setting, grouped in sections as TOML that load_config reads
/// again (secrets are masked, and then commented out).
std::string show_config(const LoadedConfig& loaded);

/// The page docs/config.md.
std::string config_reference();

}  // namespace molesignal
