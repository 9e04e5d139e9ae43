#include "metadata/part_key.h"

#include <chrono>

#include <fmt/format.h>

namespace molesignal {

std::string part_object_key(const StreamInfo& stream,
                            std::int64_t newest_time_ns,
                            std::string_view ulid) {
    const auto day = std::chrono::floor<std::chrono::days>(
        std::chrono::sys_time<std::chrono::nanoseconds>(std::chrono::nanoseconds(newest_time_ns)));
    const std::chrono::year_month_day date(day);
    return fmt::format("{}/{}/{}/{:04}/{:02}/{:02}/{}.parquet",
                       stream.org.value,
                       stream_type_name(stream.type),
                       stream.id.value,
                       static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()),
                       static_cast<unsigned>(date.day()),
                       ulid);
}

std::string id_pack_object_key(const StreamInfo& stream, std::string_view ulid) {
    return fmt::format("{}/{}/{}/ids/{}.ids",
                       stream.org.value,
                       stream_type_name(stream.type),
                       stream.id.value,
                       ulid);
}

std::string index_object_key(std::string_view part_key, std::size_t number) {
    const auto stem = part_key.substr(0, part_key.rfind('.'));
    return number == 0 ? fmt::format("{}.idx", stem) : fmt::format("{}-{}.idx", stem, number);
}

std::string part_list_key(const StreamInfo& stream,
                          std::string_view partition,
                          std::string_view ulid) {
    return fmt::format("{}/_parquet_file_meta_dump/{}/{}/{}/{}.parquet",
                       stream.org.value,
                       stream_type_name(stream.type),
                       stream.id.value,
                       partition,
                       ulid);
}

}  // namespace molesignal
