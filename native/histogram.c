/* histogram.c - log-linear counts of microseconds, 8 buckets an octave: at most 12.5 % wide, never resized. */
#include "internal.h"

enum { SUB_BITS = 3, SUB = 1 << SUB_BITS };

static uint32_t bucket_of(uint64_t us)
{
    if (us < SUB)
        return (uint32_t)us;
    const uint32_t top = 63u - (uint32_t)__builtin_clzll(us);
    const uint32_t bucket = (top - (SUB_BITS - 1)) * SUB + (uint32_t)((us >> (top - SUB_BITS)) & (SUB - 1));
    return bucket < RF_HISTOGRAM_BUCKETS ? bucket : RF_HISTOGRAM_BUCKETS - 1;
}

uint64_t rf_bucket_us(uint32_t bucket)
{
    RF_ASSERT(bucket < RF_HISTOGRAM_BUCKETS);
    if (bucket < SUB)
        return bucket;
    const uint32_t octave = bucket / SUB - 1;
    return ((UINT64_C(8) + bucket % SUB + 1) << octave) - 1;
}

/* Written by the engine's thread alone, read by others without a lock: counts may lag, they never tear. */
void histogram_add(rf_histogram *histogram, uint64_t us)
{
    uint64_t *cell = &histogram->buckets[bucket_of(us)];
    __atomic_store_n(cell, *cell + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->count, histogram->count + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->sum_us, histogram->sum_us + us, __ATOMIC_RELAXED);
    if (us > histogram->max_us)
        __atomic_store_n(&histogram->max_us, us, __ATOMIC_RELAXED);
}
