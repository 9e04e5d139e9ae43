// Small JSON bodies of the API.
#include "api/json_value.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    const auto object = JsonObject::parse(FuzzInput(data, size).rest(), 65'536);
    if (object) {
        (void)object->allow_only({"name", "limit"});
        (void)object->text("name");
        (void)object->integer("limit");
        (void)object->texts("fields");
        (void)object->text_map("types");
        (void)object->is_null("name");
        if (const auto inner = object->object("time_range"); inner && inner->has_value()) {
            (void)(*inner)->integer("start");
        }
    }
    return 0;
}
