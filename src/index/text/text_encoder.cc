#include "index/text/text_encoder.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include <xxhash.h>

#include "common/assert.h"
#include "index/coding.h"
#include "index/sidecar_format.h"
#include "index/text/term_entry.h"
#include "index/text/term_patterns.h"

namespace molesignal {
namespace {

constexpr std::size_t kDictionaryBlockBytes = 4096;
/// Row numbers that are scattered at a time: what bounds the memory of postings.
constexpr std::uint64_t kBatchPostings = 4U << 20U;
/// Shorter lists cost as much as the words "the same list as".
constexpr std::size_t kSharedListBytesMin = 9;
constexpr std::size_t kSharedListsMax = 1U << 16U;

/// Letters whose lower case is an ASCII letter: U+0130, U+017F, U+212A.
bool has_odd_case(std::string_view term) {
    return term.find("\xc4\xb0") != std::string_view::npos ||
           term.find("\xc5\xbf") != std::string_view::npos ||
           term.find("\xe2\x84\xaa") != std::string_view::npos;
}

/// Writes dictionary blocks and their index.
class DictionaryWriter {
public:
    DictionaryWriter(ByteBuffer& blocks, ByteBuffer& index) : blocks_(blocks), index_(index) {}
    /// `postings_bytes`: so long are the postings without the lists of this term.
    void add(std::string_view term, const TermEntry& entry, std::uint64_t postings_bytes) {
        if (previous_.empty()) {
            append_text(index_, term);
            append_varint(index_, postings_bytes - lists_begin_);
            lists_begin_ = postings_bytes;
        }
        append_term(blocks_, term, entry, previous_);
        if (blocks_.size() - block_begin_ >= kDictionaryBlockBytes) {
            end_block();
        }
    }
    void end_block() {
        if (!previous_.empty()) {
            append_varint(index_, blocks_.size() - block_begin_);
            block_begin_ = blocks_.size();
            previous_.clear();
        }
    }

private:
    ByteBuffer& blocks_;
    ByteBuffer& index_;
    std::size_t block_begin_ = 0;
    std::uint64_t lists_begin_ = 0;
    std::string previous_;
};

class TermEncoder {
public:
    TermEncoder(const TermTable& table, const RowTerms& row_terms, std::uint32_t rows)
        : row_terms_(row_terms), terms_(table.sorted_terms()), term_ids_(table.size()) {
        std::vector<std::uint32_t> row_counts(term_ids_);
        for (const auto& term : terms_) {
            row_counts[term.id] = term.rows;
        }
        patterns_ = find_patterns(row_terms, row_counts, rows);
    }

    EncodedTerms encode() && {
        write_patterns();
        DictionaryWriter dictionary(encoded_.dictionary, encoded_.dictionary_index);
        for (std::size_t begin = 0; begin < terms_.size();) {
            const auto end = collect_rows(begin);
            for (auto i = begin; i < end; ++i) {
                const auto lists_begin = encoded_.postings.size();
                dictionary.add(terms_[i].text, write_rows(i), lists_begin);
                encoded_.odd_case = encoded_.odd_case || has_odd_case(terms_[i].text);
                encoded_.tokens += terms_[i].text > kLongRowsTerm ? 1 : 0;
            }
            begin = end;
        }
        dictionary.end_block();
        encoded_.terms = terms_.size();
        return std::move(encoded_);
    }

private:
    std::uint16_t common_place(std::size_t term) const { return patterns_.common[terms_[term].id]; }
    bool is_common(std::size_t term) const {
        return common_place(term) != TermPatterns::kNotCommon;
    }

    /// The row set of each pattern, and for each common term its patterns.
    void write_patterns() {
        std::size_t common_terms = 0;
        for (const auto place : patterns_.common) {
            if (place != TermPatterns::kNotCommon) {
                common_terms = std::max<std::size_t>(common_terms, place + std::size_t{1});
            }
        }
        patterns_of_.resize(common_terms);
        encoded_.patterns = patterns_.terms.size();
        for (std::uint32_t pattern = 0; pattern < patterns_.terms.size(); ++pattern) {
            const auto begin = patterns_.row_begin[pattern];
            const auto end = patterns_.row_begin[pattern + 1];
            const auto before = encoded_.postings.size();
            append_ascending(encoded_.postings,
                             std::span(patterns_.rows).subspan(begin, end - begin));
            append_varint(encoded_.pattern_index, end - begin);
            append_varint(encoded_.pattern_index, encoded_.postings.size() - before);
            for (const auto place : patterns_.terms[pattern]) {
                patterns_of_[place].push_back(pattern);
            }
        }
        write_sequences(common_terms);
        patterns_.rows = {};
        patterns_.terms = {};
        patterns_.sequences = {};
    }

    /// The common tokens by their bytes, then the order in which each pattern has them.
    void write_sequences(std::size_t common_terms) {
        if (patterns_.sequences.empty()) {
            return;
        }
        std::vector<std::uint64_t> number_of(common_terms);
        std::vector<std::string_view> words;
        for (std::size_t i = 0; i < terms_.size(); ++i) {
            if (is_common(i) && terms_[i].id >= kSpecialTerms) {
                number_of[common_place(i)] = words.size();
                words.push_back(terms_[i].text);
            }
        }
        auto& out = encoded_.sequences;
        append_varint(out, words.size());
        for (const auto word : words) {
            append_text(out, word);
        }
        for (const auto& sequence : patterns_.sequences) {
            append_varint(out, sequence.size());
            for (const auto item : sequence) {
                append_varint(
                    out,
                    item < TermPatterns::kFirstPlace
                        ? item
                        : TermPatterns::kFirstPlace + number_of[item - TermPatterns::kFirstPlace]);
            }
        }
    }

    /// Gathers the rows of the terms from `begin` on that are not common, as many as a batch takes;
    /// returns their end.
    std::size_t collect_rows(std::size_t begin) {
        std::uint64_t postings = 0;
        batch_begin_ = begin;
        next_.assign(term_ids_, kNotInBatch);
        offsets_.clear();
        auto end = begin;
        for (; end < terms_.size(); ++end) {
            const auto count = is_common(end) ? 0 : terms_[end].rows;
            if (postings > 0 && postings + count > kBatchPostings) {
                break;
            }
            offsets_.push_back(static_cast<std::uint32_t>(postings));
            if (count > 0) {
                next_[terms_[end].id] = static_cast<std::uint32_t>(postings);
            }
            postings += count;
        }
        rows_.resize(postings);
        auto* next = next_.data();
        auto* rows = rows_.data();
        row_terms_.for_each(
            [=](std::uint32_t row, std::uint32_t id) {
                if (next[id] != kNotInBatch) {
                    rows[next[id]++] = row;
                }
            },
            [](std::uint32_t) { return true; });
        return end;
    }

    TermEntry write_rows(std::size_t term) {
        TermEntry entry{.rows = terms_[term].rows};
        const auto before = encoded_.postings.size();
        if (is_common(term)) {
            const auto& numbers = patterns_of_[common_place(term)];
            append_ascending(encoded_.postings, numbers);
            entry.form = RowsForm::kPatterns;
            entry.patterns = numbers.size();
            entry.bytes = encoded_.postings.size() - before;
            return entry;
        }
        const auto rows = std::span(rows_).subspan(offsets_[term - batch_begin_], entry.rows);
        if (entry.rows == 1) {
            entry.row = rows[0];
            return entry;
        }
        append_ascending(encoded_.postings, rows);
        entry.form = RowsForm::kOwnList;
        entry.bytes = encoded_.postings.size() - before;
        share_list(before, entry);
        return entry;
    }

    /// Drops the list that was just written if another term has the same.
    void share_list(std::size_t offset, TermEntry& entry) {
        if (entry.bytes < kSharedListBytesMin) {
            return;
        }
        const auto list = Bytes(encoded_.postings).subspan(offset);
        const auto hash = XXH3_64bits(list.data(), list.size());
        const auto found = lists_.find(hash);
        if (found != lists_.end()) {
            const auto& other = found->second;
            if (other.rows == entry.rows && other.bytes == entry.bytes &&
                as_text(Bytes(encoded_.postings).subspan(other.offset, other.bytes)) ==
                    as_text(list)) {
                entry.form = RowsForm::kSameList;
                entry.offset = other.offset;
                encoded_.postings.resize(offset);
            }
        } else if (lists_.size() < kSharedListsMax) {
            lists_.emplace(hash, List{offset, entry.bytes, entry.rows});
        }
    }

    static constexpr std::uint32_t kNotInBatch = UINT32_MAX;
    struct List {
        std::uint64_t offset = 0;
        std::uint64_t bytes = 0;
        std::uint64_t rows = 0;
    };
    const RowTerms& row_terms_;
    std::vector<TermTable::Term> terms_;
    std::size_t term_ids_;
    TermPatterns patterns_;
    std::vector<std::vector<std::uint32_t>> patterns_of_;  ///< By common term.
    EncodedTerms encoded_;
    std::unordered_map<std::uint64_t, List> lists_;
    // One batch of terms.
    std::size_t batch_begin_ = 0;
    std::vector<std::uint32_t> next_;     ///< By term id: where its next row goes.
    std::vector<std::uint32_t> offsets_;  ///< Where the rows of each term begin.
    std::vector<std::uint32_t> rows_;
};

}  // namespace

EncodedTerms encode_terms(const TermTable& table, const RowTerms& row_terms, std::uint32_t rows) {
    return TermEncoder(table, row_terms, rows).encode();
}

std::size_t text_encoder_bytes(std::uint64_t terms, std::uint64_t row_terms, std::uint32_t rows) {
    // Terms with their texts; a batch of postings; sets and place of each row; encoded lists.
    return terms * (sizeof(TermTable::Term) + 12) +
           std::min(row_terms, kBatchPostings) * sizeof(std::uint32_t) + std::size_t{rows} * 12 +
           row_terms / 2;
}

}  // namespace molesignal
