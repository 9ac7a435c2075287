// Row by row: norms, activations, rotary positions, rows taken and put, patches, the greedy choice.

extern "C" __global__ void add(const T *a, const T *b, T *out, u64 packs) {
    follow();
    for (u64 i = blockIdx.x * (u64)blockDim.x + threadIdx.x; i < packs; i += (u64)gridDim.x * blockDim.x) {
        Pack x = load(a, i), y = load(b, i);
        EACH(j, PACK) x.at[j] = narrow(wide(x.at[j]) + wide(y.at[j]));
        store(out, i, x);
    }
}

// `bias` has `width` packs.
extern "C" __global__ void add_bias(const T *x, const T *bias, T *out, u64 packs, u32 width) {
    follow();
    for (u64 i = blockIdx.x * (u64)blockDim.x + threadIdx.x; i < packs; i += (u64)gridDim.x * blockDim.x) {
        Pack p = load(x, i), b = load(bias, i % width);
        EACH(j, PACK) p.at[j] = narrow(wide(p.at[j]) + wide(b.at[j]));
        store(out, i, p);
    }
}

// `act(gate)`, times `up` where there is one.
extern "C" __global__ void gated(const T *gate, const T *up, T *out, u64 packs, u32 kind) {
    follow();
    for (u64 i = blockIdx.x * (u64)blockDim.x + threadIdx.x; i < packs; i += (u64)gridDim.x * blockDim.x) {
        Pack g = load(gate, i);
        if (up) {
            Pack u = load(up, i);
            EACH(j, PACK) g.at[j] = narrow(activated(wide(g.at[j]), kind) * wide(u.at[j]));
        } else {
            EACH(j, PACK) g.at[j] = narrow(activated(wide(g.at[j]), kind));
        }
        store(out, i, g);
    }
}

// Threads that share a row's sum: a warp, or the block.
__device__ __forceinline__ float row_sum(float x, bool by_warp) { return by_warp ? warp_sum(x) : block_sum(x); }

// One row a warp where rows are short, else one a block. `bias`: a layer norm, else a root mean square norm. With `more`, of
// the sum `x + more`, which is written too.
extern "C" __global__ void norm_rows(
    const T *x, const T *more, T *sum, const T *gain, const T *bias, T *out, u32 rows, u32 width, float eps,
    u32 by_warp) {
    follow();
    u32 row = by_warp ? blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32 : blockIdx.x;
    if (row >= rows) return;
    u32 lane = by_warp ? threadIdx.x % 32 : threadIdx.x, lanes = by_warp ? 32 : blockDim.x;
    u32 packs = width / PACK;
    x += (u64)row * width;
    out += (u64)row * width;
    float mean = 0.f, squares = 0.f;
    if (more) {
        more += (u64)row * width;
        sum += (u64)row * width;
        // Every thread reads again what it writes here, and nothing else.
        for (u32 i = lane; i < packs; i += lanes) {
            Pack a = load(x, i), b = load(more, i);
            EACH(j, PACK) a.at[j] = narrow(wide(a.at[j]) + wide(b.at[j]));
            store(sum, i, a);
        }
        x = sum;
    }
    if (bias) {
        for (u32 i = lane; i < packs; i += lanes) {
            Pack p = load(x, i);
            EACH(j, PACK) mean += wide(p.at[j]);
        }
        mean = row_sum(mean, by_warp) / width;
    }
    for (u32 i = lane; i < packs; i += lanes) {
        Pack p = load(x, i);
        EACH(j, PACK) squares += (wide(p.at[j]) - mean) * (wide(p.at[j]) - mean);
    }
    float scale = 1.f / sqrtf(row_sum(squares, by_warp) / width + eps);
    for (u32 i = lane; i < packs; i += lanes) {
        Pack p = load(x, i), g = load(gain, i), b;
        if (bias) b = load(bias, i);
        EACH(j, PACK) {
            float y = (wide(p.at[j]) - mean) * scale * wide(g.at[j]);
            p.at[j] = narrow(bias ? y + wide(b.at[j]) : y);
        }
        store(out, i, p);
    }
}

// Row i of each of two tensors is turned by row `positions[i]` of the tables `[.., half]`; dimensions of a head from
// `2 half` on stay.
extern "C" __global__ void rotary(
    const T *q, const T *k, T *out_q, T *out_k, u32 width_q, u32 width_k, const float *cosine, const float *sine,
    const u32 *positions, u32 half, u32 d_head) {
    follow();
    const u64 row = blockIdx.x;
    const u32 width = blockIdx.y ? width_k : width_q;
    const T *x = (blockIdx.y ? k : q) + row * width;
    T *out = (blockIdx.y ? out_k : out_q) + row * width;
    cosine += (u64)positions[row] * half;
    sine += (u64)positions[row] * half;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        u32 d = i % d_head;
        float here = wide(x[i]);
        if (d < half)
            here = here * cosine[d] - wide(x[i + half]) * sine[d];
        else if (d < 2 * half)
            here = here * cosine[d - half] + wide(x[i - half]) * sine[d - half];
        out[i] = narrow(here);
    }
}

// Row i of `out` is row `from[i]` of `a`, or of `b` counted on from the end of `a`. `width` in packs.
extern "C" __global__ void take(const T *a, const T *b, const u32 *from, T *out, u32 rows_of_a, u32 width) {
    follow();
    u32 row = from[blockIdx.x];
    const T *x = row < rows_of_a ? a + (u64)row * width * PACK : b + (u64)(row - rows_of_a) * width * PACK;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) store(out + (u64)blockIdx.x * width * PACK, i, load(x, i));
}

// In each layer, row i of two tensors goes to row `to[i]` of two others: `places` has the four of a layer. `width` in packs.
extern "C" __global__ void put(const u64 *places, const u32 *to, u32 width) {
    follow();
    const u64 *of = places + 4 * blockIdx.y;
    const u64 from = (u64)blockIdx.x * width, row = (u64)to[blockIdx.x] * width;
    const T *k = (const T *)of[0], *v = (const T *)of[1];
    T *all_k = (T *)of[2], *all_v = (T *)of[3];
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        store(all_k, row + i, load(k, from + i));
        store(all_v, row + i, load(v, from + i));
    }
}

// Copies of pieces of tensors, in numbers.
struct Copy {
    u64 from, to, count;
};

extern "C" __global__ void copies(const Copy *all) {
    follow();
    const Copy c = all[blockIdx.x];
    const T *from = (const T *)c.from;
    T *to = (T *)c.to;
    const u64 first = blockIdx.y * (u64)blockDim.x + threadIdx.x, step = (u64)gridDim.y * blockDim.x;
    if (c.from % 16 == 0 && c.count % PACK == 0) {
        for (u64 i = first; i < c.count / PACK; i += step) store(to, i, load(from, i));
    } else {
        for (u64 i = first; i < c.count; i += step) to[i] = from[i];
    }
}

// One piece of a row that a patch changes; as `Piece` in patch.rs.
struct Piece {
    u64 value;
    u32 row, column, len, kind, wide_value, change;
    float amount;
    u32 unused;
};

__device__ __forceinline__ float brought(const Piece &p, u32 i) {
    return p.wide_value ? ((const float *)p.value)[i] : wide(((const T *)p.value)[i]);
}

// Changes `x` in place, one piece a block; `changes` get `max |Δ|`, as bits, which grow with it and are largest for NaN.
// With `hides`, minus infinity stays.
extern "C" __global__ void patch(T *x, const Piece *pieces, u32 *changes, u32 width, u32 hides) {
    follow();
    Piece p = pieces[blockIdx.x];
    x += (u64)p.row * width + p.column;
    float along = 0.f;
    if (p.kind == 5) {
        for (u32 i = threadIdx.x; i < p.len; i += blockDim.x) along += wide(x[i]) * brought(p, i);
        along = block_sum(along);
    }
    u32 most = 0;
    for (u32 i = threadIdx.x; i < p.len; i += blockDim.x) {
        float old = wide(x[i]), now;
        switch (p.kind) {
        case 0: now = brought(p, i); break;
        case 1: now = old + brought(p, i); break;
        case 2: now = 0.f; break;
        case 3: now = old * p.amount; break;
        case 4: now = old * (1.f - p.amount) + brought(p, i) * p.amount; break;
        default: now = old - along * brought(p, i);
        }
        if (hides && old == -INFINITE) continue;
        T rounded = narrow(now);
        x[i] = rounded;
        most = max(most, __float_as_uint(fabsf(wide(rounded) - old)));
    }
    for (int step = 16; step; step >>= 1) most = max(most, __shfl_xor_sync(~0u, most, step));
    if (threadIdx.x % 32 == 0 && most) atomicMax(changes + p.change, most);
}

// Matrices of random numbers, as made.rs makes them on the processor, to the bit: the sum of the four parts of a hash of
// each place.
extern "C" __global__ void random_numbers(T *out, u64 count, u64 key, float scale) {
    wait();
    for (u64 i = blockIdx.x * (u64)blockDim.x + threadIdx.x; i < count; i += (u64)gridDim.x * blockDim.x) {
        u64 bits = key + (i + 1) * 0x9e3779b97f4a7c15ull;
        bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9ull;
        bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebull;
        bits ^= bits >> 31;
        int sum = (int)((bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48));
        out[i] = narrow((float)(sum - 2 * 0xffff) * scale);
    }
}

// Of a row of logits: the first of the largest, the log of its probability, and itself; NaN there if any is NaN.
extern "C" __global__ void choose(const T *logits, float *out, u32 width) {
    follow();
    __shared__ float best[32];
    __shared__ u32 where[32];
    logits += (u64)blockIdx.x * width;
    float most = -INFINITE;
    u32 at = 0xffffffffu;
    bool nan = false;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        float x = wide(logits[i]);
        nan |= x != x;
        if (x > most || at == 0xffffffffu) most = x, at = i;
    }
    nan = __syncthreads_or(nan);
    for (int step = 16; step; step >>= 1) {
        float other = __shfl_xor_sync(~0u, most, step);
        u32 there = __shfl_xor_sync(~0u, at, step);
        if (other > most || (other == most && there < at)) most = other, at = there;
    }
    if (threadIdx.x % 32 == 0) best[threadIdx.x / 32] = most, where[threadIdx.x / 32] = at;
    __syncthreads();
    for (u32 i = 0; i < blockDim.x / 32; i++)
        if (best[i] > most || (best[i] == most && where[i] < at)) most = best[i], at = where[i];
    float sum = 0.f;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) sum += __expf(wide(logits[i]) - most);
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        out[3 * blockIdx.x] = (float)at;
        out[3 * blockIdx.x + 1] = -logf(sum);
        out[3 * blockIdx.x + 2] = nan ? __int_as_float(0x7fffffff) : most;
    }
}
