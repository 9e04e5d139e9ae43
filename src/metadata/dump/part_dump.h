#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/request_context.h"
#include "common/result.h"
#include "metadata/lease.h"
#include "metadata/part_info.h"
#include "model/ids.h"

namespace molesignal {

/// The parts of a stream's day or hour that are listed by an object instead of rows of the
/// catalogue. The sums are those over its parts.
struct PartDump {
    std::string id;  ///< ULID.
    StreamId stream;
    std::string level;      ///< What a partition is: "daily" or "hourly".
    std::string partition;  ///< "2026-11-26" or "2026-11-26T07": when its parts' newest rows were.
    PartObject object;      ///< docs/formats/part_list.md
    std::int64_t parts = 0;
    std::int64_t rows = 0;
    std::int64_t part_bytes = 0;  ///< Of all objects of its parts.
    std::int64_t raw_bytes = 0;
    std::int64_t time_min_us = 0;
    std::int64_t time_max_us = 0;
    std::int64_t first_end_us = 0;  ///< The smallest time_max_us of a part.

    friend bool operator==(const PartDump&, const PartDump&) = default;
};

/// Counts a part into the sums of a dump.
void add_to_dump(PartDump& dump, const PartInfo& part);

struct PartDumpCommit {
    PartDump dump;                   ///< Its id is that of the intent.
    Lease lease;                     ///< Name, holder and epoch as acquired.
    std::vector<std::string> moved;  ///< Ids of the rows that go: the dump has them.
    std::string replaced;  ///< Id of the dump whose parts this one has too, and which goes.
};

/// Which live dumps are wanted: those that fulfil all of it.
struct PartDumpQuery {
    std::optional<StreamId> stream = std::nullopt;
    bool of_deleted_streams = false;  ///< Only those.
    /// With a part whose newest row is older.
    std::int64_t ended_before_us = std::numeric_limits<std::int64_t>::max();
    std::string after = {};  ///< With greater ids.
    std::int64_t dumps_max = std::numeric_limits<std::int32_t>::max();
};

/// The parts of a dump, as they were in the table. `PartInfo::dump` names the dump.
using PartList = std::shared_ptr<const std::vector<PartInfo>>;

/// Reads the parts that dumps list: from a cache, or from the object store. Thread-safe.
class PartDumpReader {
public:
    virtual ~PartDumpReader() = default;
    /// The parts of each dump. kCorruption: an object is missing or not what was written, as the
    /// message says. Errors of the object store; kResourceExhausted: there is no memory for it.
    virtual Result<std::vector<PartList>> read(const RequestContext& context,
                                               std::span<const PartDump> dumps) = 0;
};

/// The verbs of Catalogue about dumps. As there, each is one transaction, and kUnavailable after
/// one that changes something means that it may have happened.
///
/// A dump's intent is that of a compaction with its id: `add_compaction_intent` before the upload,
/// `abandon_compaction_intent` and `remove_compaction_intent` to clean up.
class PartDumpCatalogue {
public:
    virtual ~PartDumpCatalogue() = default;

    /// Who reads dumps from now on. Before other threads use the catalogue. Without, what needs the
    /// parts of a dump is kInternal.
    virtual void use_part_dumps(std::shared_ptr<PartDumpReader> reader) = 0;

    /// Moves parts from the table into a dump: consumes the intent (exactly one row), deletes the
    /// rows of `moved` and the dump `replaced`, adds the dump. The set of parts stays what it is,
    /// and so does the stream's version. If the intent is gone and the dump is known, answers
    /// success: that is how a lost COMMIT answer is resolved.
    ///
    /// kConflict, and nothing happened: the lease was taken or released, the intent is abandoned or
    /// gone, a moved part or the replaced dump is not live any more, the partition has another
    /// dump, the stream is deleted. kInvalidArgument: the dump's sums are not those of what it
    /// replaces, or the intent does not name its object.
    virtual Result<> commit_part_dump(const RequestContext& context,
                                      const PartDumpCommit& commit) = 0;
    /// Brings the parts of a dump back into the table, with the versions that they had; those of a
    /// deleted stream as removed ones. The dump becomes a removed one. Success if somebody else did
    /// it; kNotFound if there is no such dump; errors of the reader.
    virtual Result<> restore_part_dump(const RequestContext& context, std::string_view id) = 0;
    /// By id.
    virtual Result<std::vector<PartDump>> list_part_dumps(const RequestContext& context,
                                                          const PartDumpQuery& query) = 0;
    /// The parts of a dump that a listing or a snapshot gave.
    virtual Result<PartList> read_part_dump(const RequestContext& context,
                                            const PartDump& dump) = 0;
    /// Dumps removed more than `grace_us` ago (database clock) whose objects may go.
    virtual Result<std::vector<PartDump>> list_removed_part_dumps(const RequestContext& context,
                                                                  std::int64_t grace_us,
                                                                  std::int64_t dumps_max) = 0;
    /// Forgets a removed dump whose object is gone.
    virtual Result<> purge_part_dump(const RequestContext& context, std::string_view id) = 0;
};

}  // namespace molesignal
