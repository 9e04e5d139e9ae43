#include "compaction/part_merge.h"

#include <algorithm>
#include <map>
#include <queue>

#include "common/assert.h"
#include "compaction/part_input.h"

namespace molesignal {
namespace {

/// A row group that has so many bytes of texts ends: a column of it is in memory at once.
constexpr std::uint64_t kGroupTextBytesMax = 128U << 20U;
/// Texts of a decoded row group are counted row by row if they are larger than that.
constexpr std::uint64_t kLargeGroupBytes = 16U << 20U;

/// "service" of "service, _timestamp desc"; empty without one.
std::string sort_field_of(const std::string& sort_order) {
    const auto comma = sort_order.rfind(", _timestamp desc");
    return comma == std::string::npos ? std::string() : sort_order.substr(0, comma);
}

/// The field that most rows are sorted by.
std::string choose_sort_field(std::span<const PartInfo> parts) {
    std::map<std::string, std::int64_t> rows;
    for (const auto& part : parts) {
        rows[sort_field_of(part.sort_order)] += part.rows;
    }
    const auto most = std::ranges::max_element(
        rows, [](const auto& a, const auto& b) { return a.second < b.second; });
    return most->first;
}

/// A decoded row group whose rows come out from the newest to the oldest.
class OpenGroup {
public:
    explicit OpenGroup(std::vector<PartChunk> chunks) : chunks_(std::move(chunks)) {
        for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            const auto& rows = chunks_[chunk].rows;
            for (std::uint32_t row = 0; row < rows.rows; ++row) {
                order_.push_back(
                    {.time_ns = rows.timestamps[row], .ref = RowRef::make(chunk, row)});
            }
        }
        std::ranges::sort(order_, [](const TimedRow& a, const TimedRow& b) {
            return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.ref.value < b.ref.value;
        });
        count_texts();
    }

    const std::vector<PartChunk>& chunks() const { return chunks_; }
    bool at_end() const { return next_ == order_.size(); }
    std::int64_t time_ns() const { return order_[next_].time_ns; }
    RowRef take() { return order_[next_++].ref; }
    std::uint64_t text_bytes(RowRef ref) const {
        return row_texts_.empty() ? mean_texts_ : row_texts_[ref.chunk()][ref.row()];
    }

private:
    struct TimedRow {
        std::int64_t time_ns = 0;
        RowRef ref;
    };

    template <class Visit>
    void visit_texts(std::size_t chunk, const Visit& visit) const {
        for (const auto& view : chunks_[chunk].rows.columns) {
            if (!is_variable_width(view.type)) {
                continue;
            }
            for (std::uint32_t row = 0; row < view.rows; ++row) {
                if (const auto slot = view.slot(row); slot != HotColumnView::kNoSlot) {
                    visit(row, view.text(slot).size());
                }
            }
        }
    }

    void count_texts() {
        std::uint64_t bytes = 0;
        for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            visit_texts(chunk, [&](std::uint32_t, std::size_t size) { bytes += size; });
        }
        mean_texts_ = bytes / std::max<std::size_t>(1, order_.size());
        if (bytes <= kLargeGroupBytes) {
            return;
        }
        for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            auto& sizes = row_texts_.emplace_back(chunks_[chunk].rows.rows, 0);
            visit_texts(chunk, [&](std::uint32_t row, std::size_t size) { sizes[row] += size; });
        }
    }

    std::vector<PartChunk> chunks_;
    std::vector<TimedRow> order_;
    std::size_t next_ = 0;
    std::uint64_t mean_texts_ = 0;
    std::vector<std::vector<std::uint64_t>> row_texts_;  ///< Only of groups with large texts.
};

/// A row of one of the open groups.
struct GroupRow {
    std::uint32_t group = 0;  ///< Index of the open group.
    RowRef ref;
};

/// Puts rows, which come newest first, into the order of a row group.
class ServiceSort {
public:
    explicit ServiceSort(const std::string& field) : field_(field) {}

    /// `chunks` by RowRef.
    void sort(std::span<const PartChunk> chunks, std::vector<RowRef>& rows) const {
        if (field_.empty()) {
            return;
        }
        std::vector<const HotColumnView*> views;
        for (const auto& chunk : chunks) {
            views.push_back(chunk.rows.find(field_, FieldType::kString));
        }
        // Values are numbered as they come, from 1; 0 is for rows without one. An ordered map: who
        // sends the values cannot make it slow.
        std::map<std::string_view, std::uint32_t> numbers;
        std::vector<std::uint32_t> number(rows.size(), 0);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto* view = views[rows[i].chunk()];
            const auto slot = view == nullptr ? HotColumnView::kNoSlot : view->slot(rows[i].row());
            if (slot != HotColumnView::kNoSlot) {
                const auto next = static_cast<std::uint32_t>(numbers.size() + 1);
                number[i] = numbers.try_emplace(view->text(slot), next).first->second;
            }
        }
        std::vector<std::uint32_t> rank(numbers.size() + 1, 0);
        std::uint32_t next_rank = 1;
        for (const auto& [value, its_number] : numbers) {
            rank[its_number] = next_rank++;
        }
        // A counting sort keeps the order of time within each service.
        std::vector<std::size_t> starts(numbers.size() + 2, 0);
        for (const auto value : number) {
            ++starts[rank[value] + 1];
        }
        for (std::size_t i = 1; i < starts.size(); ++i) {
            starts[i] += starts[i - 1];
        }
        std::vector<RowRef> ordered(rows.size());
        for (std::size_t i = 0; i < rows.size(); ++i) {
            ordered[starts[rank[number[i]]]++] = rows[i];
        }
        rows = std::move(ordered);
    }

private:
    const std::string& field_;
};

/// Takes the rows of all inputs from the newest to the oldest, opening a row group when a row of it
/// may be next.
class TimeMerge {
public:
    explicit TimeMerge(std::vector<PartInput>& inputs) : inputs_(inputs) {}

    /// The next rows, newest first: `rows_max`, fewer if their texts are large; none at the end.
    Result<std::vector<GroupRow>> take(std::uint64_t rows_max) {
        std::vector<GroupRow> rows;
        std::uint64_t text_bytes = 0;
        while (rows.size() < rows_max && text_bytes < kGroupTextBytesMax) {
            MS_TRY_VOID(open_groups());
            if (heads_.empty()) {
                break;
            }
            const auto head = heads_.top();
            heads_.pop();
            auto& group = groups_[head.group];
            const auto ref = group->take();
            text_bytes += group->text_bytes(ref);
            rows.push_back({.group = head.group, .ref = ref});
            if (!group->at_end()) {
                heads_.push({.time_ns = group->time_ns(), .group = head.group});
            }
        }
        return rows;
    }

    /// The chunks of all open groups; `bases` becomes the index of each group's first.
    std::vector<PartChunk> chunks(std::vector<std::size_t>& bases) const {
        std::vector<PartChunk> all;
        bases.assign(groups_.size(), 0);
        for (std::size_t i = 0; i < groups_.size(); ++i) {
            bases[i] = all.size();
            if (groups_[i] != nullptr) {
                all.insert(all.end(), groups_[i]->chunks().begin(), groups_[i]->chunks().end());
            }
        }
        return all;
    }

    /// Lets go of groups whose rows have all been taken and written.
    void close_finished() {
        for (std::uint32_t i = 0; i < groups_.size(); ++i) {
            if (groups_[i] != nullptr && groups_[i]->at_end()) {
                groups_[i].reset();
                free_.push_back(i);
            }
        }
    }

private:
    struct Head {
        std::int64_t time_ns = 0;
        std::uint32_t group = 0;
        bool operator<(const Head& other) const {
            return time_ns != other.time_ns ? time_ns < other.time_ns : group > other.group;
        }
    };

    /// After it no row of a group that is not open is newer than the newest of the open ones.
    Result<> open_groups() {
        while (true) {
            if (!is_pending_known_) {
                find_pending();
            }
            if (pending_ == nullptr ||
                (!heads_.empty() && heads_.top().time_ns > pending_time_ns_)) {
                return {};
            }
            MS_TRY(auto chunks, pending_->read_next());
            is_pending_known_ = false;
            auto group = std::make_unique<OpenGroup>(std::move(chunks));
            if (group->at_end()) {
                continue;
            }
            auto place = static_cast<std::uint32_t>(groups_.size());
            if (free_.empty()) {
                groups_.push_back(nullptr);
            } else {
                place = free_.back();
                free_.pop_back();
            }
            heads_.push({.time_ns = group->time_ns(), .group = place});
            groups_[place] = std::move(group);
        }
    }

    void find_pending() {
        is_pending_known_ = true;
        pending_ = nullptr;
        for (auto& input : inputs_) {
            if (!input.at_end() &&
                (pending_ == nullptr || input.next_time_max_ns() > pending_time_ns_)) {
                pending_ = &input;
                pending_time_ns_ = input.next_time_max_ns();
            }
        }
    }

    std::vector<PartInput>& inputs_;
    std::vector<std::unique_ptr<OpenGroup>> groups_;
    std::vector<std::uint32_t> free_;
    std::priority_queue<Head> heads_;
    bool is_pending_known_ = false;
    PartInput* pending_ = nullptr;  ///< Has the newest row group that is not open.
    std::int64_t pending_time_ns_ = 0;
};

/// The columns of all inputs. A column has dictionaries if those with most of the rows have.
std::vector<PartFileColumn> merged_columns(std::vector<PartInput>& inputs) {
    std::map<std::int32_t, PartFileColumn> columns;
    std::map<std::int32_t, std::int64_t> coded_rows;
    std::map<std::int32_t, std::int64_t> rows;
    for (auto& input : inputs) {
        for (const auto& column : input.reader().columns()) {
            columns.try_emplace(column.id.value, column);
            rows[column.id.value] += input.part().rows;
            coded_rows[column.id.value] += column.coded ? input.part().rows : 0;
        }
    }
    std::vector<PartFileColumn> merged;
    for (auto& [id, column] : columns) {
        column.coded = coded_rows[id] * 2 >= rows[id];
        merged.push_back(std::move(column));
    }
    return merged;
}

std::uint64_t bytes_read(const std::vector<PartInput>& inputs) {
    std::uint64_t bytes = 0;
    for (const auto& input : inputs) {
        bytes += input.bytes_read();
    }
    return bytes;
}

}  // namespace

std::uint64_t merge_bytes(std::span<const PartInfo> parts) {
    // Two row groups of each part are open while the merge goes from one to the next.
    struct Edge {
        std::int64_t time_us = 0;
        bool is_end = false;
        std::uint64_t bytes = 0;
    };
    std::vector<Edge> edges;
    for (const auto& part : parts) {
        std::int64_t largest = part.row_groups.empty() ? part.rows : 0;
        for (const auto& group : part.row_groups) {
            largest = std::max(largest, group.rows);
        }
        const auto rows = std::max<std::int64_t>(1, part.rows);
        const auto bytes = static_cast<std::uint64_t>(
            static_cast<double>(std::max(part.raw_bytes, part.rows * 64)) *
            static_cast<double>(std::min(2 * largest, rows)) / static_cast<double>(rows));
        edges.push_back({.time_us = part.time_min_us, .is_end = false, .bytes = bytes});
        edges.push_back({.time_us = part.time_max_us, .is_end = true, .bytes = bytes});
    }
    std::ranges::sort(edges, [](const Edge& a, const Edge& b) {
        return a.time_us != b.time_us ? a.time_us < b.time_us : a.is_end < b.is_end;
    });
    std::uint64_t now = 0;
    std::uint64_t most = 0;
    for (const auto& edge : edges) {
        now = edge.is_end ? now - edge.bytes : now + edge.bytes;
        most = std::max(most, now);
    }
    return most;
}

Result<MergedPart> merge_parts(const RequestContext& context,
                               ObjectStore& objects,
                               const PartMerge& merge,
                               File& out,
                               const Pace& pace,
                               const std::shared_ptr<MemoryBudget>& memory) {
    MS_ASSERT(!merge.parts.empty());
    std::vector<PartInput> inputs;
    for (const auto& part : merge.parts) {
        MS_TRY(auto input, PartInput::open(context, objects, part, merge.schema, memory));
        inputs.push_back(std::move(input));
    }
    const auto sort_field = choose_sort_field(merge.parts);
    MS_TRY(const auto writer,
           MergedPartWriter::open(out, merged_columns(inputs), sort_field, merge.writer, memory));
    const ServiceSort services(sort_field);
    TimeMerge rows_by_time(inputs);
    std::uint64_t paced = 0;
    while (true) {
        MS_TRY_VOID(context.check());
        MS_TRY(const auto taken, rows_by_time.take(merge.writer.rows_per_group));
        if (taken.empty()) {
            break;
        }
        std::vector<std::size_t> bases;
        const auto chunks = rows_by_time.chunks(bases);
        std::vector<RowRef> rows;
        rows.reserve(taken.size());
        for (const auto& row : taken) {
            rows.push_back(RowRef::make(bases[row.group] + row.ref.chunk(), row.ref.row()));
        }
        services.sort(chunks, rows);
        MS_TRY_VOID(writer->write_group(chunks, rows));
        rows_by_time.close_finished();
        const auto done = bytes_read(inputs) + writer->bytes_written();
        MS_TRY_VOID(pace(done - paced));
        paced = done;
    }
    for (auto& input : inputs) {
        MS_TRY_VOID(input.verify());
    }
    return writer->finish();
}

}  // namespace molesignal
