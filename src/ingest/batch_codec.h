#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/bytes.h"
#include "common/result.h"
#include "model/row_batch.h"

namespace molesignal {

/// A batch as the log keeps it (docs/formats/batch.md): small pieces made here between views of the
/// batch's own columns, so that large columns are not copied twice. The batch outlives it.
class EncodedBatch {
public:
    /// The pieces in order; valid as long as this object and the batch.
    std::span<const Bytes> pieces() const { return pieces_; }
    std::uint64_t size_bytes() const;

private:
    friend EncodedBatch encode_batch(const RowBatch& batch);
    std::vector<std::unique_ptr<ByteBuffer>> owned_;
    std::vector<Bytes> pieces_;
};

/// Encodes a finished batch.
EncodedBatch encode_batch(const RowBatch& batch);

/// The batch again. Trusts nothing: sizes are checked against the input before memory is taken.
/// kCorruption if it is not a whole batch of a known version.
Result<RowBatch> decode_batch(Bytes bytes);

}  // namespace molesignal
