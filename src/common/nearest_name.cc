#include "common/nearest_name.h"

#include <algorithm>

namespace molesignal {

namespace {
constexpr std::size_t kNameBytesMax = 256;

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before_last(b.size() + 1);
    std::vector<std::size_t> last(b.size() + 1);
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) {
        last[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const bool same = lower(a[i - 1]) == lower(b[j - 1]);
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0U : 1U)});
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1])) {
                row[j] = std::min(row[j], before_last[j - 2] + 1);
            }
        }
        before_last.swap(last);
        last.swap(row);
    }
    return last[b.size()];
}

std::optional<std::string_view> nearest_name(std::string_view wrong,
                                             const std::vector<std::string_view>& known) {
    if (wrong.empty() || wrong.size() > kNameBytesMax) {
        return std::nullopt;
    }
    std::optional<std::string_view> nearest;
    std::size_t distance_max = std::max<std::size_t>(1, wrong.size() / 3);
    for (const auto name : known) {
        if (name.size() > kNameBytesMax) {
            continue;
        }
        const auto distance = edit_distance(wrong, name);
        if (distance <= distance_max && (!nearest || distance < distance_max)) {
            nearest = name;
            distance_max = distance;
        }
    }
    return nearest;
}

std::vector<std::string> nearest_names(std::string_view wrong,
                                       const std::vector<std::string>& names) {
    constexpr std::size_t kNamesMax = 3;
    constexpr std::size_t kStepsMax = 4'000'000;
    if (wrong.size() > kNameBytesMax) {
        return {};
    }
    std::vector<std::pair<std::size_t, std::string_view>> near;
    std::size_t steps = 0;
    for (const auto& name : names) {
        // Half of the letters may differ; names whose length says more are not compared.
        const auto distance_max = std::max(wrong.size(), name.size()) / 2;
        const auto longer = std::max(wrong.size(), name.size());
        if (longer - std::min(wrong.size(), name.size()) > distance_max ||
            name.size() > kNameBytesMax) {
            continue;
        }
        steps += wrong.size() * name.size();
        if (steps > kStepsMax) {
            break;
        }
        if (const auto distance = edit_distance(wrong, name); distance <= distance_max) {
            near.emplace_back(distance, name);
        }
    }
    std::ranges::sort(near);
    std::vector<std::string> nearest;
    for (std::size_t i = 0; i < std::min(kNamesMax, near.size()); ++i) {
        nearest.emplace_back(near[i].second);
    }
    return nearest;
}

}  // namespace molesignal
