#include "config/config.h"

namespace molesignal {

std::string resolve_path(const Config& config, const std::string& path) {
    if (path.starts_with('/')) {
        return path;
    }
    std::string plain = path;
    while (plain.starts_with("./")) {
        plain.erase(0, 2);
    }
    if (plain.empty() || plain == ".") {
        return config.node.data_dir;
    }
    return config.node.data_dir.ends_with('/') ? config.node.data_dir + plain
                                               : config.node.data_dir + "/" + plain;
}

}  // namespace molesignal
