// Products of up to 16 rows with matrices whose columns lie one after the other, in half precision: every weight is read
// once, 16 bytes a thread. 16 columns of matrices are the left operand of the tensor cores, 8 rows of `x` the right one. Both
// take the inner places in an order in which those of a lane lie side by side. The warps of a block share out the inner
// places, and their sums meet at the end in one order: a result depends neither on chance nor on the other rows.

#define WARPS 8
// Inner places that a warp has at once, and how often it does so before it waits for them.
#define CHUNK 64
#define DEEP 4
#define TILE 16

struct __align__(16) Words {
    u32 at[4];
};

// Weights are read once: they need not stay in the nearest memory.
__device__ __forceinline__ Words stream(const T *from) {
    Words w;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(w.at[0]), "=r"(w.at[1]), "=r"(w.at[2]), "=r"(w.at[3])
        : "l"(from));
    return w;
}

// This warp's part of the sums of 16 columns of matrices, of which lane 4g + t reads those that start at `low` and `high`,
// where there are such, with up to 8 EIGHTS rows of `x`. The first weights are asked for while the kernel before still runs.
template <int EIGHTS>
__device__ __forceinline__ void
sums(float (&sum)[EIGHTS][4], const T *x, u32 rows, u32 inner, const T *low, const T *high) {
    const u32 g = threadIdx.x % 32 / 4, places = threadIdx.x % 4 * 8;
    const u32 first = threadIdx.x / 32 * CHUNK;
    for (u32 from = first; from < inner; from += DEEP * WARPS * CHUNK) {
        Words a[DEEP][CHUNK / 32][2];
        EACH(i, DEEP) EACH(s, CHUNK / 32) {
            const u32 k = from + i * WARPS * CHUNK + s * 32 + places;
            a[i][s][0] = k < inner && low ? stream(low + k) : Words{};
            a[i][s][1] = k < inner && high ? stream(high + k) : Words{};
        }
        if (from == first) follow();
        EACH(i, DEEP) EACH(s, CHUNK / 32) EACH(e, EIGHTS) {
            const u32 k = from + i * WARPS * CHUNK + s * 32 + places, row = 8 * e + g;
            const Words b = k < inner && row < rows ? *(const Words *)(x + (u64)row * inner + k) : Words{};
            const Words &l = a[i][s][0], &h = a[i][s][1];
            EACH(j, 2) {
                const u32 left[4] = {l.at[2 * j], h.at[2 * j], l.at[2 * j + 1], h.at[2 * j + 1]};
                multiply(sum[e], left, b.at[2 * j], b.at[2 * j + 1]);
            }
        }
    }
    if (first >= inner) follow();
}

// The sums of all warps: of column `c` of a tile with row `r` of x.
template <int EIGHTS> struct Parts {
    float at[WARPS][TILE][8 * EIGHTS];

    __device__ __forceinline__ void lay(const float (&sum)[EIGHTS][4]) {
        const u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, two = threadIdx.x % 4 * 2;
        EACH(e, EIGHTS) EACH(i, 4) at[warp][g + i / 2 * 8][8 * e + two + i % 2] = sum[e][i];
        __syncthreads();
    }

    __device__ __forceinline__ float whole(u32 c, u32 r) const {
        float total = 0.f;
        EACH(w, WARPS) total += at[w][c][r];
        return wide(narrow(total));
    }
};

// Blocks go through one to three matrices one after the other, those that are not there have no columns. `more`, if there
// is one, is added to the first's results.
template <int EIGHTS>
__device__ __forceinline__ void few(
    const T *x, u32 rows, u32 inner, const T *more, const T *a, T *to_a, u32 columns_a, const T *b, T *to_b,
    u32 columns_b, const T *c, T *to_c, u32 columns_c) {
    __shared__ Parts<EIGHTS> parts;
    const u32 of_a = (columns_a + TILE - 1) / TILE, of_b = (columns_b + TILE - 1) / TILE;
    u32 block = blockIdx.x, columns = columns_a;
    const T *weight = a;
    T *to = to_a;
    if (blockIdx.x >= of_a) block -= of_a, weight = b, to = to_b, columns = columns_b;
    if (blockIdx.x >= of_a + of_b) block -= of_b, weight = c, to = to_c, columns = columns_c;
    const u32 low = block * TILE + threadIdx.x % 32 / 4, high = low + 8;
    float sum[EIGHTS][4] = {};
    sums<EIGHTS>(
        sum, x, rows, inner, low < columns ? weight + (u64)low * inner : 0,
        high < columns ? weight + (u64)high * inner : 0);
    parts.lay(sum);
    const u32 row = threadIdx.x / TILE, column = block * TILE + threadIdx.x % TILE;
    if (row >= min(rows, 8 * EIGHTS) || column >= columns) return;
    const u64 place = (u64)row * columns + column;
    float y = parts.whole(threadIdx.x % TILE, row);
    if (more && blockIdx.x < of_a) y += wide(more[place]);
    to[place] = narrow(y);
}

// `act(x gate) * (x up)`: a tile has 8 columns of each.
template <int EIGHTS>
__device__ __forceinline__ void few_gated(
    const T *x, u32 rows, u32 inner, const T *gate, const T *up, T *to, u32 columns, u32 kind) {
    __shared__ Parts<EIGHTS> parts;
    const u32 mine = blockIdx.x * 8 + threadIdx.x % 32 / 4;
    const u64 start = (u64)mine * inner;
    float sum[EIGHTS][4] = {};
    sums<EIGHTS>(sum, x, rows, inner, mine < columns ? gate + start : 0, mine < columns ? up + start : 0);
    parts.lay(sum);
    const u32 row = threadIdx.x / 8, column = blockIdx.x * 8 + threadIdx.x % 8;
    if (row >= min(rows, 8 * EIGHTS) || column >= columns) return;
    const float g = parts.whole(threadIdx.x % 8, row), u = parts.whole(threadIdx.x % 8 + 8, row);
    to[(u64)row * columns + column] = narrow(activated(g, kind) * u);
}

#define FEW(EIGHTS)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(32 * WARPS) few_##EIGHTS(                                             \
        const T *x, u32 rows, u32 inner, const T *more, const T *a, T *to_a, u32 columns_a, const T *b, T *to_b,       \
        u32 columns_b, const T *c, T *to_c, u32 columns_c) {                                                           \
        few<EIGHTS>(x, rows, inner, more, a, to_a, columns_a, b, to_b, columns_b, c, to_c, columns_c);                 \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(32 * WARPS) gated_##EIGHTS(                                           \
        const T *x, u32 rows, u32 inner, const T *gate, const T *up, T *to, u32 columns, u32 kind) {                   \
        few_gated<EIGHTS>(x, rows, inner, gate, up, to, columns, kind);                                                \
    }

FEW(1)
FEW(2)
