// The files of the disk cache: what is read back is what was kept, or nothing.
#include "fuzz.h"
#include "storage/cache/disk_block_format.h"

namespace molesignal {
namespace {

void run(FuzzInput input) {
    const auto block_bytes = std::uint32_t{input.byte()} + 1;
    const std::uint64_t block = input.byte() % 4;
    const auto key_bytes = std::size_t{input.byte()} % 32;
    const auto flip = input.number();
    const auto rest = input.rest();
    const ObjectName object{.key = std::string(rest.substr(0, key_bytes)),
                            .bytes = rest.size() * 3,
                            .xxh3 = rest.size()};
    const DiskBlockName name{.object = &object, .block_bytes = block_bytes, .block = block};
    // The input itself as a file.
    (void)decode_disk_block(name, input.rest_bytes());

    ByteBuffer content(name.content_bytes(), std::byte{1});
    for (std::size_t i = 0; i < content.size() && i < rest.size(); ++i) {
        content[i] = static_cast<std::byte>(rest[i]);
    }
    auto file = encode_disk_block(name, content);
    const auto read = decode_disk_block(name, file);
    require(read && as_text(*read) == as_text(content), "what was kept is read");
    const DiskBlockName other{.object = &object, .block_bytes = block_bytes, .block = block + 1};
    require(!decode_disk_block(other, file), "another block's file is not taken");
    file[flip / 8 % file.size()] ^= static_cast<std::byte>(1U << flip % 8);
    require(!decode_disk_block(name, file), "a flipped bit is found");
}

}  // namespace
}  // namespace molesignal

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    molesignal::run(molesignal::FuzzInput(data, size));
    return 0;
}
