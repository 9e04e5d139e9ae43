// Credentials in headers.
#include "auth/token.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    if (const auto token = token_of_header(FuzzInput(data, size).rest())) {
        if (const auto prefix = token_prefix(*token)) {
            require(prefix->size() == kTokenPrefixSize && token->size() == kTokenSize,
                    "a token has its form");
        }
    }
    return 0;
}
