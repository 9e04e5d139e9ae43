#include "config/setting.h"

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include <arpa/inet.h>
#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {

namespace {

template <class... Handlers>
struct Overloaded : Handlers... {
    using Handlers::operator()...;
};

Error refused(const Setting& setting, std::string_view text) {
    const std::string shown =
        setting.is_secret() ? std::string("(secret)") : fmt::format("'{}'", text);
    return {ErrorCode::kInvalidArgument,
            fmt::format("{} = {}: must be {}", setting.key, shown, setting.allowed_text())};
}

/// "32MiB" and "32 MiB" as bytes; plain numbers in any unit.
std::optional<std::int64_t> parse_integer(std::string_view text, std::string_view unit) {
    std::int64_t number = 0;
    const auto* const end = text.data() + text.size();
    const auto [rest, problem] = std::from_chars(text.data(), end, number);
    if (problem != std::errc{}) {
        return std::nullopt;
    }
    std::string_view suffix(rest, static_cast<std::size_t>(end - rest));
    if (suffix.empty()) {
        return number;
    }
    if (unit != "bytes") {
        return std::nullopt;
    }
    if (suffix.front() == ' ') {
        suffix.remove_prefix(1);
    }
    static constexpr std::array<std::pair<std::string_view, int>, 3> kSuffixes{
        {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}}};
    for (const auto& [name, shift] : kSuffixes) {
        const std::int64_t most = std::int64_t{1} << (62 - shift);
        if (suffix == name && number >= 0 && number < most) {
            return number << shift;
        }
    }
    return std::nullopt;
}

bool in_range(const Setting& setting, double value) {
    return std::isfinite(value) && value >= setting.minimum && value <= setting.maximum;
}

Result<std::int64_t> checked_integer(const Setting& setting, std::string_view text) {
    const auto number = parse_integer(text, setting.unit);
    if (!number || !in_range(setting, static_cast<double>(*number))) {
        return refused(setting, text);
    }
    return *number;
}

Result<> assign_text(const Setting& setting, std::string& target, std::string_view text) {
    if (text.find('\0') != std::string_view::npos ||
        (setting.form == TextForm::kRequired && text.empty())) {
        return refused(setting, text);
    }
    if (setting.form == TextForm::kAddress && !parse_listen_address(text)) {
        return refused(setting, text);
    }
    target = text;
    return {};
}

std::string print_number(double value) {
    return value == std::floor(value) ? fmt::format("{:.1f}", value) : fmt::format("{}", value);
}

}  // namespace

std::string Setting::type_text() const {
    Config config;
    return std::visit(
        Overloaded{[](std::int64_t*) { return std::string("integer"); },
                   [](std::optional<std::int64_t>*) { return std::string("integer or unset"); },
                   [](double*) { return std::string("number"); },
                   [](bool*) { return std::string("boolean"); },
                   [this](std::string*) {
                       return std::string(form == TextForm::kAddress  ? "address"
                                          : form == TextForm::kSecret ? "secret text"
                                                                      : "text");
                   },
                   [](ChoiceRef) { return std::string("choice"); }},
        ref(config));
}

std::string Setting::allowed_text() const {
    Config config;
    const auto range = [this] {
        return fmt::format("{} to {}{}{}", minimum, maximum, unit.empty() ? "" : " ", unit);
    };
    const auto whole_range = [this] {
        return fmt::format("{:.0f} to {:.0f}{}{}{}",
                           minimum,
                           maximum,
                           unit.empty() ? "" : " ",
                           unit,
                           unit == "bytes" ? " (KiB, MiB, GiB may follow the number)" : "");
    };
    return std::visit(
        Overloaded{[&](std::int64_t*) { return whole_range(); },
                   [&](std::optional<std::int64_t>*) { return whole_range() + " or \"unset\""; },
                   [&](double*) { return range(); },
                   [](bool*) { return std::string("true or false"); },
                   [this](std::string*) -> std::string {
                       switch (form) {
                           case TextForm::kAddress:
                               return "an IP address and a port, such as 127.0.0.1:5080 or "
                                      "[::1]:5080";
                           case TextForm::kRequired:
                               return "text that is not empty";
                           case TextForm::kPlain:
                           case TextForm::kSecret:
                               return "text";
                       }
                       return "text";
                   },
                   [this](ChoiceRef) {
                       return fmt::format("{} {}",
                                          choices.size() > 1 ? "one of" : "exactly",
                                          fmt::join(choices.begin(), choices.end(), ", "));
                   }},
        ref(config));
}

const Setting* find_setting(std::string_view key) {
    for (const auto& setting : setting_table()) {
        if (setting.key == key) {
            return &setting;
        }
    }
    return nullptr;
}

Result<> assign_setting(const Setting& setting, Config& config, std::string_view text) {
    return std::visit(
        Overloaded{
            [&](std::int64_t* target) -> Result<> {
                MS_TRY(*target, checked_integer(setting, text));
                return {};
            },
            [&](std::optional<std::int64_t>* target) -> Result<> {
                if (text == "unset") {
                    target->reset();
                    return {};
                }
                MS_TRY(*target, checked_integer(setting, text));
                return {};
            },
            [&](double* target) -> Result<> {
                double number = 0;
                const auto* const end = text.data() + text.size();
                const auto [rest, problem] = std::from_chars(text.data(), end, number);
                if (problem != std::errc{} || rest != end || !in_range(setting, number)) {
                    return refused(setting, text);
                }
                *target = number;
                return {};
            },
            [&](bool* target) -> Result<> {
                if (text != "true" && text != "false") {
                    return refused(setting, text);
                }
                *target = text == "true";
                return {};
            },
            [&](std::string* target) -> Result<> { return assign_text(setting, *target, text); },
            [&](ChoiceRef target) -> Result<> {
                for (std::size_t i = 0; i < setting.choices.size(); ++i) {
                    if (setting.choices[i] == text) {
                        *target.value = static_cast<std::uint8_t>(i + 1);
                        return {};
                    }
                }
                return refused(setting, text);
            }},
        setting.ref(config));
}

std::string print_setting(const Setting& setting, const Config& config) {
    Config copy = config;
    return std::visit(
        Overloaded{[](const std::int64_t* value) { return std::to_string(*value); },
                   [](const std::optional<std::int64_t>* value) {
                       return *value ? std::to_string(**value) : std::string();
                   },
                   [](const double* value) { return print_number(*value); },
                   [](const bool* value) { return std::string(*value ? "true" : "false"); },
                   [](const std::string* value) { return quote_toml(*value); },
                   [&](ChoiceRef value) {
                       MS_ASSERT(*value.value >= 1);
                       MS_ASSERT(*value.value <= setting.choices.size());
                       return quote_toml(setting.choices[*value.value - 1U]);
                   }},
        setting.ref(copy));
}

std::string environment_name(std::string_view key) {
    std::string name = "MS_";
    for (const char c : key) {
        name += c == '.' ? '_' : (c >= 'a' && c <= 'z') ? static_cast<char>(c - 'a' + 'A') : c;
    }
    return name;
}

Result<ListenAddress> parse_listen_address(std::string_view text) {
    const Error wrong(ErrorCode::kInvalidArgument,
                      fmt::format("'{}' is not an address such as 127.0.0.1:5080", text));
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size()) {
        return wrong;
    }
    ListenAddress address;
    const auto port = text.substr(colon + 1);
    const auto [rest, problem] =
        std::from_chars(port.data(), port.data() + port.size(), address.port);
    if (problem != std::errc{} || rest != port.data() + port.size()) {
        return wrong;
    }
    auto host = text.substr(0, colon);
    const bool bracketed = host.starts_with('[') && host.ends_with(']');
    if (bracketed) {
        host = host.substr(1, host.size() - 2);
    }
    address.host = host;
    std::array<unsigned char, sizeof(in6_addr)> binary{};
    if (inet_pton(bracketed ? AF_INET6 : AF_INET, address.host.c_str(), binary.data()) != 1) {
        return wrong;
    }
    static constexpr std::array<unsigned char, 16> kLoopback6{
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    address.is_loopback = bracketed ? binary == kLoopback6 : binary[0] == 127;
    return address;
}

std::string quote_toml(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            quoted += '\\';
            quoted += c;
        } else if (byte < 0x20 || byte == 0x7f) {
            quoted += fmt::format("\\u{:04X}", byte);
        } else {
            quoted += c;
        }
    }
    return quoted + '"';
}

}  // namespace molesignal
