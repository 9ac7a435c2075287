// Attention over all segments of a batch in one launch, whatever their lengths. A segment's keys and values are
// `past_len` rows from row `past` of one block of rows, then its own. Query rows are counted with the heads that share a
// key head innermost: row i is query i / r, head i % r of the group. The softmax runs along the keys as they come
// (Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135), in float32.

struct Form {
    const T *q, *k, *v, *past_k, *past_v;
    T *z;
    const u32 *tiles;
    u32 key_heads, r, window;
    float scale, cap;
};

#define ARGUMENTS                                                                                                      \
    const T *q, const T *k, const T *v, const T *past_k, const T *past_v, T *z, const u32 *tiles, u32 key_heads,       \
        u32 r, u32 window, float scale, float cap
#define FORM {q, k, v, past_k, past_v, z, tiles, key_heads, r, window, scale, cap}

// One tile of work: a segment and the first of its query rows that are meant.
struct Tile {
    u32 start, len, past, past_len, first;
};

__device__ __forceinline__ Tile tile_of(const Form &f) {
    const u32 *t = f.tiles + 5 * blockIdx.x;
    return {t[0], t[1], t[2], t[3], t[4]};
}

// Where the key or value of position `j` lies, given where past and own ones lie.
__device__ __forceinline__ const T *
row_at(const Form &f, const Tile &t, const T *past, const T *own, u32 j, u32 key_head) {
    u64 width = (u64)f.key_heads * D_HEAD;
    const T *from = j < t.past_len ? past + (t.past + j) * width : own + (t.start + j - t.past_len) * width;
    return from + key_head * D_HEAD;
}

__device__ __forceinline__ float bounded(const Form &f, float score) {
    score *= f.scale;
    return f.cap > 0.f ? f.cap * tanhf(score / f.cap) : score;
}

__device__ __forceinline__ u32 first_key(const Form &f, u32 position) {
    return position + 1 > f.window ? position + 1 - f.window : 0;
}

// Many query rows: tiles of ROWS of them against KEYS keys, 128 threads. Thread (x, y) of 16 x 8 has the scores of rows
// 4y to 4y + 3 with keys x and x + 16, and their sums in the fours of columns x, x + 16 ..
#define ROWS 32
#define KEYS 32
#define FOURS (D_HEAD / 4)
#define FOURS_EACH ((FOURS + 15) / 16)

extern "C" __global__ void __launch_bounds__(128) attend_tiles(ARGUMENTS) {
    follow();
    const Form f = FORM;
    extern __shared__ float shared[];
    float(*qs)[D_HEAD] = (float(*)[D_HEAD])shared;
    float(*ks)[D_HEAD + 4] = (float(*)[D_HEAD + 4])(shared + ROWS * D_HEAD);
    float(*vs)[D_HEAD + 4] = (float(*)[D_HEAD + 4])(shared + ROWS * D_HEAD + KEYS * (D_HEAD + 4));
    float(*ps)[KEYS + 4] = (float(*)[KEYS + 4])(shared + ROWS * D_HEAD + 2 * KEYS * (D_HEAD + 4));
    const Tile t = tile_of(f);
    const u32 key_head = blockIdx.y, x = threadIdx.x % 16, y = threadIdx.x / 16;
    const u32 rows = min(ROWS, t.len * f.r - t.first);
    const u64 width = (u64)f.key_heads * f.r * D_HEAD;
    const u32 packs = D_HEAD / PACK;
    for (u32 i = threadIdx.x; i < ROWS * packs; i += 128) {
        u32 row = i / packs, at = t.first + row;
        Pack pack = {};
        if (row < rows)
            pack = load(f.q + (t.start + at / f.r) * width + (key_head * f.r + at % f.r) * D_HEAD, i % packs);
        EACH(j, PACK) qs[row][i % packs * PACK + j] = wide(pack.at[j]);
    }
    float most[4], total[4], sums[4][FOURS_EACH][4];
    u32 position[4];
    EACH(a, 4) {
        most[a] = -INFINITE;
        total[a] = 0.f;
        position[a] = t.past_len + (t.first + min(y * 4 + a, rows - 1)) / f.r;
        EACH(b, FOURS_EACH)
            EACH(c, 4) sums[a][b][c] = 0.f;
    }
    const u32 end = t.past_len + (t.first + rows - 1) / f.r + 1;
    const u32 begin = first_key(f, t.past_len + t.first / f.r);
    for (u32 from = begin; from < end; from += KEYS) {
        __syncthreads();
        for (u32 i = threadIdx.x; i < KEYS * packs; i += 128) {
            u32 key = i / packs, j = from + key;
            Pack a = {}, b = {};
            if (j < end) {
                a = load(row_at(f, t, f.past_k, f.k, j, key_head), i % packs);
                b = load(row_at(f, t, f.past_v, f.v, j, key_head), i % packs);
            }
            EACH(c, PACK) {
                ks[key][i % packs * PACK + c] = wide(a.at[c]);
                vs[key][i % packs * PACK + c] = wide(b.at[c]);
            }
        }
        __syncthreads();
        float score[4][2] = {};
#pragma unroll 8
        for (int d = 0; d < D_HEAD; d += 4) {
            float4 left[4], right[2];
            EACH(a, 4) left[a] = *(const float4 *)&qs[y * 4 + a][d];
            EACH(b, 2) right[b] = *(const float4 *)&ks[x + 16 * b][d];
            EACH(a, 4)
                EACH(b, 2)
                    score[a][b] += left[a].x * right[b].x + left[a].y * right[b].y + left[a].z * right[b].z +
                        left[a].w * right[b].w;
        }
        EACH(a, 4) {
            float largest = -INFINITE;
            EACH(b, 2) {
                u32 j = from + x + 16 * b;
                bool seen = j <= position[a] && j >= first_key(f, position[a]);
                score[a][b] = seen ? bounded(f, score[a][b]) : -INFINITE;
                largest = fmaxf(largest, score[a][b]);
            }
            for (int step = 8; step; step >>= 1) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, step));
            largest = fmaxf(largest, most[a]);
            float base = largest == -INFINITE ? 0.f : largest;
            float fade = __expf(most[a] - base), more = 0.f;
            EACH(b, 2) {
                float e = __expf(score[a][b] - base);
                ps[y * 4 + a][x + 16 * b] = e;
                more += e;
            }
            for (int step = 8; step; step >>= 1) more += __shfl_xor_sync(~0u, more, step);
            total[a] = total[a] * fade + more;
            most[a] = largest;
            EACH(b, FOURS_EACH)
                EACH(c, 4) sums[a][b][c] *= fade;
        }
        // A row's weights are made and read by the same half warp.
        __syncwarp();
#pragma unroll 2
        for (int j = 0; j < KEYS; j += 4) {
            float4 weight[4];
            EACH(a, 4) weight[a] = *(const float4 *)&ps[y * 4 + a][j];
            EACH(b, FOURS_EACH) {
                int four = x + 16 * b;
                if (FOURS % 16 && four >= FOURS) continue;
                EACH(i, 4) {
                    float4 value = *(const float4 *)&vs[j + i][4 * four];
                    EACH(a, 4) {
                        float w = i == 0 ? weight[a].x : i == 1 ? weight[a].y : i == 2 ? weight[a].z : weight[a].w;
                        sums[a][b][0] += w * value.x;
                        sums[a][b][1] += w * value.y;
                        sums[a][b][2] += w * value.z;
                        sums[a][b][3] += w * value.w;
                    }
                }
            }
        }
    }
    EACH(a, 4) {
        u32 row = y * 4 + a, at = t.first + row;
        if (row >= rows) continue;
        T *z = f.z + (t.start + at / f.r) * width + (key_head * f.r + at % f.r) * D_HEAD;
        EACH(b, FOURS_EACH) {
            int four = x + 16 * b;
            if (FOURS % 16 && four >= FOURS) continue;
            EACH(c, 4) z[4 * four + c] = narrow(sums[a][b][c] / total[a]);
        }
    }
}

#if NUMBER != 0 && D_HEAD % 16 == 0
// The same in half precision by the tensor cores. Four warps have 16 query rows each and share the keys and values.
#define WARP_ROWS 16
#define BLOCK_KEYS 32
#define STRIDE (D_HEAD + 8)

__device__ __forceinline__ u32 pair(float low, float high) { return narrow(low) | (u32)narrow(high) << 16; }

extern "C" __global__ void __launch_bounds__(128) attend_halves(ARGUMENTS) {
    follow();
    const Form f = FORM;
    __shared__ __align__(16) T ks[BLOCK_KEYS][STRIDE];
    __shared__ __align__(16) T vs[BLOCK_KEYS][STRIDE];
    const Tile t = tile_of(f);
    const u32 key_head = blockIdx.y, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, two = threadIdx.x % 4 * 2;
    const u32 rows = min(4 * WARP_ROWS, t.len * f.r - t.first);
    const u64 width = (u64)f.key_heads * f.r * D_HEAD;
    const u32 packs = D_HEAD / PACK;
    u32 position[2];
    u64 place[2];
    bool there[2];
    EACH(i, 2) {
        const u32 row = warp * WARP_ROWS + g + 8 * i, at = t.first + min(row, rows - 1);
        there[i] = row < rows;
        position[i] = t.past_len + at / f.r;
        place[i] = (t.start + at / f.r) * width + (key_head * f.r + at % f.r) * D_HEAD;
    }
    u32 query[D_HEAD / 16][4];
    EACH(d, D_HEAD / 16) EACH(part, 4)
        query[d][part] = *(const u32 *)(f.q + place[part % 2] + 16 * d + two + 8 * (part / 2));
    float most[2] = {-INFINITE, -INFINITE}, total[2] = {}, sums[D_HEAD / 8][4] = {};
    const u32 end = t.past_len + (t.first + rows - 1) / f.r + 1;
    const u32 begin = first_key(f, t.past_len + t.first / f.r);
    for (u32 from = begin; from < end; from += BLOCK_KEYS) {
        __syncthreads();
        for (u32 i = threadIdx.x; i < BLOCK_KEYS * packs; i += 128) {
            const u32 key = i / packs, j = from + key;
            Pack a = {}, b = {};
            if (j < end) {
                a = load(row_at(f, t, f.past_k, f.k, j, key_head), i % packs);
                b = load(row_at(f, t, f.past_v, f.v, j, key_head), i % packs);
            }
            store(ks[key], i % packs, a);
            store(vs[key], i % packs, b);
        }
        __syncthreads();
        float score[BLOCK_KEYS / 8][4] = {};
        EACH(d, D_HEAD / 16) EACH(b, BLOCK_KEYS / 8) {
            const T *key = &ks[8 * b + g][16 * d + two];
            multiply(score[b], query[d], *(const u32 *)key, *(const u32 *)(key + 8));
        }
        EACH(i, 2) {
            float largest = most[i];
            EACH(b, BLOCK_KEYS / 8) EACH(c, 2) {
                const u32 j = from + 8 * b + two + c;
                const bool seen = j <= position[i] && j >= first_key(f, position[i]);
                float &s = score[b][2 * i + c];
                s = seen ? bounded(f, s) : -INFINITE;
                largest = fmaxf(largest, s);
            }
            // The four lanes of a row.
            for (int step = 2; step; step >>= 1) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, step));
            const float base = largest == -INFINITE ? 0.f : largest, fade = __expf(most[i] - base);
            float more = 0.f;
            EACH(b, BLOCK_KEYS / 8) EACH(c, 2) {
                float &s = score[b][2 * i + c];
                s = __expf(s - base);
                more += s;
            }
            for (int step = 2; step; step >>= 1) more += __shfl_xor_sync(~0u, more, step);
            total[i] = total[i] * fade + more;
            most[i] = largest;
            EACH(b, D_HEAD / 8) EACH(c, 2) sums[b][2 * i + c] *= fade;
        }
        EACH(k, BLOCK_KEYS / 16) {
            const float(&low)[4] = score[2 * k], (&high)[4] = score[2 * k + 1];
            const u32 weight[4] = {
                pair(low[0], low[1]), pair(low[2], low[3]), pair(high[0], high[1]), pair(high[2], high[3])};
            EACH(b, D_HEAD / 16) {
                // Lanes 0 to 15 name the rows of keys for 8 columns, 16 to 31 for the 8 after them.
                const T *row = &vs[16 * k + threadIdx.x % 16][16 * b + threadIdx.x % 32 / 16 * 8];
                const u32 address = (u32)__cvta_generic_to_shared(row);
                u32 v[4];
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                             : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                             : "r"(address)
                             : "memory");
                multiply(sums[2 * b], weight, v[0], v[1]);
                multiply(sums[2 * b + 1], weight, v[2], v[3]);
            }
        }
    }
    EACH(i, 2) {
        if (!there[i]) continue;
        EACH(b, D_HEAD / 8)
            *(u32 *)(f.z + place[i] + 8 * b + two) =
                pair(sums[b][2 * i] / total[i], sums[b][2 * i + 1] / total[i]);
    }
}
#endif

// Single query rows: a block has up to HEADS heads that share a key head; eight lanes read one key together, 32 keys at a
// time. A tile's first row is its first head.
#define HEADS (D_HEAD > 128 ? 2 : 4)
#define PACKS (D_HEAD / PACK)
#define PACKS_EACH ((PACKS + 7) / 8)

extern "C" __global__ void __launch_bounds__(256) attend_rows(ARGUMENTS) {
    follow();
    const Form f = FORM;
    __shared__ float partial[8][HEADS][D_HEAD];
    __shared__ float partial_most[8][HEADS], partial_total[8][HEADS];
    const Tile t = tile_of(f);
    const u32 key_head = blockIdx.y, first = t.first, heads = min(HEADS, f.r - first);
    const u32 lane = threadIdx.x % 8, group = threadIdx.x / 8, warp = threadIdx.x / 32;
    const u64 width = (u64)f.key_heads * f.r * D_HEAD;
    const u64 row = t.start * width + (key_head * f.r + first) * D_HEAD;
    float query[HEADS][PACKS_EACH * PACK], sums[HEADS][PACKS_EACH * PACK], most[HEADS], total[HEADS];
    EACH(h, HEADS) {
        most[h] = -INFINITE;
        total[h] = 0.f;
        EACH(b, PACKS_EACH) {
            Pack pack = {};
            if (h < heads && lane + 8 * b < PACKS) pack = load(f.q + row + h * D_HEAD, lane + 8 * b);
            EACH(c, PACK) {
                query[h][b * PACK + c] = wide(pack.at[c]);
                sums[h][b * PACK + c] = 0.f;
            }
        }
    }
    const u32 end = t.past_len + 1;
    for (u32 from = first_key(f, t.past_len); from < end; from += 32) {
        const u32 j = from + group;
        const bool seen = j < end;
        Pack keys[PACKS_EACH] = {}, values[PACKS_EACH] = {};
        if (seen) {
            const T *key = row_at(f, t, f.past_k, f.k, j, key_head), *value = row_at(f, t, f.past_v, f.v, j, key_head);
            EACH(b, PACKS_EACH)
                if (lane + 8 * b < PACKS) keys[b] = load(key, lane + 8 * b), values[b] = load(value, lane + 8 * b);
        }
        EACH(h, HEADS) {
            float score = 0.f;
            EACH(b, PACKS_EACH)
                EACH(c, PACK) score += query[h][b * PACK + c] * wide(keys[b].at[c]);
            for (int step = 4; step; step >>= 1) score += __shfl_xor_sync(~0u, score, step);
            score = seen ? bounded(f, score) : -INFINITE;
            float largest = fmaxf(most[h], score), base = largest == -INFINITE ? 0.f : largest;
            float fade = __expf(most[h] - base), e = __expf(score - base);
            most[h] = largest;
            total[h] = total[h] * fade + e;
            EACH(b, PACKS_EACH)
                EACH(c, PACK)
                    sums[h][b * PACK + c] = sums[h][b * PACK + c] * fade + e * wide(values[b].at[c]);
        }
    }
    // The four groups of a warp, then the warps.
    EACH(h, HEADS) {
        float largest = most[h];
        for (int step = 16; step >= 8; step >>= 1) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, step));
        float fade = __expf(most[h] - (largest == -INFINITE ? 0.f : largest)), all = total[h] * fade;
        for (int step = 16; step >= 8; step >>= 1) all += __shfl_xor_sync(~0u, all, step);
        EACH(i, PACKS_EACH * PACK) {
            float sum = sums[h][i] * fade;
            for (int step = 16; step >= 8; step >>= 1) sum += __shfl_xor_sync(~0u, sum, step);
            u32 pack = lane + 8 * (i / PACK);
            if (threadIdx.x % 32 < 8 && pack < PACKS) partial[warp][h][pack * PACK + i % PACK] = sum;
        }
        if (threadIdx.x % 32 == 0) partial_most[warp][h] = largest, partial_total[warp][h] = all;
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < heads * D_HEAD; i += 256) {
        const u32 h = i / D_HEAD, d = i % D_HEAD;
        float largest = -INFINITE, sum = 0.f, all = 0.f;
        for (int w = 0; w < 8; w++) largest = fmaxf(largest, partial_most[w][h]);
        float base = largest == -INFINITE ? 0.f : largest;
        for (int w = 0; w < 8; w++) {
            float fade = __expf(partial_most[w][h] - base);
            sum += partial[w][h][d] * fade;
            all += partial_total[w][h] * fade;
        }
        f.z[row + i] = narrow(sum / all);
    }
}
