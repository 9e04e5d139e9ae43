// Answers in their forms, and how they are cut.
#include "query/sql/engine_fixture.h"

namespace molesignal {
namespace {

class Answer : public EngineFixture {
protected:
    /// All pieces of an answer.
    std::vector<std::string> pieces(const std::string& statement, SqlFormat format) {
        auto result = start(statement);
        std::vector<std::string> out;
        if (!result) {
            return {"error: " + result.error().message()};
        }
        while (true) {
            std::string piece;
            const auto more = (*result)->next(format, piece);
            if (!more) {
                out.push_back("error: " + more.error().message());
                return out;
            }
            out.push_back(std::move(piece));
            if (!*more) {
                break;
            }
        }
        partial_ = (*result)->partial();
        warnings_ = (*result)->warnings();
        return out;
    }
    std::string whole(const std::string& statement, SqlFormat format) {
        std::string out;
        for (const auto& piece : pieces(statement, format)) {
            out += piece;
        }
        return out;
    }

    bool partial_ = false;
    std::vector<std::string> warnings_;
};

TEST_F(Answer, EveryTypeAsJson) {
    EXPECT_EQ(whole("SELECT 9223372036854775807, 18446744073709551615::UBIGINT, "
                    "170141183460469231731687303715884105727, 1.50::DECIMAL(9,2), 0.1::FLOAT, "
                    "'NaN'::DOUBLE, '-Infinity'::DOUBLE, true, NULL",
                    SqlFormat::kJsonRows),
              "[9223372036854775807,18446744073709551615,170141183460469231731687303715884105727,"
              "1.50,0.10000000149011612,\"NaN\",\"-Infinity\",true,null]");
    EXPECT_EQ(whole("SELECT ['a\"', NULL, 'b'], {'x': [1, 2], 'y': {'z': NULL}}, [[], [1]], "
                    "[{'t': TIMESTAMP '2024-01-01'}]",
                    SqlFormat::kJsonRows),
              "[[\"a\\\"\",null,\"b\"],{\"x\":[1,2],\"y\":{\"z\":null}},[[],[1]],"
              "[{\"t\":\"2024-01-01T00:00:00.000000000Z\"}]]");
    EXPECT_EQ(whole("SELECT DATE '2024-02-29', TIME '01:02:03', INTERVAL '1 day', "
                    "'\\xff\\x00'::BLOB, TIMESTAMPTZ '1969-12-31 23:59:59.5+00', "
                    "'infinity'::TIMESTAMP",
                    SqlFormat::kJsonRows),
              "[\"2024-02-29\",\"01:02:03\",\"1 day\",\"/wA=\","
              "\"1969-12-31T23:59:59.500000000Z\",\"infinity\"]");
}

TEST_F(Answer, ListsOfDictionariesAndConstants) {
    add_hot("app", numbered_chunk(3));
    add_part("app", numbered_chunk(2, 10));
    EXPECT_EQ(whole("SELECT n, [body, 'c'], {'b': body, 'k': 1} FROM logs.app ORDER BY n",
                    SqlFormat::kJsonRows),
              "[0,[\"0xxxxxxx\",\"c\"],{\"b\":\"0xxxxxxx\",\"k\":1}],"
              "[1,[\"1xxxxxxx\",\"c\"],{\"b\":\"1xxxxxxx\",\"k\":1}],"
              "[2,[\"2xxxxxxx\",\"c\"],{\"b\":\"2xxxxxxx\",\"k\":1}],"
              "[10,[\"10xxxxxx\",\"c\"],{\"b\":\"10xxxxxx\",\"k\":1}],"
              "[11,[\"11xxxxxx\",\"c\"],{\"b\":\"11xxxxxx\",\"k\":1}]");
}

TEST_F(Answer, TimesOfRowsHaveNineDigits) {
    const auto chunk = [](std::uint64_t n, std::int64_t nanos) {
        return ChunkBuilder(0, {1'700'000'000'123'456'000 + nanos})
            .fixed("n", FieldType::kInt64, {n})
            .build();
    };
    add_hot("app", chunk(1, 789));
    add_part("app", chunk(2, 7));
    const std::string hot = "2023-11-14T22:13:20.123456789Z";
    const std::string stored = "2023-11-14T22:13:20.123456007Z";
    EXPECT_EQ(whole("SELECT _timestamp, n FROM logs.app ORDER BY n", SqlFormat::kJsonRows),
              "[\"" + hot + "\",1],[\"" + stored + "\",2]");
    EXPECT_EQ(whole("SELECT n, _timestamp AS at FROM logs.app ORDER BY n", SqlFormat::kCsv),
              "n,at\r\n1," + hot + "\r\n2," + stored + "\r\n");
    EXPECT_EQ(
        whole("SELECT * EXCLUDE (_extra, _shard, _position, _event_id, n), _timestamp AS t FROM "
              "logs.app WHERE n = 2",
              SqlFormat::kNdjson),
        "{\"_timestamp\":\"2023-11-14T22:13:20.123456000Z\",\"_timestamp_nanos\":7,\"t\":\"" +
            stored + "\"}\n")
        << "a '*' with EXCLUDE is left as it is";
    EXPECT_NE(whole("SELECT * FROM logs.app WHERE n = 1", SqlFormat::kJsonRows).find(hot),
              std::string::npos);
    EXPECT_EQ(whole("SELECT max(_timestamp) FROM logs.app", SqlFormat::kJsonRows),
              "[\"2023-11-14T22:13:20.123456000Z\"]");
    auto columns = start("SELECT _timestamp FROM logs.app");
    ASSERT_TRUE(columns);
    EXPECT_EQ((*columns)->columns(), std::vector<std::string>{"_timestamp"});
    EXPECT_EQ((*columns)->column_types().size(), 1U);
}

TEST_F(Answer, SpreadsheetsRunNothing) {
    EXPECT_EQ(whole("SELECT '=1+1' AS \"=cmd()\", -5 AS \"-a\", '@x' AS b, 'a,\"b' AS \"c,d\", "
                    "'-Infinity'::DOUBLE AS f, INTERVAL '-1 day' AS i",
                    SqlFormat::kCsv),
              "'=cmd(),'-a,b,\"c,d\",f,i\r\n'=1+1,-5,'@x,\"a,\"\"b\",-Infinity,'-1 day\r\n");
}

TEST_F(Answer, IsNeverLongerThanItsLimit) {
    options_.bytes_max = 100;
    add_hot("app", numbered_chunk(50));
    for (const auto format : {SqlFormat::kJsonRows, SqlFormat::kNdjson, SqlFormat::kCsv}) {
        const auto out = whole("SELECT n, body FROM logs.app ORDER BY n", format);
        EXPECT_LE(out.size(), 100U) << out;
        EXPECT_GT(out.size(), 60U);
        EXPECT_TRUE(partial_);
        ASSERT_EQ(warnings_.size(), 1U);
        EXPECT_NE(warnings_[0].find("query.bytes_max"), std::string::npos);
    }
}

TEST_F(Answer, OneLargeValueDoesNotPassTheLimit) {
    options_.bytes_max = 1'000'000;
    add_hot("app", numbered_chunk(1, 0, 2'000'000));
    for (const auto format : {SqlFormat::kJsonRows, SqlFormat::kNdjson, SqlFormat::kCsv}) {
        EXPECT_LE(whole("SELECT body FROM logs.app", format).size(), 100U);
        EXPECT_TRUE(partial_);
        // Fits as it is and not with its escapes.
        EXPECT_LE(
            whole("SELECT replace(left(body, 900000), 'x', '\"') FROM logs.app", format).size(),
            100U);
        EXPECT_TRUE(partial_);
    }
    const auto arrow = whole("SELECT body FROM logs.app", SqlFormat::kArrow);
    EXPECT_LE(arrow.size(), 1'000U);
    EXPECT_TRUE(partial_);
}

TEST_F(Answer, ComesInPiecesOfBoundedSize) {
    add_hot("app", numbered_chunk(2'048, 0, 4'000));
    options_.memory = MemoryBudget::make_root("process", "memory.limit_mb", 1LL << 30);
    for (const auto format :
         {SqlFormat::kJsonRows, SqlFormat::kNdjson, SqlFormat::kCsv, SqlFormat::kArrow}) {
        std::size_t total = 0;
        const auto all = pieces("SELECT n, body FROM logs.app", format);
        for (const auto& piece : all) {
            EXPECT_LE(piece.size(), 300U << 10U);
            total += piece.size();
        }
        EXPECT_GT(total, 8'000'000U);
        EXPECT_GT(all.size(), 25U);
    }
    EXPECT_EQ(options_.memory->used_bytes(), 0);
}

TEST_F(Answer, RowsAreCutAtTheirLimitOrTheCallers) {
    options_.rows_max = 3'000;
    add_hot("app", numbered_chunk(5'000));
    (void)whole("SELECT n FROM logs.app", SqlFormat::kNdjson);
    EXPECT_TRUE(partial_);
    ASSERT_EQ(warnings_.size(), 1U);
    EXPECT_EQ(warnings_[0], "the answer was cut after 3000 rows (query.rows_max)");
    (void)whole("SELECT n FROM logs.app LIMIT 3000", SqlFormat::kNdjson);
    EXPECT_FALSE(partial_);
    SqlQuery query{.id = "limited", .org = org_, .statement = "SELECT n FROM logs.app", .limit = 7};
    auto limited = engine().run(context(), std::move(query));
    ASSERT_TRUE(limited);
    EXPECT_EQ(std::ranges::count(rest(**limited), '\n'), 7);
    EXPECT_FALSE((*limited)->partial());
}

}  // namespace
}  // namespace molesignal
