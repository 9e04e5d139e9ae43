// Catalogue columns that hold more than one value.
#include "fuzz.h"
#include "metadata/row_codec.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    FuzzInput input(data, size);
    switch (input.byte() % 3) {
        case 0: {
            PartInfo part;
            if (decode_statistics(input.rest(), part)) {
                PartInfo again;
                require(decode_statistics(encode_statistics(part), again).has_value(),
                        "statistics come back");
                require(again.fields == part.fields &&
                            again.zone_maps.size() == part.zone_maps.size() &&
                            again.row_groups.size() == part.row_groups.size(),
                        "statistics come back unaltered");
            }
            break;
        }
        case 1:
            if (const auto settings = decode_settings(input.rest())) {
                require(decode_settings(encode_settings(*settings)).has_value(),
                        "settings come back");
            }
            break;
        default:
            if (const auto names = decode_names(input.rest())) {
                const auto again = decode_names(encode_names(*names));
                require(again.has_value() && *again == *names, "names come back");
            }
    }
    return 0;
}
