// Task: a coroutine that starts when awaited and hands its result to whoever awaits it. A virtual rank's program is
// one.
#pragma once
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace shardproof::sim {

template <class T>
class Task;

namespace detail {

struct PromiseBase {
    std::coroutine_handle<> waiter;
    std::exception_ptr error;

    struct ResumeWaiter {
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class P>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<P> done) const noexcept {
            const auto next = done.promise().waiter;
            return next ? next : std::noop_coroutine();
        }
        void await_resume() const noexcept {}
    };
    std::suspend_always initial_suspend() noexcept { return {}; }
    ResumeWaiter final_suspend() noexcept { return {}; }
    void unhandled_exception() noexcept { error = std::current_exception(); }
};

template <class T>
struct Promise : PromiseBase {
    std::optional<T> value;
    Task<T> get_return_object();
    void return_value(T v) { value = std::move(v); }
    T take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
    Task<void> get_return_object();
    void return_void() noexcept {}
    void take() noexcept {}
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
public:
    using promise_type = detail::Promise<T>;
    using Handle = std::coroutine_handle<promise_type>;

    explicit Task(Handle handle) : handle_{handle} {}
    Task(Task&& other) noexcept : handle_{std::exchange(other.handle_, {})} {}
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            if (handle_) handle_.destroy();
            handle_ = std::exchange(other.handle_, {});
        }
        return *this;
    }
    ~Task() {
        if (handle_) handle_.destroy();
    }

    [[nodiscard]] std::coroutine_handle<> handle() const { return handle_; }
    [[nodiscard]] bool done() const { return handle_.done(); }
    [[nodiscard]] std::exception_ptr error() const { return handle_.promise().error; }

    auto operator co_await() && noexcept {
        struct Awaiter {
            Handle callee;
            [[nodiscard]] bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) const noexcept {
                callee.promise().waiter = caller;
                return callee;
            }
            T await_resume() const {
                if (callee.promise().error) std::rethrow_exception(callee.promise().error);
                return callee.promise().take();
            }
        };
        return Awaiter{handle_};
    }

private:
    Handle handle_;
};

namespace detail {

template <class T>
Task<T> Promise<T>::get_return_object() {
    return Task<T>{std::coroutine_handle<Promise<T>>::from_promise(*this)};
}
inline Task<void> Promise<void>::get_return_object() {
    return Task<void>{std::coroutine_handle<Promise<void>>::from_promise(*this)};
}

}  // namespace detail
}  // namespace shardproof::sim
