#include "revolve/parallel_region.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>
#endif

namespace revolve {

namespace {

/// Entry points of the GNU OpenMP runtime, if something else has loaded it (a second runtime would compete with the
/// first for the cores). Names and signatures are part of its stable binary interface.
struct GnuOpenMp {
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
    int (*thread_num)() = nullptr;
    int (*num_threads)() = nullptr;
    int (*in_parallel)() = nullptr;

    bool usable() const noexcept {
        return parallel != nullptr && thread_num != nullptr && num_threads != nullptr &&
               in_parallel != nullptr;
    }
};

#if defined(__linux__)

/// Its threads do not survive a fork, and it waits for them for ever; so a forked child uses threads of its own.
std::atomic<bool> is_forked_child{false};

GnuOpenMp find_gnu_openmp() {
    GnuOpenMp found;
    if (is_forked_child.load()) return found;
    void* library = dlopen("libgomp.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (library == nullptr) return found;
    found.parallel = reinterpret_cast<decltype(found.parallel)>(dlsym(library, "GOMP_parallel"));
    found.thread_num = reinterpret_cast<decltype(found.thread_num)>(dlsym(library, "omp_get_thread_num"));
    found.num_threads = reinterpret_cast<decltype(found.num_threads)>(dlsym(library, "omp_get_num_threads"));
    found.in_parallel = reinterpret_cast<decltype(found.in_parallel)>(dlsym(library, "omp_in_parallel"));
    dlclose(library);  // whoever loaded it keeps it
    return found;
}

long process_id() {
    return static_cast<long>(getpid());
}

#else

GnuOpenMp find_gnu_openmp() {
    return {};
}

long process_id() {
    return 0;
}

#endif

struct OpenMpCall {
    const GnuOpenMp* openmp;
    ParallelRegion::Body body;
    void* context;
    int threads;
};

/// The runtime may give fewer threads than asked for; each then takes several indices.
void run_in_openmp(void* data) {
    const auto& call = *static_cast<OpenMpCall*>(data);
    const int step = call.openmp->num_threads();
    for (int index = call.openmp->thread_num(); index < call.threads; index += step) {
        call.body(call.context, index);
    }
}

}  // namespace

void watch_for_forks() {
#if defined(__linux__)
    const int error = pthread_atfork(nullptr, nullptr, [] { is_forked_child.store(true); });
    if (error != 0) throw std::bad_alloc();
#endif
}

/// threads - 1 workers that sleep between calls; the caller is the last one.
class ParallelRegion::OwnThreads {
public:
    explicit OwnThreads(int threads) : process_(process_id()) {
        workers_.reserve(static_cast<std::size_t>(threads) - 1);
        try {
            for (int index = 1; index < threads; ++index)
                workers_.emplace_back([this, index] { work(index); });
        } catch (...) {
            stop();
            throw;
        }
    }

    ~OwnThreads() {
        if (process_ == process_id()) {
            stop();
        } else {  // forked: these threads exist in the parent only
            for (std::thread& worker : workers_) worker.detach();
        }
    }

    bool alive() const { return process_ == process_id(); }

    void run(int threads, Body body, void* context) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            body_ = body;
            context_ = context;
            active_ = threads;
            running_ = static_cast<int>(workers_.size());
            ++generation_;
        }
        wake_.notify_all();
        body(context, 0);
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return running_ == 0; });
    }

private:
    void work(int index) {
        unsigned long seen = 0;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
            if (stopping_) return;
            seen = generation_;
            const Body body = body_;
            void* const context = context_;
            const bool take_part = index < active_;
            lock.unlock();
            if (take_part) body(context, index);
            lock.lock();
            if (--running_ == 0) done_.notify_one();
        }
    }

    void stop() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        for (std::thread& worker : workers_) worker.join();
    }

    long process_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable done_;
    Body body_ = nullptr;
    void* context_ = nullptr;
    int active_ = 0;
    int running_ = 0;
    unsigned long generation_ = 0;
    bool stopping_ = false;
    std::vector<std::thread> workers_;
};

ParallelRegion::ParallelRegion(int threads) : threads_(threads) {}

ParallelRegion::~ParallelRegion() {
    // Threads of a forked parent cannot be waited for, nor their locks taken: leave what belongs to it alone.
    if (own_ && !own_->alive()) static_cast<void>(own_.release());
}

void ParallelRegion::run(int threads, Body body, void* context) {
    if (threads > threads_) threads = threads_;
    if (threads == 1) {
        body(context, 0);
        return;
    }
    const GnuOpenMp openmp = find_gnu_openmp();
    if (openmp.usable() && openmp.in_parallel() == 0) {
        OpenMpCall call{&openmp, body, context, threads};
        openmp.parallel(run_in_openmp, &call, static_cast<unsigned>(threads), 0);
        return;
    }
    const std::lock_guard<std::mutex> lock(own_mutex_);
    if (own_ && !own_->alive()) static_cast<void>(own_.release());
    if (!own_) own_ = std::make_unique<OwnThreads>(threads_);
    own_->run(threads, body, context);
}

}  // namespace revolve
