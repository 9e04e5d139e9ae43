#include "net/http_wire.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

std::string with_headers(std::string_view headers) {
    return "POST /a HTTP/1.1\r\nHost: h\r\n" + std::string(headers) + "\r\n";
}

TEST(RequestHead, Parses) {
    const auto head = parse_request_head(
        "PUT /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nX-A:  b \r\n\r\n");
    ASSERT_TRUE(head) << head.error().message();
    EXPECT_EQ(head->method, "PUT");
    EXPECT_EQ(head->target, "/a%20b?x=1");
    EXPECT_EQ(head->framing.kind, BodyFraming::Kind::kLength);
    EXPECT_EQ(head->framing.length, 12U);
    EXPECT_EQ(find_header(head->headers, "x-a"), "b");
    EXPECT_TRUE(head->keep_alive);
}

TEST(RequestHead, KeepAliveByVersionAndHeader) {
    EXPECT_FALSE(parse_request_head("GET / HTTP/1.0\r\n\r\n")->keep_alive);
    EXPECT_TRUE(parse_request_head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")->keep_alive);
    EXPECT_FALSE(parse_request_head("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, close\r\n\r\n")
                     ->keep_alive);
}

TEST(RequestHead, RefusesWhatTwoReadersCouldReadDifferently) {
    const std::string_view hostile[] = {
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Host: other\r\n",
        "Authorization: Bearer a\r\nauthorization: Bearer b\r\n",
        "X-A: 1\r\n folded\r\n",
        "X-A: 1\nTransfer-Encoding: chunked\r\n",
        "no colon\r\n",
        ": no name\r\n",
    };
    for (const auto headers : hostile) {
        const auto head = parse_request_head(with_headers(headers));
        ASSERT_FALSE(head) << headers;
        EXPECT_EQ(head.error().code(), ErrorCode::kInvalidArgument);
    }
    EXPECT_TRUE(parse_request_head(with_headers("Content-Length: 5\r\n")));
    EXPECT_TRUE(parse_request_head(with_headers("Transfer-Encoding: Chunked\r\n")));
}

TEST(RequestHead, RefusesBadLines) {
    const std::string_view hostile[] = {
        "GET /\r\nHost: h\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        "GET / http/1.1\r\nHost: h\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    };
    for (const auto text : hostile) {
        EXPECT_FALSE(parse_request_head(text)) << text;
    }
}

TEST(SplitTarget, DecodesOnce) {
    HttpRequest request;
    ASSERT_TRUE(split_target("/a%20b/%2541?q=1%2B1&r=a+b&flag&empty=&q=2", request));
    EXPECT_EQ(request.path, "/a b/%41");
    EXPECT_EQ(request.query("q"), "1+1");
    EXPECT_EQ(request.query("r"), "a b");
    EXPECT_EQ(request.query("flag"), "");
    EXPECT_EQ(request.query("empty"), "");
    EXPECT_EQ(request.query("none"), std::nullopt);
    EXPECT_EQ(request.query_parameters.size(), 5U);
}

TEST(SplitTarget, AcceptsAbsoluteForm) {
    HttpRequest request;
    ASSERT_TRUE(split_target("http://host:1/x/y?a=b", request));
    EXPECT_EQ(request.path, "/x/y");
    HttpRequest root;
    ASSERT_TRUE(split_target("http://host", root));
    EXPECT_EQ(root.path, "/");
}

TEST(SplitTarget, RefusesAmbiguousPaths) {
    for (const std::string_view target :
         {"/a%2fb", "/a%2Fb", "/a%00", "/a%", "/a%4", "/a%zz", "/?x=%00", "/?x=%G1", "a"}) {
        HttpRequest request;
        EXPECT_FALSE(split_target(target, request)) << target;
    }
}

Result<std::string> decode_chunks(std::string_view wire, std::size_t piece_bytes, bool& done) {
    ChunkDecoder decoder;
    std::string out;
    for (std::size_t at = 0; at < wire.size() && !decoder.done(); at += piece_bytes) {
        auto input = wire.substr(at, piece_bytes);
        while (!input.empty() && !decoder.done()) {
            MS_TRY(const auto piece, decoder.next(input));
            out += piece;
        }
    }
    done = decoder.done();
    return out;
}

TEST(ChunkDecoder, JoinsChunksAtAnyPieceSize) {
    constexpr std::string_view kWire =
        "5;name=value\r\nhello\r\n06\r\n world\r\nA\r\n0123456789\r\n0\r\n\r\n";
    for (std::size_t piece = 1; piece <= kWire.size(); ++piece) {
        bool done = false;
        const auto out = decode_chunks(kWire, piece, done);
        ASSERT_TRUE(out) << out.error().message();
        EXPECT_TRUE(done);
        EXPECT_EQ(*out, "hello world0123456789");
    }
}

TEST(ChunkDecoder, LeavesTheNextRequestAlone) {
    std::string_view input = "0\r\n\r\nGET /";
    ChunkDecoder decoder;
    ASSERT_TRUE(decoder.next(input));
    EXPECT_TRUE(decoder.done());
    EXPECT_EQ(input, "GET /");
}

TEST(ChunkDecoder, RefusesMalformedChunks) {
    const std::string hostile[] = {
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "5\nhello\r\n",
        "5\r\nhelloX\r\n",
        "0x5\r\nhello\r\n",
        "1 1\r\na",
        "+5\r\nhello\r\n",
        "fffffffffffffffff\r\n",
        std::string(300, '1') + "\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5;a=\rb\r\nhello\r\n0\r\n\r\n",
        "5;a=\x01\r\nhello\r\n0\r\n\r\n",
        std::string("5;\0\r\nhello\r\n0\r\n\r\n", 17),
        "5\r\nhello\r\n0\r\nAuthorization: x\r\n\r\n",
    };
    for (const auto& wire : hostile) {
        bool done = false;
        EXPECT_FALSE(decode_chunks(wire, wire.size(), done)) << wire;
    }
    bool done = false;
    EXPECT_FALSE(decode_chunks("0\r\n" + std::string(9000, 'x') + "\r\n\r\n", 1000, done));
}

TEST(ResponseHead, KnowsWhereTheBodyEnds) {
    const auto length = parse_response_head("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "GET");
    ASSERT_TRUE(length);
    EXPECT_EQ(length->framing.length, 3U);
    EXPECT_EQ(
        parse_response_head("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD")->framing.kind,
        BodyFraming::Kind::kNone);
    EXPECT_EQ(parse_response_head("HTTP/1.1 204 No Content\r\n\r\n", "GET")->framing.kind,
              BodyFraming::Kind::kNone);
    EXPECT_EQ(parse_response_head("HTTP/1.0 200 OK\r\n\r\n", "GET")->framing.kind,
              BodyFraming::Kind::kUntilClose);
    EXPECT_FALSE(parse_response_head("SSH-2.0-OpenSSH\r\n\r\n", "GET"));
}

TEST(JsonString, EscapesAndRepairs) {
    std::string out;
    append_json_string(out, "a\"b\\c\n\x01\xc3\xa4\xff\xe2\x82");
    EXPECT_EQ(out, "\"a\\\"b\\\\c\\n\\u0001\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

TEST(PercentEncoding, RoundTrips) {
    std::string all;
    for (int i = 1; i < 256; ++i) {
        all += static_cast<char>(i);
    }
    EXPECT_EQ(percent_decode(percent_encode(all), PlusSign::kIsSpace).value(), all);
    EXPECT_EQ(percent_encode("a b/c"), "a%20b%2Fc");
}

}  // namespace
}  // namespace molesignal
