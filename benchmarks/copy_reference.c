/* Parallel copies to measure bandwidth with: OpenMP threads, one part of the block each.
 * Built by machine.py with every option the compiler has for this machine. */
#include <immintrin.h>
#include <omp.h>
#include <stddef.h>
#include <string.h>

static void part(size_t bytes, size_t *from, size_t *count) {
    size_t threads = omp_get_num_threads(), me = omp_get_thread_num();
    size_t lines = (bytes + 63) / 64;
    size_t first = lines * me / threads * 64, last = lines * (me + 1) / threads * 64;
    *from = first < bytes ? first : bytes;
    *count = (last < bytes ? last : bytes) - *from;
}

void copy_memcpy(char *to, const char *from, size_t bytes) {
#pragma omp parallel
    {
        size_t first, count;
        part(bytes, &first, &count);
        memcpy(to + first, from + first, count);
    }
}

/* Both pointers are multiples of 64. */
void copy_stream(char *to, const char *from, size_t bytes) {
#pragma omp parallel
    {
        size_t first, count;
        part(bytes, &first, &count);
        for (size_t i = first; i + 64 <= first + count; i += 64) {
#if defined(__AVX512F__)
            _mm512_stream_si512((void *)(to + i), _mm512_loadu_si512(from + i));
#elif defined(__AVX__)
            _mm256_stream_si256((void *)(to + i), _mm256_loadu_si256((const void *)(from + i)));
            _mm256_stream_si256((void *)(to + i + 32), _mm256_loadu_si256((const void *)(from + i + 32)));
#else
            for (int j = 0; j < 64; j += 16)
                _mm_stream_si128((void *)(to + i + j), _mm_loadu_si128((const void *)(from + i + j)));
#endif
        }
        _mm_sfence();
    }
}
