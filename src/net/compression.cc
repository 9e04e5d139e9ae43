#include "net/compression.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include "common/assert.h"
#include "net/http.h"

namespace molesignal {
namespace {

constexpr std::size_t kStepBytes = 256 << 10;
constexpr std::size_t kScratchBytes = 64 << 10;
constexpr std::size_t kMembersMax = 100'000;
constexpr std::size_t kZlibStateBytes = 44 << 10;  // inflate's state and its window.
constexpr int kGzipWindowBits = 15 + 16;
constexpr int kZlibWindowBits = 15;
constexpr int kRawWindowBits = -15;

Error too_large(const DecoderLimits& limits) {
    return {
        ErrorCode::kTooLarge,
        fmt::format(
            "the decoded content is larger than {} bytes ({})", limits.bytes_max, limits.setting)};
}

/// Where decoders put what they produce, before it is appended to the output. Growing the output to
/// the room that a step may need would clear that room for every empty member of the content.
class OutputWindow {
public:
    explicit OutputWindow(DecoderLimits limits)
        : limits_(std::move(limits)),
          scratch_(std::make_unique_for_overwrite<char[]>(kScratchBytes)) {}

    char* data() { return scratch_.get(); }
    /// What a step may produce: one byte more than the limit at most, to notice it.
    std::size_t room(std::size_t out_bytes_max) const {
        return std::min({kScratchBytes, out_bytes_max, limits_.bytes_max - total_ + 1});
    }
    Result<> take(std::string& out, std::size_t produced) {
        total_ += produced;
        if (total_ > limits_.bytes_max) {
            return too_large(limits_);
        }
        out.append(scratch_.get(), produced);
        return {};
    }

private:
    DecoderLimits limits_;
    std::unique_ptr<char[]> scratch_;
    std::size_t total_ = 0;
};

/// Counts the members of a content: each costs time, and an empty one adds nothing to the output.
class MemberCount {
public:
    Result<> add() {
        if (++members_ > kMembersMax) {
            return Error(
                ErrorCode::kInvalidArgument,
                fmt::format("the content has more than {} compressed members", kMembersMax));
        }
        return {};
    }

private:
    std::size_t members_ = 0;
};

class IdentityDecoder final : public StreamDecoder {
public:
    explicit IdentityDecoder(DecoderLimits limits) : limits_(std::move(limits)) {}

    Result<bool> decode_some(Bytes& in, std::string& out, std::size_t out_bytes_max) override {
        const auto take = std::min(in.size(), out_bytes_max);
        if (take > limits_.bytes_max - total_) {
            return too_large(limits_);
        }
        out.append(as_text(in.first(take)));
        total_ += take;
        in = in.subspan(take);
        return !in.empty();
    }

    Result<> finish() override { return {}; }
    std::size_t state_bytes() const override { return 0; }

private:
    DecoderLimits limits_;
    std::size_t total_ = 0;
};

class ZlibDecoder final : public StreamDecoder {
public:
    ZlibDecoder(ContentCoding coding, DecoderLimits limits)
        : coding_(coding), window_(std::move(limits)) {}
    ~ZlibDecoder() override {
        if (started_) {
            ::inflateEnd(&stream_);
        }
    }
    ZlibDecoder(const ZlibDecoder&) = delete;
    ZlibDecoder& operator=(const ZlibDecoder&) = delete;

    Result<bool> decode_some(Bytes& in, std::string& out, std::size_t out_bytes_max) override {
        if (in.empty() && !output_waits_) {
            return false;
        }
        MS_TRY_VOID(begin_member(in));
        const auto in_size = std::min<std::size_t>(in.size(), 1U << 30);
        const auto room = window_.room(out_bytes_max);
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
        stream_.avail_in = static_cast<uInt>(in_size);
        stream_.next_out = reinterpret_cast<Bytef*>(window_.data());
        stream_.avail_out = static_cast<uInt>(room);
        const auto code = ::inflate(&stream_, Z_NO_FLUSH);
        in = in.subspan(in_size - stream_.avail_in);
        MS_TRY_VOID(window_.take(out, room - stream_.avail_out));
        member_ended_ = code == Z_STREAM_END;
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("malformed {} content: {}",
                                     to_string(coding_),
                                     stream_.msg != nullptr ? stream_.msg : "broken stream"));
        }
        output_waits_ = !member_ended_ && stream_.avail_out == 0;
        return !in.empty() || output_waits_;
    }

    Result<> finish() override {
        if (started_ && !member_ended_) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("the {} content ends in the middle", to_string(coding_)));
        }
        return {};
    }
    std::size_t state_bytes() const override { return kScratchBytes + kZlibStateBytes; }

private:
    Result<> begin_member(Bytes in) {
        if (!started_) {
            int bits = kGzipWindowBits;
            if (coding_ == ContentCoding::kDeflate) {
                // The zlib header's low nibble is 8 (deflate); no encoder starts raw deflate so.
                const bool zlib = (std::to_integer<unsigned>(in.front()) & 0x0fU) == 8U;
                bits = zlib ? kZlibWindowBits : kRawWindowBits;
            }
            if (::inflateInit2(&stream_, bits) != Z_OK) {
                return Error(ErrorCode::kInternal, "inflateInit2 failed");
            }
            started_ = true;
        } else if (member_ended_) {
            if (coding_ == ContentCoding::kDeflate) {
                return Error(ErrorCode::kInvalidArgument,
                             "malformed deflate content: bytes after its end");
            }
            MS_TRY_VOID(members_.add());
            ::inflateReset(&stream_);
        }
        return {};
    }

    ContentCoding coding_;
    OutputWindow window_;
    MemberCount members_;
    z_stream stream_{};
    bool started_ = false;
    bool member_ended_ = false;
    bool output_waits_ = false;
};

class ZstdDecoder final : public StreamDecoder {
public:
    explicit ZstdDecoder(DecoderLimits limits)
        : window_log_max_(limits.zstd_window_log_max),
          window_(std::move(limits)),
          context_(ZSTD_createDCtx()) {
        MS_ASSERT(context_ != nullptr);
        ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, window_log_max_);
    }
    ~ZstdDecoder() override { ZSTD_freeDCtx(context_); }
    ZstdDecoder(const ZstdDecoder&) = delete;
    ZstdDecoder& operator=(const ZstdDecoder&) = delete;

    Result<bool> decode_some(Bytes& in, std::string& out, std::size_t out_bytes_max) override {
        if (in.empty() && !output_waits_) {
            return false;
        }
        if (!in_frame_ && !output_waits_ && !may_begin_frame(in.front())) {
            return Error(
                ErrorCode::kInvalidArgument,
                fmt::format("malformed zstd content: no frame begins with the byte {:#04x}",
                            std::to_integer<int>(in.front())));
        }
        const auto room = window_.room(out_bytes_max);
        ZSTD_inBuffer input{
            in.data(), header_ended() ? in.size() : std::min<std::size_t>(in.size(), 1), 0};
        ZSTD_outBuffer output{window_.data(), room, 0};
        const auto hint = ZSTD_decompressStream(context_, &output, &input);
        note_progress(in.first(input.pos), output.pos);
        in = in.subspan(input.pos);
        MS_TRY_VOID(window_.take(out, output.pos));
        if (ZSTD_isError(hint) != 0U) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("malformed zstd content: {} (window limit 2^{} bytes)",
                                     ZSTD_getErrorName(hint),
                                     window_log_max_));
        }
        in_frame_ = hint != 0;
        if (!in_frame_) {
            MS_TRY_VOID(end_frame());
            MS_TRY_VOID(members_.add());
        }
        output_waits_ = in_frame_ && output.pos == room;
        return !in.empty() || output_waits_;
    }

    Result<> finish() override {
        if (in_frame_) {
            return Error(ErrorCode::kInvalidArgument, "the zstd content ends in the middle");
        }
        return {};
    }
    std::size_t state_bytes() const override { return kScratchBytes + ZSTD_sizeof_DCtx(context_); }

private:
    /// RFC 8878: a frame, or one to skip. The library may know formats from before it, too, which
    /// it decodes without our limits.
    static bool may_begin_frame(std::byte first) {
        const auto byte = std::to_integer<unsigned>(first);
        return byte == 0x28 || (byte & 0xf0U) == 0x50;
    }

    void note_progress(Bytes in, std::size_t out_bytes) {
        const auto wanted = std::min(in.size(), kFrameHeaderBytesMax - frame_header_.size());
        frame_header_.insert(
            frame_header_.end(), in.begin(), in.begin() + static_cast<std::ptrdiff_t>(wanted));
        frame_bytes_ += out_bytes;
    }
    /// Whether all of the frame's header went in. Until then the library gets a byte at a time: it
    /// decodes a frame that it sees whole with another function, which refuses other malformed
    /// frames, and what we accept must not depend on how a client cuts its body.
    bool header_ended() const {
        return frame_header_.size() == kFrameHeaderBytesMax ||
               ZSTD_getFrameContentSize(frame_header_.data(), frame_header_.size()) !=
                   ZSTD_CONTENTSIZE_ERROR;
    }
    /// The library lets a frame end early with an empty block, if it gets it in pieces.
    Result<> end_frame() {
        const auto said = ZSTD_getFrameContentSize(frame_header_.data(), frame_header_.size());
        const bool good = said == ZSTD_CONTENTSIZE_UNKNOWN || said == frame_bytes_;
        auto ended =
            good ? Result<>()
                 : Error(ErrorCode::kInvalidArgument,
                         fmt::format("malformed zstd content: a frame of {} bytes says that "
                                     "it has {}",
                                     frame_bytes_,
                                     said));
        frame_header_.clear();
        frame_bytes_ = 0;
        return ended;
    }

    static constexpr std::size_t kFrameHeaderBytesMax = 18;  ///< RFC 8878, 3.1.1; magic included.
    int window_log_max_;
    OutputWindow window_;
    MemberCount members_;
    ZSTD_DCtx* context_;
    ByteBuffer frame_header_;        ///< The first bytes of the frame.
    std::uint64_t frame_bytes_ = 0;  ///< Of its content so far.
    bool in_frame_ = false;
    bool output_waits_ = false;
};

class IdentityEncoder final : public StreamEncoder {
public:
    Result<> write(Bytes in, std::string& out) override {
        out.append(as_text(in));
        return {};
    }
    Result<> flush(std::string& /*out*/) override { return {}; }
    Result<> finish(std::string& /*out*/) override { return {}; }
};

class ZlibEncoder final : public StreamEncoder {
public:
    ZlibEncoder(int window_bits, int level) {
        const auto code = ::deflateInit2(
            &stream_, level == 0 ? 4 : level, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
        MS_ASSERT(code == Z_OK);
    }
    ~ZlibEncoder() override { ::deflateEnd(&stream_); }
    ZlibEncoder(const ZlibEncoder&) = delete;
    ZlibEncoder& operator=(const ZlibEncoder&) = delete;

    Result<> write(Bytes in, std::string& out) override {
        constexpr std::size_t kPiece = 1U << 30;
        for (; in.size() > kPiece; in = in.subspan(kPiece)) {
            MS_TRY_VOID(run(in.first(kPiece), Z_NO_FLUSH, out));
        }
        return run(in, Z_NO_FLUSH, out);
    }
    Result<> flush(std::string& out) override { return run({}, Z_SYNC_FLUSH, out); }
    Result<> finish(std::string& out) override { return run({}, Z_FINISH, out); }

private:
    Result<> run(Bytes in, int mode, std::string& out) {
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
        stream_.avail_in = static_cast<uInt>(in.size());
        do {
            const auto room = std::clamp<std::size_t>(stream_.avail_in / 2, 4096, kStepBytes);
            const auto before = out.size();
            out.resize(before + room);
            stream_.next_out = reinterpret_cast<Bytef*>(out.data() + before);
            stream_.avail_out = static_cast<uInt>(room);
            const auto code = ::deflate(&stream_, mode);
            out.resize(before + room - stream_.avail_out);
            if (code == Z_STREAM_ERROR) {
                return Error(ErrorCode::kInternal, "deflate failed");
            }
        } while (stream_.avail_out == 0);
        return {};
    }

    z_stream stream_{};
};

class ZstdEncoder final : public StreamEncoder {
public:
    explicit ZstdEncoder(int level) : context_(ZSTD_createCCtx()) {
        MS_ASSERT(context_ != nullptr);
        ZSTD_CCtx_setParameter(context_, ZSTD_c_compressionLevel, level == 0 ? 1 : level);
    }
    ~ZstdEncoder() override { ZSTD_freeCCtx(context_); }
    ZstdEncoder(const ZstdEncoder&) = delete;
    ZstdEncoder& operator=(const ZstdEncoder&) = delete;

    Result<> write(Bytes in, std::string& out) override { return run(in, ZSTD_e_continue, out); }
    Result<> flush(std::string& out) override { return run({}, ZSTD_e_flush, out); }
    Result<> finish(std::string& out) override { return run({}, ZSTD_e_end, out); }

private:
    Result<> run(Bytes in, ZSTD_EndDirective mode, std::string& out) {
        ZSTD_inBuffer input{in.data(), in.size(), 0};
        while (true) {
            const auto room =
                std::clamp<std::size_t>((input.size - input.pos) / 2, 4096, kStepBytes);
            const auto before = out.size();
            out.resize(before + room);
            ZSTD_outBuffer output{out.data() + before, room, 0};
            const auto left = ZSTD_compressStream2(context_, &output, &input, mode);
            out.resize(before + output.pos);
            if (ZSTD_isError(left) != 0U) {
                return Error(ErrorCode::kInternal,
                             fmt::format("zstd failed: {}", ZSTD_getErrorName(left)));
            }
            if (mode == ZSTD_e_continue ? input.pos == input.size : left == 0) {
                return {};
            }
        }
    }

    ZSTD_CCtx* context_;
};

/// "gzip;q=0.5" → {"gzip", 0.5}. A broken weight counts as 0.
std::pair<std::string_view, double> parse_weighted(std::string_view item) {
    const auto semicolon = item.find(';');
    const auto name = trim_spaces(item.substr(0, semicolon));
    if (semicolon == std::string_view::npos) {
        return {name, 1.0};
    }
    const auto parameter = trim_spaces(item.substr(semicolon + 1));
    double weight = 0;
    if (parameter.size() > 2 && equal_ignoring_case(parameter.substr(0, 2), "q=")) {
        const auto number = parameter.substr(2);
        if (std::from_chars(number.data(), number.data() + number.size(), weight).ec !=
            std::errc{}) {
            weight = 0;
        }
    }
    return {name, weight};
}

}  // namespace

std::string_view to_string(ContentCoding coding) {
    switch (coding) {
        case ContentCoding::kIdentity:
            return "identity";
        case ContentCoding::kGzip:
            return "gzip";
        case ContentCoding::kDeflate:
            return "deflate";
        case ContentCoding::kZstd:
            return "zstd";
        case ContentCoding::kSnappy:
            return "snappy";
    }
    return "identity";
}

Result<ContentCoding> parse_content_coding(std::string_view value) {
    const auto name = trim_spaces(value);
    if (name.empty() || equal_ignoring_case(name, "identity")) {
        return ContentCoding::kIdentity;
    }
    if (equal_ignoring_case(name, "gzip") || equal_ignoring_case(name, "x-gzip")) {
        return ContentCoding::kGzip;
    }
    if (equal_ignoring_case(name, "deflate")) {
        return ContentCoding::kDeflate;
    }
    if (equal_ignoring_case(name, "zstd")) {
        return ContentCoding::kZstd;
    }
    if (equal_ignoring_case(name, "snappy")) {
        return ContentCoding::kSnappy;
    }
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format(
            "the content encoding '{}' is not supported; accepted: {}", name, kAcceptedCodings));
}

ContentCoding content_coding_of_file(std::string_view name) {
    if (name.ends_with(".gz")) {
        return ContentCoding::kGzip;
    }
    if (name.ends_with(".zst") || name.ends_with(".zstd")) {
        return ContentCoding::kZstd;
    }
    return ContentCoding::kIdentity;
}

ContentCoding choose_content_coding(std::string_view accept_encoding) {
    double zstd = -1;
    double gzip = -1;
    double any = 0;
    while (!accept_encoding.empty()) {
        const auto comma = accept_encoding.find(',');
        const auto [name, weight] = parse_weighted(accept_encoding.substr(0, comma));
        if (equal_ignoring_case(name, "zstd")) {
            zstd = weight;
        } else if (equal_ignoring_case(name, "gzip") || equal_ignoring_case(name, "x-gzip")) {
            gzip = weight;
        } else if (name == "*") {
            any = weight;
        }
        accept_encoding = comma == std::string_view::npos ? "" : accept_encoding.substr(comma + 1);
    }
    zstd = zstd < 0 ? any : zstd;
    gzip = gzip < 0 ? any : gzip;
    if (zstd > 0 && zstd >= gzip) {
        return ContentCoding::kZstd;
    }
    return gzip > 0 ? ContentCoding::kGzip : ContentCoding::kIdentity;
}

std::unique_ptr<StreamDecoder> StreamDecoder::make(ContentCoding coding, DecoderLimits limits) {
    MS_ASSERT(coding != ContentCoding::kSnappy);
    switch (coding) {
        case ContentCoding::kIdentity:
        case ContentCoding::kSnappy:
            break;
        case ContentCoding::kGzip:
        case ContentCoding::kDeflate:
            return std::make_unique<ZlibDecoder>(coding, std::move(limits));
        case ContentCoding::kZstd:
            return std::make_unique<ZstdDecoder>(std::move(limits));
    }
    return std::make_unique<IdentityDecoder>(std::move(limits));
}

Result<> StreamDecoder::write(Bytes in, std::string& out) {
    while (true) {
        MS_TRY(const bool more, decode_some(in, out, kStepBytes));
        if (!more) {
            return {};
        }
    }
}

std::unique_ptr<StreamEncoder> StreamEncoder::make(ContentCoding coding, int level) {
    MS_ASSERT(coding != ContentCoding::kSnappy);
    switch (coding) {
        case ContentCoding::kIdentity:
        case ContentCoding::kSnappy:
            break;
        case ContentCoding::kGzip:
            return std::make_unique<ZlibEncoder>(kGzipWindowBits, level);
        case ContentCoding::kDeflate:
            return std::make_unique<ZlibEncoder>(kZlibWindowBits, level);
        case ContentCoding::kZstd:
            return std::make_unique<ZstdEncoder>(level);
    }
    return std::make_unique<IdentityEncoder>();
}

Result<std::string> decompress_all(ContentCoding coding, Bytes in, std::size_t bytes_max) {
    DecoderLimits limits{.bytes_max = bytes_max, .setting = "bytes_max", .zstd_window_log_max = 27};
    const auto decoder = StreamDecoder::make(coding, std::move(limits));
    std::string out;
    MS_TRY_VOID(decoder->write(in, out));
    MS_TRY_VOID(decoder->finish());
    return out;
}

Result<std::string> compress_all(ContentCoding coding, Bytes in, int level) {
    const auto encoder = StreamEncoder::make(coding, level);
    std::string out;
    MS_TRY_VOID(encoder->write(in, out));
    MS_TRY_VOID(encoder->finish(out));
    return out;
}

}  // namespace molesignal
