// `match`: the same answer as an obvious evaluation.
#include <algorithm>
#include <vector>

#include "common/utf8.h"
#include "fuzz.h"
#include "index/tokens.h"
#include "query/text_match.h"

namespace molesignal {
namespace {

bool is_word_byte(char character) {
    const auto byte = static_cast<unsigned char>(character);
    return byte >= 0x80 || (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
           (byte >= 'A' && byte <= 'Z') || byte == '_';
}

/// The folded tokens of a text without the joining byte.
std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> tokens;
    std::string token;
    for (const char character : text) {
        if (is_word_byte(character)) {
            token.push_back(character);
            continue;
        }
        if (!token.empty()) {
            tokens.emplace_back();
            fold_case(token, tokens.back());
            token.clear();
        }
    }
    if (!token.empty()) {
        tokens.emplace_back();
        fold_case(token, tokens.back());
    }
    return tokens;
}

/// Whether `phrase` occurs in `text`, token after token.
bool has_phrase(const std::vector<std::string>& text, const std::vector<std::string>& phrase) {
    for (std::size_t i = 0; i + phrase.size() <= text.size(); ++i) {
        bool all = true;
        for (std::size_t j = 0; all && j < phrase.size(); ++j) {
            all = text[i + j] == phrase[j];
        }
        if (all) {
            return true;
        }
    }
    return false;
}

}  // namespace
}  // namespace molesignal

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    FuzzInput input(data, size);
    const std::size_t query_bytes = input.byte();
    // Texts are UTF-8 by the time they are stored.
    const auto query = repair_utf8(input.rest().substr(0, query_bytes));
    const auto text = repair_utf8(input.rest().substr(std::min(query_bytes, input.rest().size())));
    const auto match = TextMatch::parse(query);
    if (!match) {
        return 0;
    }
    (void)match->matches(text);
    // One phrase of plain tokens has an obvious meaning.
    const auto wanted = words_of(query);
    if (wanted.empty() || text.find('\x1e') != std::string::npos) {
        return 0;
    }
    std::string phrase = "\"";
    for (const auto& token : wanted) {
        phrase += token + " ";
    }
    const auto as_phrase = TextMatch::parse(phrase + "\"");
    if (as_phrase) {
        require(as_phrase->matches(text) == has_phrase(words_of(text), wanted),
                "a phrase matches where its tokens follow each other");
    }
    return 0;
}
