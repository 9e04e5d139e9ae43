#include "query/sql/index_report.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "query/sql/parts/index_ranges.h"

namespace molesignal {
namespace {

using PartFields = std::map<std::string, std::map<FieldIndexKind, FieldIndexUse>>;

/// The fields of one part, whose index may have several objects; none if it has no index that can
/// be read. An error: the store did not answer.
Result<std::optional<PartFields>> read_part(const RequestContext& context,
                                            ObjectReader& objects,
                                            const StreamSchema& schema,
                                            const PartInfo& part) {
    PartFields fields;
    bool has_index = false;
    for (const auto& object : part.objects) {
        if (object.kind != "index" && object.kind != "values") {
            continue;
        }
        has_index = true;
        const ObjectName name{.key = object.key,
                              .bytes = static_cast<std::uint64_t>(object.bytes),
                              .xxh3 = object.xxh3};
        IndexRanges ranges(objects, context, nullptr, name);
        const auto opened = ranges.open();
        if (!opened) {
            const auto code = opened.error().code();
            if (code == ErrorCode::kCorruption || code == ErrorCode::kNotFound ||
                code == ErrorCode::kInvalidArgument) {
                return std::optional<PartFields>();
            }
            return opened.error();
        }
        for (const auto& field : (*opened)->fields()) {
            const auto variant = std::ranges::find(schema.variants, field.id, &FieldVariant::id);
            if (variant == schema.variants.end()) {
                continue;
            }
            auto& use = fields[variant->name][field.kind];
            use.parts = 1;
            use.distinct = std::max(use.distinct, field.distinct);
            use.bytes += field.bytes();
        }
    }
    return has_index ? std::optional(std::move(fields)) : std::nullopt;
}

}  // namespace

IndexReport report_indexes(const RequestContext& context,
                           ObjectReader& objects,
                           const StreamSchema& schema,
                           std::span<const PartInfo> parts) {
    IndexReport report;
    for (const auto& part : parts) {
        if (!context.check()) {
            break;
        }
        const auto fields = read_part(context, objects, schema, part);
        if (!fields) {
            break;
        }
        ++report.parts;
        if (!fields->has_value()) {
            ++report.parts_without;
            continue;
        }
        for (const auto& [name, uses] : **fields) {
            for (const auto& [kind, use] : uses) {
                auto& sum = report.fields[name][kind];
                sum.parts += use.parts;
                sum.distinct = std::max(sum.distinct, use.distinct);
                sum.bytes += use.bytes;
            }
        }
    }
    return report;
}

}  // namespace molesignal
