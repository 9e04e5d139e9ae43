#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/hot_chunk.h"

namespace molesignal {

/// Builds one HotChunk for tests, a column at a time. Values are by row; nothing is null.
class ChunkBuilder {
public:
    ChunkBuilder(std::uint64_t first_position, std::vector<std::int64_t> times_ns)
        : store_(std::make_shared<Store>()) {
        store_->times = std::move(times_ns);
        chunk_.first_position = Position{first_position};
        chunk_.rows = static_cast<std::uint32_t>(store_->times.size());
        chunk_.timestamps = store_->times.data();
    }

    ChunkBuilder& fixed(std::string name,
                        FieldType type,
                        const std::vector<std::optional<std::uint64_t>>& values) {
        auto& column = add(std::move(name), type, HotEncoding::kFixed);
        auto& bits = store_->fixed.emplace_back();
        std::vector<bool> present;
        for (const auto& value : values) {
            bits.push_back(value.value_or(0));
            present.push_back(value.has_value());
        }
        column.fixed = bits.data();
        finish(column, present);
        return *this;
    }

    ChunkBuilder& text(std::string name,
                       FieldType type,
                       const std::vector<std::optional<std::string>>& values) {
        auto& column = add(std::move(name), type, HotEncoding::kText);
        auto& spans = store_->spans.emplace_back();
        std::vector<bool> present;
        for (const auto& value : values) {
            spans.push_back(keep(value.value_or("")));
            present.push_back(value.has_value());
        }
        column.spans = spans.data();
        finish(column, present);
        return *this;
    }

    ChunkBuilder& coded(std::string name,
                        const std::vector<std::string>& dictionary,
                        std::vector<std::uint16_t> codes) {
        auto& column = add(std::move(name), FieldType::kString, HotEncoding::kDictionary);
        auto& spans = store_->spans.emplace_back();
        for (const auto& entry : dictionary) {
            spans.push_back(keep(entry));
        }
        column.spans = spans.data();
        column.dictionary_size = static_cast<std::uint32_t>(dictionary.size());
        column.rows = static_cast<std::uint32_t>(codes.size());
        column.codes = store_->codes.emplace_back(std::move(codes)).data();
        return *this;
    }

    HotChunk build() {
        chunk_.owner = store_;
        return chunk_;
    }

private:
    struct Store {
        std::vector<std::int64_t> times;
        std::deque<std::string> texts;
        std::deque<std::vector<std::uint64_t>> fixed;
        std::deque<std::vector<std::uint64_t>> valid;
        std::deque<std::vector<TextSpan>> spans;
        std::deque<std::vector<std::uint16_t>> codes;
    };

    HotColumnView& add(std::string name, FieldType type, HotEncoding encoding) {
        auto& column = chunk_.columns.emplace_back();
        column.name = store_->texts.emplace_back(std::move(name));
        column.type = type;
        column.encoding = encoding;
        return column;
    }
    TextSpan keep(std::string text) {
        const auto& kept = store_->texts.emplace_back(std::move(text));
        return {.data = kept.data(), .size = static_cast<std::uint32_t>(kept.size())};
    }
    void finish(HotColumnView& column, const std::vector<bool>& present) {
        column.rows = static_cast<std::uint32_t>(present.size());
        auto& bits = store_->valid.emplace_back((present.size() + 63) / 64, 0);
        for (std::size_t i = 0; i < present.size(); ++i) {
            bits[i / 64] |= static_cast<std::uint64_t>(present[i]) << (i % 64);
        }
        column.valid = bits.data();
    }

    std::shared_ptr<Store> store_;
    HotChunk chunk_;
};

}  // namespace molesignal
