#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/result.h"
#include "config/config.h"

namespace molesignal {

/// A closed set of words; the words stand for the values 1, 2, 3, … of an enumeration.
struct ChoiceRef {
    std::uint8_t* value = nullptr;
};
/// The member of a Config that a setting reads and writes.
using SettingRef = std::
    variant<std::int64_t*, std::optional<std::int64_t>*, double*, bool*, std::string*, ChoiceRef>;

/// What a text setting must look like.
enum class TextForm : std::uint8_t {
    kPlain = 1,
    kSecret = 2,   ///< Never printed.
    kAddress = 3,  ///< "ip:port" or "[ip6]:port".
    kRequired = 4  ///< Must not be empty.
};

/// One setting: how it is named, read, checked, printed and explained. The only description of it.
struct Setting {
    std::string_view key;      ///< "http.body_bytes_max"
    std::string_view meaning;  ///< A sentence for the reference page.
    SettingRef (*ref)(Config&) = nullptr;
    double minimum = 0;          ///< Numbers only.
    double maximum = 0;          ///< Numbers only.
    std::string_view unit = {};  ///< "bytes", "MB", "ms", "s", … Bytes also take "32MiB".
    std::span<const std::string_view> choices = {};
    TextForm form = TextForm::kPlain;
    std::string_view when_unset = {};  ///< What happens if an optional number is not set.
    bool reloads = false;              ///< May change while the server runs (SIGHUP).

    /// "http" of "http.listen", "store.object.retry" of "store.object.retry.max_attempts".
    std::string_view section() const { return key.substr(0, key.rfind('.')); }
    std::string_view name() const { return key.substr(key.rfind('.') + 1); }
    bool is_secret() const { return form == TextForm::kSecret; }
    /// A number, text, …: as the reference page says it.
    std::string type_text() const;
    /// "1 to 64 threads", "one of local, s3", …
    std::string allowed_text() const;
};

/// All settings, grouped by section.
std::span<const Setting> setting_table();

/// The setting with this key, or null.
const Setting* find_setting(std::string_view key);

/// Sets the member from text. kInvalidArgument names key, value and what is allowed.
Result<> assign_setting(const Setting& setting, Config& config, std::string_view text);

/// The member as TOML (text in quotes); empty for an optional number that is not set.
std::string print_setting(const Setting& setting, const Config& config);

/// "MS_HTTP_BODY_BYTES_MAX".
std::string environment_name(std::string_view key);

/// An address split in two; the port is checked, the host is an IP address without brackets.
struct ListenAddress {
    std::string host;
    std::uint16_t port = 0;
    bool is_loopback = false;
};
/// Parses "127.0.0.1:5080" or "[::1]:5080". kInvalidArgument otherwise.
Result<ListenAddress> parse_listen_address(std::string_view text);

/// `text` as a TOML basic string, quotes included.
std::string quote_toml(std::string_view text);

}  // namespace molesignal
