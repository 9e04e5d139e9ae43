// Times in texts.
#include "fuzz.h"
#include "ingest/timestamp_parser.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    (void)molesignal::time_from_text(molesignal::FuzzInput(data, size).rest());
    return 0;
}
