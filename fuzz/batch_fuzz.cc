// The encoded batch of the log: what can be decoded is encoded to the same rows again.
#include "fuzz.h"
#include "ingest/batch_codec.h"
#include "storage/memtable.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    const FuzzInput input(data, size);
    const auto batch = decode_batch(input.rest_bytes());
    if (!batch) {
        return 0;
    }
    const auto bytes = joined(encode_batch(*batch));
    const auto again = decode_batch(bytes);
    require(again.has_value(), "what was encoded can be decoded");
    require(again->timestamps == batch->timestamps, "times come back");
    require(again->columns.size() == batch->columns.size(), "columns come back");
    for (std::size_t i = 0; i < batch->columns.size(); ++i) {
        const auto& a = batch->columns[i];
        const auto& b = again->columns[i];
        require(a.name() == b.name() && a.type() == b.type() && a.null_count() == b.null_count() &&
                    a.fixed_values() == b.fixed_values() && a.ends() == b.ends() &&
                    a.text_bytes() == b.text_bytes(),
                "values come back");
    }
    Memtable table(ShardId{1}, Position{0});
    table.append(*batch, 0);
    require(table.rows() == batch->rows(), "the memtable takes all rows");
    return 0;
}
