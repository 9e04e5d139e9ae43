#pragma once

#include <compare>
#include <concepts>
#include <cstdint>
#include <functional>
#include <string>

namespace molesignal {

/// An integer that identifies or measures one kind of thing; two kinds do not mix.
template <class Tag, std::integral Rep = std::uint64_t>
struct StrongId {
    Rep value{};
    friend constexpr auto operator<=>(const StrongId&, const StrongId&) = default;
};

/// A string that identifies one kind of thing; two kinds do not mix.
template <class Tag>
struct StrongName {
    std::string value;
    friend auto operator<=>(const StrongName&, const StrongName&) = default;
};

}  // namespace molesignal

template <class Tag, class Rep>
struct std::hash<molesignal::StrongId<Tag, Rep>> {
    std::size_t operator()(const molesignal::StrongId<Tag, Rep>& id) const {
        return std::hash<Rep>{}(id.value);
    }
};
template <class Tag>
struct std::hash<molesignal::StrongName<Tag>> {
    std::size_t operator()(const molesignal::StrongName<Tag>& name) const {
        return std::hash<std::string>{}(name.value);
    }
};
