// OTLP logs as JSON.
#include "fuzz.h"
#include "ingest/otlp_decoder.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    const FuzzInput input(data, size);
    const auto decoded =
        decode_otlp_logs_json(input.rest(),
                              {.row_bytes_max = 65'536, .rows_max = 1000, .fields_max = 50},
                              {.now_ns = 1'700'000'000'000'000'000});
    if (decoded) {
        std::uint64_t rows = 0;
        for (const auto& batch : decoded->batches) {
            rows += batch.rows();
        }
        require(rows == decoded->accepted, "accepted counts the rows");
    }
    return 0;
}
