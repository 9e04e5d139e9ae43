#pragma once

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "common/result.h"

namespace molesignal {

/// Runs tasks on a bounded number of threads, which are started when first needed.
///
/// Thread-safe. `stop` (also called by the destructor) runs what is queued, then joins.
class ThreadPool {
public:
    struct Options {
        std::string name;  ///< Thread name, at most 15 characters.
        std::size_t threads_max = 1;
        std::size_t queue_tasks_max = 1024;
        std::string setting;  ///< The setting that bounds the queue, for errors.
        /// Starts a thread, or throws std::system_error as std::thread does. Unset: a std::thread.
        std::function<std::thread(std::function<void()>)> start_thread = {};
    };
    explicit ThreadPool(Options options);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// Queues `task`. kResourceExhausted when the queue is full, kUnavailable after stop or if no
    /// thread can be started and none is there; after an error the task never runs. A task must not
    /// throw: an exception ends the process.
    Result<> submit(std::function<void()> task);
    void stop();

private:
    void run();
    /// Adds a thread. kUnavailable: the system refuses.
    Result<> add_thread() MS_REQUIRES(mutex_);

    Options options_;
    Mutex mutex_;
    CondVar wake_;
    std::deque<std::function<void()>> queue_ MS_GUARDED_BY(mutex_);
    std::vector<std::thread> threads_ MS_GUARDED_BY(mutex_);
    std::size_t idle_ MS_GUARDED_BY(mutex_) = 0;
    bool stopping_ MS_GUARDED_BY(mutex_) = false;
};

}  // namespace molesignal
