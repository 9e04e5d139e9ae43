// Phrases by the order of common words, against a look at every text.
#include <algorithm>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "common/crc32c.h"
#include "common/random.h"
#include "index/coding.h"
#include "index/sidecar_fixture.h"
#include "index/tokens.h"
#include "index/value_lookup.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr FieldId kBody{1};
using Texts = std::vector<std::optional<std::string>>;

class Phrases {
public:
    explicit Phrases(Texts texts)
        : texts_(std::move(texts)),
          sidecar_(make_sidecar({{.id = 1, .is_text = true, .values = texts_}},
                                static_cast<std::uint32_t>(texts_.size()))) {}

    /// Checks what is said of the phrase; whether it is exact.
    bool is_exact(const std::string& phrase, bool last_is_prefix = false) {
        auto query = IndexQuery::phrase(kBody, tokens_of(phrase));
        query.last_is_prefix = last_is_prefix;
        const auto selection = sidecar_.select(query);
        for (std::uint32_t row = 0; row < texts_.size(); ++row) {
            const bool expected =
                texts_[row] &&
                has_phrase(*texts_[row], std::span(query.texts), query.last_is_prefix);
            EXPECT_TRUE(selection.rows.contains(row) || !expected)
                << phrase << " is missing in row " << row << ": " << *texts_[row];
            EXPECT_TRUE(!selection.exact || !selection.rows.contains(row) || expected)
                << phrase << " is not in row " << row << ": " << texts_[row].value_or("NULL");
        }
        return selection.exact;
    }

private:
    Texts texts_;
    OpenSidecar sidecar_;
};

Texts repeated(std::initializer_list<std::string> templates, std::size_t times) {
    Texts texts;
    for (std::size_t i = 0; i < times; ++i) {
        for (const auto& each : templates) {
            texts.emplace_back(fmt::format(fmt::runtime(each), i));
        }
    }
    return texts;
}

TEST(Phrase, common_words_are_found_in_their_order) {
    auto texts = repeated({"Connection refused by host{0}x",
                           "connection to host{0}x refused",
                           "refused: connection by {0}",
                           "by connection, refused connection refused",
                           "connection 7{0:09} refused by",
                           "nothing"},
                          100);
    for (std::size_t i = 0; i < texts.size(); i += 17) {
        texts[i] = std::nullopt;
    }
    Phrases phrases(std::move(texts));
    for (const auto* phrase : {"connection refused",
                               "refused connection",
                               "connection refused by",
                               "refused connection refused",
                               "connection connection",
                               "by connection",
                               "connection to",
                               "by connection refused connection refused",
                               "nothing connection"}) {
        EXPECT_TRUE(phrases.is_exact(phrase)) << phrase;
    }
    EXPECT_FALSE(phrases.is_exact("refused by host7x")) << "a rare word's rows are looked at";
    EXPECT_TRUE(phrases.is_exact("refused by nobody")) << "a word that is not there";
    EXPECT_FALSE(phrases.is_exact("connection refu", true));
    EXPECT_FALSE(phrases.is_exact("connection 7000000003"));
    EXPECT_TRUE(phrases.is_exact("conn", true));
}

TEST(Phrase, a_word_across_a_boundary_is_no_neighbour) {
    Phrases phrases(repeated({"a connection refused", "a connection\x1erefused"}, 100));
    EXPECT_FALSE(phrases.is_exact("connection refused")) << "these rows are looked at";
    EXPECT_FALSE(phrases.is_exact("a connection"));
}

TEST(Phrase, the_end_of_long_texts_is_looked_at) {
    std::string text;
    for (int i = 0; i < 70; ++i) {
        text += fmt::format("word{} ", static_cast<char>('a' + i % 26));
    }
    Phrases phrases(repeated({text + "connection refused", "connection refused", text}, 100));
    EXPECT_TRUE(phrases.is_exact("worda wordb"));
    EXPECT_FALSE(phrases.is_exact("connection refused"));
    EXPECT_FALSE(phrases.is_exact("wordr connection"));
    EXPECT_FALSE(phrases.is_exact("wordb worda"));
}

TEST(Phrase, random_templates) {
    SeededRandom random(test_seed());
    const auto below = [&random](std::uint64_t bound) { return random.next_u64() % bound; };
    int exact = 0;
    for (int round = 0; round < 30; ++round) {
        const auto words = 2 + below(12);
        const auto word = [&] { return fmt::format("w{}", below(words)); };
        std::vector<std::string> templates;
        for (auto i = 1 + below(12); i > 0; --i) {
            auto& text = templates.emplace_back();
            for (auto tokens = below(10); tokens > 0; --tokens) {
                const auto kind = below(20);
                text += (kind == 0   ? "{0:09}"
                         : kind == 1 ? std::string(70, 'l')
                         : kind == 2 ? "rare{0}"
                                     : word()) +
                        (below(40) == 0  ? "\x1e"
                         : below(3) == 0 ? ", "
                                         : " ");
            }
        }
        Texts texts;
        for (auto rows = 100 + below(2'000); rows > 0; --rows) {
            if (below(20) == 0) {
                texts.emplace_back();
            } else {
                texts.emplace_back(fmt::format(fmt::runtime(templates[below(templates.size())]),
                                               below(1'000'000)));
            }
        }
        Phrases phrases(std::move(texts));
        for (int i = 0; i < 20; ++i) {
            std::string phrase = word();
            for (auto more = 1 + below(3); more > 0; --more) {
                phrase += " " + word();
            }
            exact += phrases.is_exact(phrase, below(10) == 0) ? 1 : 0;
        }
    }
    EXPECT_GT(exact, 100);
}

TEST(Phrase, indexes_of_the_version_before_are_read) {
    const auto texts = repeated({"connection refused {0}"}, 4);  // Too few for common words.
    auto file = make_sidecar({{.id = 1, .is_text = true, .values = texts}}, 4);
    const auto tail = *directory_tail_bytes(file, file.size());
    const auto set = [&](std::size_t at, std::uint32_t value) {
        for (unsigned i = 0; i < 4; ++i) {
            file[file.size() - 32 + at + i] = static_cast<std::byte>(value >> (8 * i));
        }
    };
    for (const std::uint32_t version : {1U, 2U, 3U, 4U}) {
        set(12, version);
        set(16, crc32c(Bytes(file).subspan(file.size() - tail, tail - 16)));
        MemoryRange source(file);
        const auto opened = SidecarReader::open(source);
        EXPECT_EQ(opened.has_value(), version == 2 || version == 3) << version;
        if (!opened) {
            EXPECT_EQ(opened.error().code(), ErrorCode::kInvalidArgument);
            EXPECT_THAT(opened.error().message(), ::testing::HasSubstr("index rebuild --all"));
        }
    }
}

}  // namespace
}  // namespace molesignal
