// What the kernel does to calls: it cuts them short, interrupts them and refuses descriptors.
#include "io/posix_fs.h"

#include <atomic>
#include <csignal>
#include <thread>

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

/// A limit of this process, until the end of the scope.
class LimitedResource {
public:
    LimitedResource(decltype(RLIMIT_FSIZE) resource, rlim_t limit) : resource_(resource) {
        ::getrlimit(resource_, &before_);
        auto limited = before_;
        limited.rlim_cur = limit;
        ::setrlimit(resource_, &limited);
    }
    ~LimitedResource() { ::setrlimit(resource_, &before_); }
    LimitedResource(const LimitedResource&) = delete;
    LimitedResource& operator=(const LimitedResource&) = delete;

private:
    decltype(RLIMIT_FSIZE) resource_;
    rlimit before_{};
};

/// A signal that interrupts system calls and does nothing else.
void interrupt_by(int signal) {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(signal, &action, nullptr);  // Without SA_RESTART.
}

TEST(PosixFile, AShortWriteGoesOnAndItsErrorIsTold) {
    const TemporaryDirectory directory;
    PosixFs fs;
    const auto file = fs.open(directory.path() + "/f", OpenMode::kCreateNew).value();
    std::signal(SIGXFSZ, SIG_IGN);
    constexpr std::size_t kLimit = 5000;
    const ByteBuffer data(8192, std::byte{1});
    {
        // The kernel writes up to the limit, says so, and refuses the rest.
        const LimitedResource limited(RLIMIT_FSIZE, kLimit);
        const auto written = file->write_at(0, data);
        ASSERT_FALSE(written);
        EXPECT_EQ(written.error().code(), ErrorCode::kResourceExhausted);
        EXPECT_NE(written.error().message().find("/f: "), std::string::npos)
            << written.error().message();
    }
    EXPECT_EQ(file->size().value(), kLimit);
    ASSERT_TRUE(file->write_at(0, data));
    EXPECT_EQ(file->size().value(), data.size());
    EXPECT_TRUE(file->close());
}

TEST(PosixFile, NoDescriptorLeftIsALackThatPasses) {
    const TemporaryDirectory directory;
    PosixFs fs;
    ASSERT_TRUE(fs.open(directory.path() + "/f", OpenMode::kCreateNew).value()->close());
    {
        const LimitedResource limited(RLIMIT_NOFILE, 0);
        const auto opened = fs.open(directory.path() + "/f", OpenMode::kRead);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code(), ErrorCode::kResourceExhausted);
        EXPECT_FALSE(fs.list(directory.path()));
        EXPECT_FALSE(fs.sync_directory(directory.path()));
    }
    EXPECT_TRUE(fs.open(directory.path() + "/f", OpenMode::kRead));
}

TEST(PosixFile, AnInterruptedCallIsMadeAgain) {
    const TemporaryDirectory directory;
    PosixFs fs;
    const auto path = directory.path() + "/pipe";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    interrupt_by(SIGUSR1);
    std::atomic<bool> begun = false;
    std::atomic<bool> opened = false;
    std::thread reader([&] {
        begun = true;
        // Waits for somebody to write to the pipe; each signal interrupts it.
        opened = fs.open(path, OpenMode::kRead).has_value();
    });
    while (!begun) {
        std::this_thread::yield();
    }
    for (int i = 0; i < 1000; ++i) {
        ::pthread_kill(reader.native_handle(), SIGUSR1);
        std::this_thread::yield();
    }
    EXPECT_FALSE(opened);
    const auto writer = fs.open(path, OpenMode::kReadWrite);
    reader.join();
    EXPECT_TRUE(writer);
    EXPECT_TRUE(opened);
}

}  // namespace
}  // namespace molesignal
