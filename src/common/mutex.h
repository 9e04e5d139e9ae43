#pragma once

#include <condition_variable>
#include <mutex>

/// Clang's thread-safety attributes; empty for other compilers, which would warn.
#if defined(__clang__)
#define MS_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define MS_THREAD_ATTRIBUTE(x)
#endif
#define MS_CAPABILITY(x) MS_THREAD_ATTRIBUTE(capability(x))
#define MS_SCOPED_CAPABILITY MS_THREAD_ATTRIBUTE(scoped_lockable)
#define MS_GUARDED_BY(x) MS_THREAD_ATTRIBUTE(guarded_by(x))
#define MS_REQUIRES(...) MS_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define MS_EXCLUDES(...) MS_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define MS_ACQUIRE(...) MS_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define MS_RELEASE(...) MS_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define MS_TRY_ACQUIRE(...) MS_THREAD_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))
#define MS_NO_THREAD_SAFETY_ANALYSIS MS_THREAD_ATTRIBUTE(no_thread_safety_analysis)
#if defined(__clang__)
#define MS_LIFETIMEBOUND [[clang::lifetimebound]]
#else
#define MS_LIFETIMEBOUND
#endif

namespace molesignal {

/// std::mutex with the attributes that let clang check which lock guards what.
class MS_CAPABILITY("mutex") Mutex {
public:
    Mutex() = default;
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    void lock() MS_ACQUIRE() { mutex_.lock(); }
    void unlock() MS_RELEASE() { mutex_.unlock(); }
    bool try_lock() MS_TRY_ACQUIRE(true) { return mutex_.try_lock(); }
    /// The wrapped mutex, for condition variables.
    std::mutex& native() { return mutex_; }

private:
    std::mutex mutex_;
};

/// Holds a Mutex for a scope.
class MS_SCOPED_CAPABILITY MutexLock {
public:
    explicit MutexLock(Mutex& mutex) MS_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
    ~MutexLock() MS_RELEASE() { mutex_.unlock(); }
    MutexLock(const MutexLock&) = delete;
    MutexLock& operator=(const MutexLock&) = delete;

private:
    Mutex& mutex_;
};

/// A condition variable for Mutex. Waits with a deadline go through Clock::wait_until.
class CondVar {
public:
    /// Waits until notified (or spuriously woken). `mutex` is held before and after.
    void wait(Mutex& mutex) MS_REQUIRES(mutex) {
        std::unique_lock<std::mutex> lock(mutex.native(), std::adopt_lock);
        condition_.wait(lock);
        lock.release();
    }
    void notify_one() { condition_.notify_one(); }
    void notify_all() { condition_.notify_all(); }
    /// The wrapped condition variable, for Clock implementations.
    std::condition_variable& native() { return condition_; }

private:
    std::condition_variable condition_;
};

}  // namespace molesignal
