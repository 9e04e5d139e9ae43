// Configuration files.
#include "config/load_config.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    ConfigSources sources;
    sources.file_name = "fuzz.toml";
    sources.file_text = std::string(FuzzInput(data, size).rest());
    if (const auto loaded = load_config(sources)) {
        ConfigSources shown;
        shown.file_name = "shown.toml";
        shown.file_text = show_config(*loaded);
        require(load_config(shown).has_value(), "what is shown can be read");
    }
    return 0;
}
