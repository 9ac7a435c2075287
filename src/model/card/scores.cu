// Scores and patterns for those who look at them, of all segments in one launch: each segment's numbers [head, query, key]
// lie end to end.

// What a block's query row belongs to; as `Batch::looks` lays it.
struct Look {
    u32 start, len, past, past_len, query, unused;
    u64 place;
};

__device__ __forceinline__ u32 first_seen(u32 position, u32 window) {
    return position + 1 > window ? position + 1 - window : 0;
}

__device__ __forceinline__ u64 row_of(const Look &l, u32 head) {
    return l.place + ((u64)head * l.len + l.query) * (l.past_len + l.len);
}

// Where the key or value of position `j` of a key head lies.
__device__ __forceinline__ const T *at(const Look &l, const T *past, const T *own, u32 j, u32 key_head, u32 key_heads) {
    const u64 width = (u64)key_heads * D_HEAD;
    const T *from = j < l.past_len ? past + (l.past + j) * width : own + (l.start + j - l.past_len) * width;
    return from + key_head * D_HEAD;
}

// Row blockIdx.x, head blockIdx.y: scaled, bounded, and minus infinity where nothing is seen.
extern "C" __global__ void scores(
    const T *q, const T *k, const T *past_k, const Look *looks, T *out, u32 r, u32 window, float scale, float cap) {
    follow();
    __shared__ float query[D_HEAD];
    const Look l = looks[blockIdx.x];
    const u32 head = blockIdx.y, heads = gridDim.y, position = l.past_len + l.query;
    const T *own = q + ((u64)(l.start + l.query) * heads + head) * D_HEAD;
    for (u32 d = threadIdx.x; d < D_HEAD; d += blockDim.x) query[d] = wide(own[d]);
    __syncthreads();
    out += row_of(l, head);
    for (u32 j = threadIdx.x; j < l.past_len + l.len; j += blockDim.x) {
        float score = -INFINITE;
        if (j <= position && j >= first_seen(position, window)) {
            const T *key = at(l, past_k, k, j, head / r, heads / r);
            score = 0.f;
            for (u32 p = 0; p < D_HEAD / PACK; p++) {
                const Pack pack = load(key, p);
                EACH(c, PACK) score += query[p * PACK + c] * wide(pack.at[c]);
            }
            score *= scale;
            if (cap > 0.f) score = cap * tanhf(score / cap);
        }
        out[j] = narrow(score);
    }
}

__device__ __forceinline__ float block_max(float x) {
    __shared__ float parts[32];
    for (int step = 16; step; step >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    for (u32 i = 0; i < blockDim.x / 32; i++) x = fmaxf(x, parts[i]);
    return x;
}

// Softmax of what each query sees, whatever stands elsewhere.
extern "C" __global__ void pattern(const T *scores, const Look *looks, T *out, u32 window) {
    follow();
    const Look l = looks[blockIdx.x];
    const u64 row = row_of(l, blockIdx.y);
    const u32 position = l.past_len + l.query, first = first_seen(position, window);
    float most = -INFINITE, sum = 0.f;
    for (u32 j = first + threadIdx.x; j <= position; j += blockDim.x) most = fmaxf(most, wide(scores[row + j]));
    most = block_max(most);
    for (u32 j = first + threadIdx.x; j <= position; j += blockDim.x) sum += __expf(wide(scores[row + j]) - most);
    sum = block_sum(sum);
    for (u32 j = threadIdx.x; j < l.past_len + l.len; j += blockDim.x) {
        const bool seen = j >= first && j <= position;
        out[row + j] = narrow(seen ? __expf(wide(scores[row + j]) - most) / sum : 0.f);
    }
}

// Mixes values anew where a head's pattern is another than it was.
extern "C" __global__ void remix(
    const T *before, const T *after, const T *v, const T *past_v, const Look *looks, T *z, u32 r) {
    follow();
    const Look l = looks[blockIdx.x];
    const u32 head = blockIdx.y, heads = gridDim.y, keys = l.past_len + l.len;
    const u64 row = row_of(l, head);
    bool changed = false;
    for (u32 j = threadIdx.x; j < keys; j += blockDim.x) changed |= !(wide(before[row + j]) == wide(after[row + j]));
    if (!__syncthreads_or(changed)) return;
    z += ((u64)(l.start + l.query) * heads + head) * D_HEAD;
    for (u32 d = threadIdx.x; d < D_HEAD; d += blockDim.x) {
        float sum = 0.f;
        for (u32 j = 0; j < keys; j++) sum += wide(after[row + j]) * wide(at(l, past_v, v, j, head / r, heads / r)[d]);
        z[d] = narrow(sum);
    }
}
