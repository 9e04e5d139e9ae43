#include "compaction/index_part.h"

#include "common/clock.h"
#include "compaction/compaction_fixture.h"
#include "index/sidecar_reader.h"
#include "objectstore/memory_object_store.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

class BufferRange final : public RangeReader {
public:
    explicit BufferRange(const ByteBuffer& file) : file_(file) {}
    std::uint64_t size() const override { return file_.size(); }
    Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) override {
        const auto begin = file_.begin() + static_cast<std::ptrdiff_t>(offset);
        return ByteBuffer(begin, begin + static_cast<std::ptrdiff_t>(length));
    }

private:
    const ByteBuffer& file_;
};

class IndexPartTest : public ::testing::Test {
protected:
    IndexPartTest() {
        part_ = maker_.make(
            objects_, context_, ShardId{1}, 0, 5'300, 1'700'006'400'000'000'000, 1'000'000'000);
        schema_ = maker_.schema();
        input_.emplace(*PartInput::open(context_, objects_, part_, schema_, nullptr));
    }
    ByteBuffer index(const GroupSpan& groups, IndexScope scope = IndexScope::kAll) {
        auto built = index_part(
            input_->reader(),
            groups,
            scope,
            {.text_fields = no_texts_, .table_seed = 1, .id_rows_max = id_rows_max_},
            [](std::uint64_t) { return Result<>(); },
            nullptr);
        EXPECT_TRUE(built);
        return std::move(*built);
    }
    /// How many rows of row groups [begin, end) have the value.
    std::uint64_t count(const GroupSpan& groups,
                        const std::string& field,
                        const std::string& value) {
        std::uint64_t rows = 0;
        for (auto group = groups.begin; group < groups.end; ++group) {
            const auto chunks = input_->reader().read_group(group);
            EXPECT_TRUE(chunks);
            for (const auto& chunk : *chunks) {
                for (std::uint32_t row = 0; row < chunk.rows.rows; ++row) {
                    const auto values = test_row(chunk, row);
                    const auto found = values.find(field);
                    rows += found != values.end() && found->second == value ? 1 : 0;
                }
            }
        }
        return rows;
    }

    SystemClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    MemoryObjectStore objects_;
    PartMaker maker_{StreamId{"stream"}, test_seed()};
    PartInfo part_;
    StreamSchema schema_;
    const std::vector<std::string> no_texts_;
    std::uint32_t id_rows_max_ = 1U << 20U;
    std::optional<PartInput> input_;
};

TEST_F(IndexPartTest, SpansCutBetweenRowGroups) {
    using Spans = std::vector<GroupSpan>;
    EXPECT_EQ(index_spans(input_->reader(), 1'000'000), (Spans{{0, 6}}));
    EXPECT_EQ(index_spans(input_->reader(), 2'500), (Spans{{0, 2}, {2, 4}, {4, 6}}));
    // A row group is not cut.
    EXPECT_EQ(index_spans(input_->reader(), 10).size(), 6U);
}

TEST_F(IndexPartTest, AnswersLikeTheRows) {
    for (const auto& span : {GroupSpan{0, 6}, GroupSpan{1, 3}}) {
        const auto file = index(span);
        BufferRange range(file);
        const auto reader = SidecarReader::open(range);
        ASSERT_TRUE(reader) << reader.error().message();
        SidecarReadStats stats;
        // Field 2 is the service: few values, counted.
        const auto services = reader->value_counts(range, FieldId{2}, stats);
        ASSERT_TRUE(services && services->has_value());
        ASSERT_EQ((*services)->size(), 3U);
        for (const auto& service : **services) {
            EXPECT_EQ(service.rows, count(span, "service/string", service.value));
        }
        EXPECT_EQ(reader->find(FieldId{1})->kind, FieldIndexKind::kText);
        EXPECT_EQ(reader->find(FieldId{3})->kind, FieldIndexKind::kNone);
        EXPECT_EQ(reader->find(FieldId{5})->kind, FieldIndexKind::kHashed);
        EXPECT_TRUE(reader->directory().all_fields_listed);
    }
}

TEST_F(IndexPartTest, ValuesAndTextsApart) {
    const auto values = index({0, 6}, IndexScope::kValues);
    BufferRange values_range(values);
    const auto of_values = SidecarReader::open(values_range);
    ASSERT_TRUE(of_values);
    EXPECT_TRUE(of_values->directory().all_fields_listed);
    EXPECT_EQ(of_values->find(FieldId{1})->kind, FieldIndexKind::kNone);
    EXPECT_EQ(of_values->find(FieldId{2})->kind, FieldIndexKind::kExact);
    EXPECT_EQ(of_values->find(FieldId{5})->kind, FieldIndexKind::kHashed);
    const auto texts = index({2, 4}, IndexScope::kTexts);
    BufferRange texts_range(texts);
    const auto of_texts = SidecarReader::open(texts_range);
    ASSERT_TRUE(of_texts);
    EXPECT_FALSE(of_texts->directory().all_fields_listed);
    EXPECT_EQ(of_texts->fields().size(), 1U);
    EXPECT_EQ(of_texts->find(FieldId{1})->kind, FieldIndexKind::kText);
}

TEST_F(IndexPartTest, IdsInSeveralPassesAreTheSame) {
    const auto at_once = index({0, 6});
    BufferRange once_range(at_once);
    const auto once = SidecarReader::open(once_range);
    ASSERT_TRUE(once);
    id_rows_max_ = 700;
    const auto in_pieces = index({0, 6});
    BufferRange pieces_range(in_pieces);
    const auto pieces = SidecarReader::open(pieces_range);
    ASSERT_TRUE(pieces);
    // Eight passes are buckets of their own.
    EXPECT_GE(pieces->find(FieldId{5})->hashes.bucket_bits, 3U);
    EXPECT_EQ(pieces->find(FieldId{5})->hashes.entries, once->find(FieldId{5})->hashes.entries);
    EXPECT_EQ(pieces->find(FieldId{5})->present_rows, once->find(FieldId{5})->present_rows);
    SidecarReadStats stats;
    std::size_t found = 0;
    for (std::size_t group = 0; group < 6; ++group) {
        const auto chunks = input_->reader().read_group(group);
        ASSERT_TRUE(chunks);
        for (const auto& chunk : *chunks) {
            for (std::uint32_t row = 0; row < chunk.rows.rows; row += 7) {
                const auto values = test_row(chunk, row);
                const auto id = values.find("trace_id/string");
                if (id == values.end()) {
                    continue;
                }
                const auto query = IndexQuery::equals(FieldId{5}, id->second);
                const auto by_once = once->select(once_range, query, stats);
                const auto by_pieces = pieces->select(pieces_range, query, stats);
                ASSERT_TRUE(by_once && by_pieces);
                ASSERT_FALSE(by_once->rows.is_none());
                ASSERT_EQ(by_once->rows.to_list(), by_pieces->rows.to_list());
                ++found;
            }
        }
    }
    EXPECT_GT(found, 100U);
}

TEST_F(IndexPartTest, AFieldThatDoesNotFitIsListed) {
    const auto memory = MemoryBudget::make_root("index", "test", 100'000);
    const auto built = index_part(
        input_->reader(),
        {0, 6},
        IndexScope::kAll,
        {.text_fields = no_texts_, .table_seed = 1},
        [](std::uint64_t) { return Result<>(); },
        memory);
    ASSERT_TRUE(built);
    BufferRange range(*built);
    const auto reader = SidecarReader::open(range);
    ASSERT_TRUE(reader);
    EXPECT_EQ(reader->find(FieldId{1})->kind, FieldIndexKind::kNone);
}

}  // namespace
}  // namespace molesignal
