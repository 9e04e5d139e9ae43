#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace molesignal {

/// The 128 bits that stand for a long value.
struct WideKey {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(const WideKey&) const = default;
};

/// A set of keys that only grows: of std::uint64_t, or of WideKey whose bits are already mixed.
/// Open addressing with linear probing; half to a quarter of the places are empty. From 16,384 keys
/// on it is split into 64 tables by the upper bits of the hash, so that one table grows at a time:
/// while it does, it is there twice. Throws std::bad_alloc, and has the keys from before then. For
/// one thread.
template <class Key>
class KeySet {
public:
    void insert(const Key& key) { insert(key, hash_of(key)); }
    /// Faster than one by one: fetches the places of the next keys meanwhile.
    void insert(std::span<const Key> keys) {
        constexpr std::size_t kAhead = 16;
        std::array<std::uint64_t, kAhead> hashes;
        const auto fetch = [&](std::size_t i) {
            hashes[i % kAhead] = hash_of(keys[i]);
            table_of(hashes[i % kAhead]).prefetch(hashes[i % kAhead]);
        };
        for (std::size_t i = 0; i < std::min(kAhead, keys.size()); ++i) {
            fetch(i);
        }
        for (std::size_t i = 0; i < keys.size(); ++i) {
            const auto hash = hashes[i % kAhead];
            if (i + kAhead < keys.size()) {
                fetch(i + kAhead);
            }
            insert(keys[i], hash);
        }
    }

    /// Adds the keys of `other`, which is empty or undefined afterwards.
    void take(KeySet& other) {
        has_empty_key_ = has_empty_key_ || other.has_empty_key_;
        if (tables_ != nullptr && other.tables_ != nullptr) {
            for (std::size_t i = 0; i < kTables; ++i) {
                (*tables_)[i].take((*other.tables_)[i]);
            }
        } else if (tables_ == nullptr &&
                   (other.tables_ != nullptr || other.first_.size() > first_.size())) {
            std::swap(tables_, other.tables_);
            std::swap(first_, other.first_);
            other.for_each([this](const Key& key) { insert(key); });
        } else {
            other.for_each([this](const Key& key) { insert(key); });
        }
    }
    void add(const KeySet& other) {
        has_empty_key_ = has_empty_key_ || other.has_empty_key_;
        other.for_each([this](const Key& key) { insert(key); });
    }

    std::size_t size() const {
        std::size_t size = first_.size() + (has_empty_key_ ? 1 : 0);
        for (std::size_t i = 0; tables_ != nullptr && i < kTables; ++i) {
            size += (*tables_)[i].size();
        }
        return size;
    }

private:
    static constexpr std::size_t kTables = 64;
    static constexpr int kTableBits = 6;
    static constexpr std::size_t kFirstMax = 16'384;

    static std::uint64_t hash_of(const Key& key) {
        if constexpr (std::is_same_v<Key, WideKey>) {
            return key.low;
        } else {
            // The finalizer of MurmurHash3 (public domain): numbers in a row must not be
            // neighbours.
            auto hash = key;
            hash = (hash ^ (hash >> 33U)) * 0xff51afd7ed558ccdULL;
            hash = (hash ^ (hash >> 33U)) * 0xc4ceb9fe1a85ec53ULL;
            return hash ^ (hash >> 33U);
        }
    }

    /// Keys but the empty one, Key{}.
    class Table {
    public:
        std::size_t size() const { return size_; }
        void prefetch(std::uint64_t hash) const {
            if (places_ != nullptr) {
                __builtin_prefetch(&places_[hash & mask_], 1);
            }
        }
        void insert(const Key& key, std::uint64_t hash) {
            if (size_ * 4 >= capacity() * 3) {
                grow();
            }
            put(key, hash);
        }
        void take(Table& other) {
            if (other.size_ > size_) {
                std::swap(*this, other);
            }
            // Not in the order of the places: keys that all belong to one end of this table would
            // pile up behind each other long before it is full enough to grow.
            constexpr std::size_t kStride = 0x9e3779b1;  // Odd: every place comes once.
            for (std::size_t i = 0; i < other.capacity(); ++i) {
                const auto& key = other.places_[i * kStride & other.mask_];
                if (key != Key{}) {
                    insert(key, hash_of(key));
                }
            }
            other = Table();
        }
        template <class Body>
        void for_each(const Body& body) const {
            for (std::size_t i = 0; i < capacity(); ++i) {
                if (places_[i] != Key{}) {
                    body(places_[i]);
                }
            }
        }

    private:
        static constexpr std::size_t kCapacityMin = 4;
        std::size_t capacity() const { return places_ == nullptr ? 0 : mask_ + 1; }
        void put(const Key& key, std::uint64_t hash) {
            auto at = hash & mask_;
            while (places_[at] != Key{}) {
                if (places_[at] == key) {
                    return;
                }
                at = (at + 1) & mask_;
            }
            places_[at] = key;
            ++size_;
        }
        void grow() {
            const auto wanted = std::max(kCapacityMin, capacity() * 2);
            Table grown;
            grown.places_ = std::make_unique<Key[]>(wanted);
            grown.mask_ = wanted - 1;
            for_each([&grown](const Key& key) { grown.put(key, hash_of(key)); });
            std::swap(*this, grown);
        }

        std::unique_ptr<Key[]> places_;
        std::size_t mask_ = 0;  ///< The number of places less one: a power of two.
        std::size_t size_ = 0;
    };

    Table& table_of(std::uint64_t hash) {
        return tables_ == nullptr ? first_ : (*tables_)[hash >> (64 - kTableBits)];
    }

    void insert(const Key& key, std::uint64_t hash) {
        if (key == Key{}) {
            has_empty_key_ = true;
            return;
        }
        table_of(hash).insert(key, hash);
        if (tables_ == nullptr && first_.size() > kFirstMax) {
            split();
        }
    }

    void split() {
        auto tables = std::make_unique<std::array<Table, kTables>>();
        first_.for_each([&tables](const Key& key) {
            const auto hash = hash_of(key);
            (*tables)[hash >> (64 - kTableBits)].insert(key, hash);
        });
        tables_ = std::move(tables);
        first_ = Table();
    }

    template <class Body>
    void for_each(const Body& body) const {
        first_.for_each(body);
        for (std::size_t i = 0; tables_ != nullptr && i < kTables; ++i) {
            (*tables_)[i].for_each(body);
        }
    }

    Table first_;                                         ///< Until the set is split.
    std::unique_ptr<std::array<Table, kTables>> tables_;  ///< By the upper bits of the hash.
    bool has_empty_key_ = false;
};

}  // namespace molesignal
