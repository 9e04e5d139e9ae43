// OTLP logs as protobuf.
#include "fuzz.h"
#include "ingest/batch_codec.h"
#include "ingest/otlp_decoder.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    const FuzzInput input(data, size);
    const auto decoded = decode_otlp_logs(input.rest_bytes(),
                                          {.row_bytes_max = 65'536,
                                           .rows_max = 1000,
                                           .fields_max = 50,
                                           .decoded_bytes_max = 32U << 20U},
                                          {.now_ns = 1'700'000'000'000'000'000});
    if (decoded) {
        std::uint64_t rows = 0;
        for (const auto& batch : decoded->batches) {
            rows += batch.rows();
            const auto bytes = joined(encode_batch(batch));
            require(decode_batch(bytes).has_value(), "what was encoded can be decoded");
        }
        require(rows == decoded->accepted, "accepted counts the rows");
    }
    return 0;
}
