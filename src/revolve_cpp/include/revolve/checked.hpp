#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>

/// Integer arithmetic on non-negative 64-bit counts that either is exact, saturates by name, or throws.
namespace revolve {

#if defined(__SIZEOF_INT128__)
__extension__ using wide_t = __int128;
#else
using wide_t = std::int64_t;
#endif

/// What a saturating count returns in place of a value that does not fit.
inline constexpr std::int64_t kSaturated = std::numeric_limits<std::int64_t>::max();

[[noreturn]] inline void throw_overflow() {
    throw std::overflow_error("a count does not fit in 64 bits");
}

/// a * b for a, b >= 0; true where the product does not fit in T.
template <class T>
inline bool multiply_overflows(T a, T b, T& product) noexcept {
#if defined(__GNUC__)
    return __builtin_mul_overflow(a, b, &product);
#else
    if (a != 0 && b > std::numeric_limits<T>::max() / a) return true;
    product = a * b;
    return false;
#endif
}

/// a + b for a, b >= 0; true where the sum does not fit in T.
template <class T>
inline bool add_overflows(T a, T b, T& sum) noexcept {
#if defined(__GNUC__)
    return __builtin_add_overflow(a, b, &sum);
#else
    if (b > std::numeric_limits<T>::max() - a) return true;
    sum = a + b;
    return false;
#endif
}

template <class T>
inline T checked_multiply(T a, T b) {
    T product{};
    if (multiply_overflows(a, b, product)) throw_overflow();
    return product;
}

template <class T>
inline T checked_add(T a, T b) {
    T sum{};
    if (add_overflows(a, b, sum)) throw_overflow();
    return sum;
}

inline std::int64_t checked_narrow(wide_t value) {
    if (value > static_cast<wide_t>(kSaturated) || value < 0) throw_overflow();
    return static_cast<std::int64_t>(value);
}

inline std::int64_t saturating_multiply(std::int64_t a, std::int64_t b) noexcept {
    std::int64_t product{};
    return multiply_overflows(a, b, product) ? kSaturated : product;
}

inline std::int64_t saturating_add(std::int64_t a, std::int64_t b) noexcept {
    std::int64_t sum{};
    return add_overflows(a, b, sum) ? kSaturated : sum;
}

/// a * b / c where the division is known to be exact; saturates where the quotient does not fit.
std::int64_t exact_multiply_divide(std::int64_t a, std::int64_t b, std::int64_t c) noexcept;

/// Quotient rounded up, a >= 0, b >= 1.
inline constexpr std::int64_t ceil_divide(std::int64_t a, std::int64_t b) noexcept {
    return a / b + (a % b != 0 ? 1 : 0);
}

}  // namespace revolve
