#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/random.h"

namespace molesignal {

/// A credential's text is `ms_<prefix>_<secret>`: 8 characters that name it and 52 that carry 256
/// random bits, both of `a-z2-7`. The catalogue keeps the prefix and the SHA-256 of the whole text.
struct TokenText {
    std::string text;    ///< Shown once, never stored.
    std::string prefix;  ///< Names the token in lists; not secret.
};

inline constexpr std::string_view kTokenStart = "ms_";
inline constexpr std::size_t kTokenPrefixSize = 8;
inline constexpr std::size_t kTokenSecretSize = 52;
inline constexpr std::size_t kTokenSize =
    kTokenStart.size() + kTokenPrefixSize + 1 + kTokenSecretSize;

/// A new token; `random` must be fit for secrets.
TokenText make_token(Random& random);

/// The prefix, if `text` has exactly the form of a token.
std::optional<std::string_view> token_prefix(std::string_view text);

/// SHA-256 as 64 hexadecimal digits, lower case.
std::string sha256_hex(std::string_view bytes);

/// Whether the texts are equal, in a time that depends on their sizes only.
bool equal_in_constant_time(std::string_view a, std::string_view b);

/// The token in the value of an Authorization header: `Bearer <token>`, or `Basic` with the token
/// as password and any user name. Nothing if the header is malformed or above 1 KiB.
std::optional<std::string> token_of_header(std::string_view authorization);

}  // namespace molesignal
