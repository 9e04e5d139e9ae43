// A damaged sidecar: an error, or the right answer.
#include <gmock/gmock.h>

#include "common/crc32c.h"
#include "common/random.h"
#include "index/sidecar_fixture.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

/// Reads short objects without complaint, as an object store would answer with an error.
class DamagedRange final : public RangeReader {
public:
    explicit DamagedRange(ByteBuffer file) : file_(std::move(file)) {}
    std::uint64_t size() const override { return file_.size(); }
    Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) override {
        // What a reader asks for, and so allocates, lies in the object.
        EXPECT_LE(offset, file_.size());
        EXPECT_LE(length, file_.size() - std::min<std::uint64_t>(offset, file_.size()));
        const auto begin = file_.begin() + static_cast<std::ptrdiff_t>(offset);
        return ByteBuffer(begin, begin + static_cast<std::ptrdiff_t>(length));
    }

private:
    ByteBuffer file_;
};

std::vector<IndexQuery> queries() {
    const FieldId body{1};
    return {IndexQuery::token(body, "refused"),
            IndexQuery::token(body, "17"),
            IndexQuery::token(body, "4000017"),
            IndexQuery::token(body, "absent"),
            IndexQuery::prefix(body, "re"),
            IndexQuery::phrase(body, {"refused", "id"}),
            IndexQuery::contains(body, "efus", true),
            IndexQuery::present(body),
            IndexQuery::equals(FieldId{2}, "info"),
            IndexQuery::equals(FieldId{3}, "id-12"),
            IndexQuery::negation(IndexQuery::token(FieldId{4}, "x"))};
}

ByteBuffer small_sidecar() {
    TestColumn body{.id = 1, .is_text = true};
    TestColumn level{.id = 2};
    TestColumn id{.id = 3};
    for (int row = 0; row < 120; ++row) {
        body.values.emplace_back("connection " + std::to_string(row) + " refused, id " +
                                 std::to_string(4'000'000 + row) +
                                 (row % 3 == 0 ? " retrying after the pause" : ""));
        level.values.emplace_back(row % 5 == 0 ? "warn" : "info");
        id.values.emplace_back("id-" + std::to_string(row));
    }
    body.values[3] = std::nullopt;
    return make_sidecar({body, level, id}, 120);
}

class SidecarDamage : public testing::Test {
protected:
    SidecarDamage() {
        OpenSidecar sidecar(good_);
        for (const auto& query : queries()) {
            answers_.push_back(sidecar.select(query));
        }
    }
    /// Answers of a damaged file; how many were errors.
    std::size_t check(ByteBuffer file) {
        DamagedRange source(std::move(file));
        const auto reader = SidecarReader::open(source);
        if (!reader) {
            // A damaged version is another version.
            EXPECT_THAT(reader.error().code(),
                        testing::AnyOf(ErrorCode::kCorruption, ErrorCode::kInvalidArgument));
            return answers_.size();
        }
        std::size_t errors = 0;
        SidecarReadStats stats;
        const auto asked = queries();
        for (std::size_t i = 0; i < asked.size(); ++i) {
            const auto answer = reader->select(source, asked[i], stats);
            if (!answer) {
                EXPECT_EQ(answer.error().code(), ErrorCode::kCorruption);
                ++errors;
                continue;
            }
            EXPECT_EQ(answer->exact, answers_[i].exact);
            EXPECT_EQ(answer->rows, answers_[i].rows);
        }
        return errors;
    }
    ByteBuffer good_ = small_sidecar();
    std::vector<RowSelection> answers_;
};

TEST_F(SidecarDamage, every_truncation_is_noticed) {
    for (std::size_t size = 0; size < good_.size(); ++size) {
        auto file = good_;
        file.resize(size);
        ASSERT_EQ(check(std::move(file)), answers_.size()) << size;
    }
    auto longer = good_;
    longer.push_back(std::byte{0});
    EXPECT_EQ(check(std::move(longer)), answers_.size());
}

TEST_F(SidecarDamage, every_flipped_bit_is_noticed_or_not_read) {
    SeededRandom random(test_seed());
    for (std::size_t at = 0; at < good_.size(); ++at) {
        auto file = good_;
        file[at] ^= static_cast<std::byte>(1U << random.next_u64() % 8);
        ASSERT_GT(check(std::move(file)), 0U) << at;
    }
}

TEST_F(SidecarDamage, a_lying_sidecar_does_no_harm) {
    // Random bytes in the areas and a directory whose checksums fit them: whatever it answers, it
    // neither crashes nor takes memory that the object's size does not justify.
    SeededRandom random(test_seed());
    DamagedRange source(good_);
    const auto directory = SidecarReader::open(source)->directory();
    for (int round = 0; round < 3'000; ++round) {
        auto lie = directory;
        auto file = good_;

        const auto at = random.next_u64() % file.size();
        file[at] = static_cast<std::byte>(random.next_u64());
        if (round % 3 == 0) {
            auto& field = lie.fields[random.next_u64() % 2 * 2];
            auto& hashes = field.hashes;
            std::uint64_t* const figures[] = {
                &field.text.terms, &field.text.patterns, &hashes.entries};
            *figures[random.next_u64() % 3] = random.next_u64() % 1'000;
            hashes.bucket_bits = static_cast<unsigned>(random.next_u64() % (hashes.hash_bits + 1));
        }
        for (auto& field : lie.fields) {
            for (auto& area : field.areas) {
                for (auto& crc : area.block_crcs) {
                    crc = crc32c(Bytes(file).subspan(area.offset, area.bytes));
                }
            }
        }
        // The areas come first; a new directory follows them.
        std::uint64_t end = 0;
        for (const auto& field : lie.fields) {
            for (const auto& area : field.areas) {
                end = std::max(end, area.offset + area.bytes);
            }
        }
        file.resize(end);
        append_directory(lie, file);
        DamagedRange lying(std::move(file));
        const auto reader = SidecarReader::open(lying);
        SidecarReadStats stats;
        for (const auto& query : queries()) {
            if (reader) {
                (void)reader->select(lying, query, stats);
            }
        }
    }
}

TEST_F(SidecarDamage, another_version_is_not_read) {
    auto file = good_;
    file[file.size() - 20] = std::byte{1};
    DamagedRange source(file);
    const auto reader = SidecarReader::open(source);
    ASSERT_FALSE(reader);
    EXPECT_THAT(reader.error().message(), testing::HasSubstr("format version 1"));
}

TEST_F(SidecarDamage, errors_of_the_source_pass_through) {
    class Failing final : public RangeReader {
    public:
        std::uint64_t size() const override { return 1'000; }
        Result<ByteBuffer> read(std::uint64_t, std::uint64_t) override {
            return Error(ErrorCode::kUnavailable, "the store is down");
        }
    };
    Failing source;
    EXPECT_EQ(SidecarReader::open(source).error().code(), ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace molesignal
