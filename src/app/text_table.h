#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace molesignal {

/// Columns of text, aligned, for people. Cells are escaped: control characters (which could drive a
/// terminal) become \xNN, newlines \n. Numbers are set to the right.
class TextTable {
public:
    explicit TextTable(std::vector<std::string> header);
    /// One cell for each column; `is_number` sets it to the right.
    struct Cell {
        std::string text;
        bool is_number = false;
    };
    void add(std::vector<Cell> row);
    /// The header, a rule and the rows, each line ended by a newline.
    std::string render() const;

private:
    std::vector<std::string> header_;
    std::vector<std::vector<Cell>> rows_;
};

/// `text` without characters that drive a terminal.
std::string escape_for_terminal(std::string_view text);

}  // namespace molesignal
