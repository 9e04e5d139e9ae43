#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/states/recorded_run.h"

namespace molesignal {

/// How far a state of the disk is tried.
enum class StateDepth : std::uint8_t {
    kStart = 1,  ///< Start, read everything.
    kGoOn = 2,   ///< … write, flush, restart, read again; nothing is left over.
    kTwice = 3,  ///< … with power cuts during all of that, each tried with kStart.
};

struct StateVerdict {
    std::vector<std::string> faults;  ///< Empty: all is well.
    std::uint64_t states = 1;         ///< How many were started, this one included.
};

/// Starts a database on a copy of `disk`, whose client knows `ledger`, and says what is wrong.
StateVerdict check_state(const CrashFs& disk,
                         const RowLedger& ledger,
                         std::uint64_t seed,
                         StateDepth depth);

}  // namespace molesignal
