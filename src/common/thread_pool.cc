#include "common/thread_pool.h"

#include <system_error>

#include <fmt/format.h>
#include <pthread.h>

namespace molesignal {

ThreadPool::ThreadPool(Options options) : options_(std::move(options)) {}

ThreadPool::~ThreadPool() {
    stop();
}

Result<> ThreadPool::submit(std::function<void()> task) {
    {
        const MutexLock lock(mutex_);
        if (stopping_) {
            return Error(ErrorCode::kUnavailable, fmt::format("{} is stopping", options_.name));
        }
        if (queue_.size() >= options_.queue_tasks_max) {
            return Error(ErrorCode::kResourceExhausted,
                         fmt::format("{} tasks wait for {}, the limit is {} ({})",
                                     queue_.size(),
                                     options_.name,
                                     options_.queue_tasks_max,
                                     options_.setting));
        }
        if (queue_.size() >= idle_ && threads_.size() < options_.threads_max) {
            // With other threads the task only waits longer; without any it would wait for ever.
            if (auto added = add_thread(); !added && threads_.empty()) {
                return added;
            }
        }
        queue_.push_back(std::move(task));
    }
    // Not under the lock, which the woken thread wants first.
    wake_.notify_one();
    return {};
}

Result<> ThreadPool::add_thread() try {
    threads_.reserve(threads_.size() + 1);
    threads_.push_back(options_.start_thread ? options_.start_thread([this] { run(); })
                                             : std::thread([this] { run(); }));
    return {};
} catch (const std::system_error& error) {
    return Error(ErrorCode::kUnavailable,
                 fmt::format("no thread could be started for {}: {}", options_.name, error.what()));
}

void ThreadPool::stop() {
    std::vector<std::thread> threads;
    {
        const MutexLock lock(mutex_);
        stopping_ = true;
        threads.swap(threads_);
    }
    wake_.notify_all();
    for (auto& thread : threads) {
        thread.join();
    }
}

void ThreadPool::run() {
    ::pthread_setname_np(::pthread_self(), options_.name.substr(0, 15).c_str());
    mutex_.lock();
    while (true) {
        if (!queue_.empty()) {
            auto task = std::move(queue_.front());
            queue_.pop_front();
            mutex_.unlock();
            task();
            task = nullptr;
            mutex_.lock();
            continue;
        }
        if (stopping_) {
            break;
        }
        ++idle_;
        wake_.wait(mutex_);
        --idle_;
    }
    mutex_.unlock();
}

}  // namespace molesignal
