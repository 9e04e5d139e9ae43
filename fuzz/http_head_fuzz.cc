// Heads of HTTP messages and what is read out of them.
#include "fuzz.h"
#include "net/compression.h"
#include "net/http_wire.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    const auto text = FuzzInput(data, size).rest();
    if (const auto head = parse_request_head(text)) {
        require(head->method.find_first_of(" \r\n") == std::string::npos, "a method is one word");
        bool has_length = false;
        bool has_transfer = false;
        for (const auto& header : head->headers) {
            require(header.value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos,
                    "a header is one line");
            has_length |= header_has_token({header}, "Content-Length", header.value);
            has_transfer |= header_has_token({header}, "Transfer-Encoding", "chunked");
        }
        require(!(has_length && has_transfer), "a body has one framing");
        HttpRequest request;
        if (split_target(head->target, request)) {
            require(request.path.find('\0') == std::string::npos, "a path has no NUL");
        }
        (void)choose_content_coding(text);
    }
    (void)parse_response_head(text, "GET");
    return 0;
}
