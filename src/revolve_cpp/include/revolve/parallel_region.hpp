#pragma once

#include <memory>
#include <mutex>

namespace revolve {

/// To be called once, before the process forks: a child must not wait for OpenMP threads that only its parent has.
void watch_for_forks();

/// Runs body(index) for index 0 .. threads - 1 at the same time and waits for all of them; body must not throw.
class ParallelRegion {
public:
    explicit ParallelRegion(int threads);
    ~ParallelRegion();
    ParallelRegion(const ParallelRegion&) = delete;
    ParallelRegion& operator=(const ParallelRegion&) = delete;

    using Body = void (*)(void* context, int index);
    void run(int threads, Body body, void* context);

    template <class Function>
    void run(int threads, Function& function) {
        run(
            threads, [](void* context, int index) { (*static_cast<Function*>(context))(index); }, &function);
    }

private:
    class OwnThreads;
    int threads_;
    std::mutex own_mutex_;
    std::unique_ptr<OwnThreads> own_;
};

}  // namespace revolve
