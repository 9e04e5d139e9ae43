#pragma once

#include <memory>
#include <string>

#include "tests/support/data_driven.h"

namespace molesignal {

/// The store of one process — ingester, SQLite catalogue, object store, retention, SQL engine —
/// under a script's control. Files are in memory and forget at a crash what was not synced; the
/// catalogue is on disk in a folder of its own; time moves only by the script's `pass`.
class StoreScript {
public:
    StoreScript();
    ~StoreScript();

    /// The output of one case of a script (tests/scenario/README.md lists the commands).
    std::string run(const DataCommand& command);

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace molesignal
