// The product of one row with one to three matrices [in, out]: every weight is read once, 16 bytes a thread. A block has
// LANES packs of columns; its threads go down the rows of the matrix side by side, and their sums meet at the end in one
// order, so that a result does not depend on chance.

#define THREADS 512
// Weights that a thread waits for at once.
#define DEEP 4

struct Matrix {
    const T *weight;
    T *out;
    u32 columns;
};

template <int LANES> __device__ __forceinline__ void row(const T *x, const Matrix &m, u32 block, u32 inner) {
    __shared__ float sums[THREADS / 32][LANES * PACK];
    const u32 lane = threadIdx.x % LANES, steps = THREADS / LANES;
    const u32 column = (block * LANES + lane) * PACK;
    const bool here = column < m.columns;
    const T *weight = m.weight + column;
    float sum[PACK] = {};
    for (u32 from = threadIdx.x / LANES; from < inner; from += DEEP * steps) {
        Pack w[DEEP];
        EACH(i, DEEP) {
            const u32 k = from + i * steps;
            w[i] = Pack{};
            if (here && k < inner) w[i] = load(weight + (u64)k * m.columns, 0);
        }
        EACH(i, DEEP) {
            const u32 k = from + i * steps;
            if (k >= inner) continue;
            const float factor = wide(x[k]);
            EACH(c, PACK) sum[c] += factor * wide(w[i].at[c]);
        }
    }
    EACH(c, PACK) {
        for (int step = 16; step >= LANES; step >>= 1) sum[c] += __shfl_xor_sync(~0u, sum[c], step);
        if (threadIdx.x % 32 < LANES) sums[threadIdx.x / 32][lane * PACK + c] = sum[c];
    }
    __syncthreads();
    const u32 at = block * LANES * PACK + threadIdx.x;
    if (threadIdx.x < LANES * PACK && at < m.columns) {
        float total = 0.f;
        EACH(w, THREADS / 32) total += sums[w][threadIdx.x];
        m.out[at] = narrow(total);
    }
}

// Blocks go through the matrices one after the other; those that are not there have no columns.
#define ROW(LANES)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) row_##LANES(                                              \
        const T *x, u32 inner, const T *a, T *to_a, u32 columns_a, const T *b, T *to_b, u32 columns_b, const T *c,     \
        T *to_c, u32 columns_c) {                                                                                      \
        const u32 of_block = LANES * PACK;                                                                             \
        const u32 of_a = (columns_a + of_block - 1) / of_block, of_b = (columns_b + of_block - 1) / of_block;          \
        u32 block = blockIdx.x;                                                                                        \
        Matrix m = {a, to_a, columns_a};                                                                               \
        if (block >= of_a) block -= of_a, m = {b, to_b, columns_b};                                                    \
        if (blockIdx.x >= of_a + of_b) block -= of_b, m = {c, to_c, columns_c};                                        \
        row<LANES>(x, m, block, inner);                                                                                \
    }

ROW(4)
ROW(8)
