#include "auth/token.h"

#include <algorithm>
#include <array>
#include <cctype>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "common/assert.h"

namespace molesignal {
namespace {

constexpr std::string_view kDigits = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::size_t kHeaderBytesMax = 1024;

/// `count` digits of five random bits each.
std::string random_digits(Random& random, std::size_t count) {
    std::array<std::byte, kTokenSecretSize> noise{};
    MS_ASSERT(count <= noise.size());
    random.fill(MutableBytes(noise).first(count));
    std::string digits(count, 'a');
    for (std::size_t i = 0; i < count; ++i) {
        digits[i] = kDigits[std::to_integer<unsigned>(noise[i]) & 31U];
    }
    OPENSSL_cleanse(noise.data(), noise.size());
    return digits;
}

bool all_digits(std::string_view text) {
    return text.find_first_not_of(kDigits) == std::string_view::npos;
}

bool equal_ignoring_case(std::string_view a, std::string_view lower) {
    return std::ranges::equal(a, lower, [](char left, char right) {
        return std::tolower(static_cast<unsigned char>(left)) == right;
    });
}

int base64_value(char character) {
    if (character >= 'A' && character <= 'Z') {
        return character - 'A';
    }
    if (character >= 'a' && character <= 'z') {
        return character - 'a' + 26;
    }
    if (character >= '0' && character <= '9') {
        return character - '0' + 52;
    }
    return character == '+' ? 62 : character == '/' ? 63 : -1;
}

std::optional<std::string> decode_base64(std::string_view text) {
    while (text.ends_with('=')) {
        text.remove_suffix(1);
    }
    if (text.size() % 4 == 1) {
        return std::nullopt;
    }
    std::string out;
    unsigned bits = 0;
    unsigned count = 0;
    for (const char character : text) {
        const int value = base64_value(character);
        if (value < 0) {
            return std::nullopt;
        }
        bits = (bits << 6U | static_cast<unsigned>(value)) & 0xffffU;
        count += 6;
        if (count >= 8) {
            count -= 8;
            out.push_back(static_cast<char>(bits >> count & 0xffU));
        }
    }
    return out;
}

}  // namespace

TokenText make_token(Random& random) {
    TokenText token;
    token.prefix = random_digits(random, kTokenPrefixSize);
    token.text.append(kTokenStart).append(token.prefix).append("_");
    token.text += random_digits(random, kTokenSecretSize);
    return token;
}

std::optional<std::string_view> token_prefix(std::string_view text) {
    if (text.size() != kTokenSize || !text.starts_with(kTokenStart)) {
        return std::nullopt;
    }
    const auto prefix = text.substr(kTokenStart.size(), kTokenPrefixSize);
    const auto secret = text.substr(kTokenSize - kTokenSecretSize);
    if (text[kTokenStart.size() + kTokenPrefixSize] != '_' || !all_digits(prefix) ||
        !all_digits(secret)) {
        return std::nullopt;
    }
    return prefix;
}

std::string sha256_hex(std::string_view bytes) {
    std::array<unsigned char, 32> digest{};
    unsigned size = 0;
    const int done =
        EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
    MS_ASSERT(done == 1);
    MS_ASSERT(size == digest.size());
    constexpr std::string_view kHex = "0123456789abcdef";
    std::string text;
    for (const auto byte : digest) {
        text.push_back(kHex[byte >> 4U]);
        text.push_back(kHex[byte & 15U]);
    }
    return text;
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::optional<std::string> token_of_header(std::string_view authorization) {
    if (authorization.size() > kHeaderBytesMax) {
        return std::nullopt;
    }
    const auto space = authorization.find(' ');
    if (space == std::string_view::npos) {
        return std::nullopt;
    }
    const auto scheme = authorization.substr(0, space);
    auto value = authorization.substr(space);
    value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
    std::string token;
    if (equal_ignoring_case(scheme, "bearer")) {
        token = value;
    } else if (equal_ignoring_case(scheme, "basic")) {
        const auto credentials = decode_base64(value).value_or("");
        const auto colon = credentials.find(':');
        if (colon == std::string::npos) {
            return std::nullopt;
        }
        token = credentials.substr(colon + 1);
    }
    if (!token_prefix(token)) {
        return std::nullopt;
    }
    return token;
}

}  // namespace molesignal
