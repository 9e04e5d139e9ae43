#include "app/text_table.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {

namespace {

/// Columns on the terminal, one for each code point.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::ranges::count_if(
        text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

void append_padded(std::string& out, std::string_view text, std::size_t width, bool right) {
    const std::string padding(width - std::min(width, width_of(text)), ' ');
    out += right ? padding : "";
    out += text;
    out += right ? "" : padding;
}

void end_line(std::string& out) {
    while (out.ends_with(' ')) {
        out.pop_back();
    }
    out += '\n';
}

}  // namespace

std::string escape_for_terminal(std::string_view text) {
    std::string escaped;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const bool is_c1 =
            byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
        if (byte == '\n') {
            escaped += "\\n";
        } else if (byte == '\t') {
            escaped += "\\t";
        } else if (byte < 0x20 || byte == 0x7f) {
            escaped += fmt::format("\\x{:02x}", byte);
        } else if (is_c1) {
            escaped += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));
        } else {
            escaped += text[i];
        }
    }
    return escaped;
}

TextTable::TextTable(std::vector<std::string> header) {
    for (const auto& name : header) {
        header_.push_back(escape_for_terminal(name));
    }
}

void TextTable::add(std::vector<Cell> row) {
    MS_ASSERT(row.size() == header_.size());
    for (auto& cell : row) {
        cell.text = escape_for_terminal(cell.text);
    }
    rows_.push_back(std::move(row));
}

std::string TextTable::render() const {
    std::vector<std::size_t> widths;
    for (const auto& name : header_) {
        widths.push_back(width_of(name));
    }
    for (const auto& row : rows_) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], width_of(row[i].text));
        }
    }
    std::string out;
    for (std::size_t i = 0; i < header_.size(); ++i) {
        out += i == 0 ? "" : "  ";
        append_padded(out, header_[i], widths[i], false);
    }
    end_line(out);
    for (std::size_t i = 0; i < header_.size(); ++i) {
        out += i == 0 ? "" : "  ";
        out += std::string(widths[i], '-');
    }
    end_line(out);
    for (const auto& row : rows_) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            out += i == 0 ? "" : "  ";
            append_padded(out, row[i].text, widths[i], row[i].is_number);
        }
        end_line(out);
    }
    return out;
}

}  // namespace molesignal
