/* Peers in plain C: a serial counting sort, and how fast this machine reads rows at random.
 *
 * Compiled when a benchmark starts (cc -O3 -march=native -shared -fPIC -pthread), called through ctypes.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Edge list [2, edges] (row 0 sources, row 1 destinations) to CSR by destination, stable, every index checked.
 * indptr [rows + 1], col [edges] and perm [edges] are the caller's. Returns 0, or 1 for an index out of range. */
int counting_sort(const int64_t *edge_index, int64_t edges, int64_t rows, int64_t cols, int32_t *indptr, int32_t *col,
                  int32_t *perm) {
    const int64_t *src = edge_index, *dst = edge_index + edges;
    memset(indptr, 0, (size_t)(rows + 1) * sizeof(int32_t));
    for (int64_t e = 0; e < edges; e++) {
        if ((uint64_t)dst[e] >= (uint64_t)rows || (uint64_t)src[e] >= (uint64_t)cols) return 1;
        indptr[dst[e] + 1]++;
    }
    for (int64_t i = 0; i < rows; i++) indptr[i + 1] += indptr[i];
    for (int64_t e = 0; e < edges; e++) {
        int32_t at = indptr[dst[e]]++;
        col[at] = (int32_t)src[e];
        perm[at] = (int32_t)e;
    }
    for (int64_t i = rows; i > 0; i--) indptr[i] = indptr[i - 1];
    indptr[0] = 0;
    return 0;
}

typedef struct {
    const uint8_t *table;
    const int32_t *index;
    int64_t from, to, last;
    int bytes, ahead;
    uint64_t sum;
    double start, end;
    pthread_barrier_t *barrier;
} Part;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Sum of whole rows of a constant size: the least that any aggregation does with what it reads. */
__attribute__((always_inline)) static inline uint64_t sum_rows(const Part *p, const int bytes) {
    uint64_t acc[64] = {0};
    const uint8_t *table = p->table;
    for (int64_t e = p->from; e < p->to; e++) {
        if (p->ahead) {
            int64_t next = e + p->ahead < p->last ? e + p->ahead : p->last;
            const uint8_t *soon = table + (int64_t)p->index[next] * bytes;
            for (int line = 0; line < bytes; line += 64) __builtin_prefetch(soon + line);
        }
        const uint64_t *row = (const uint64_t *)(table + (int64_t)p->index[e] * bytes);
        for (int k = 0; k < bytes / 8; k++) acc[k] += row[k];
    }
    uint64_t sum = 0;
    for (int k = 0; k < 64; k++) sum += acc[k];
    return sum;
}

static void *work(void *argument) {
    Part *p = argument;
    pthread_barrier_wait(p->barrier);
    p->start = now();
    switch (p->bytes) {
        case 16: p->sum = sum_rows(p, 16); break;
        case 64: p->sum = sum_rows(p, 64); break;
        case 128: p->sum = sum_rows(p, 128); break;
        case 256: p->sum = sum_rows(p, 256); break;
        case 512: p->sum = sum_rows(p, 512); break;
    }
    p->end = now();
    return NULL;
}

/* Seconds to read the rows `index` [count] of `table` (rows of `bytes`: 16, 64, 128, 256 or 512; 64-byte aligned) with
 * 1 to 16 threads, fetching `ahead` rows early. Negative: another size, or no thread. `sum` keeps the compiler honest. */
double read_rows(const uint8_t *table, int bytes, const int32_t *index, int64_t count, int threads, int ahead,
                 uint64_t *sum) {
    Part parts[16];
    pthread_t id[16];
    pthread_barrier_t barrier;
    if (threads < 1 || threads > 16) return -1.0;
    if (bytes != 16 && bytes != 64 && bytes != 128 && bytes != 256 && bytes != 512) return -1.0;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (int t = 0; t < threads; t++) {
        Part p = {table, index, count * t / threads, count * (t + 1) / threads, count - 1, bytes, ahead, 0, 0, 0, &barrier};
        parts[t] = p;
        if (t && pthread_create(&id[t], NULL, work, &parts[t])) abort();
    }
    work(&parts[0]);
    double start = parts[0].start, end = parts[0].end;
    *sum = parts[0].sum;
    for (int t = 1; t < threads; t++) {
        pthread_join(id[t], NULL);
        if (parts[t].start < start) start = parts[t].start;
        if (parts[t].end > end) end = parts[t].end;
        *sum += parts[t].sum;
    }
    pthread_barrier_destroy(&barrier);
    return end - start;
}
