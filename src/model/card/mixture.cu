// A step of training a mixture of factor analysers. Compiled for float32, with RANK directions a component. All arrays are as
// `analysis::mfa` has them: `rows` [K, 1 + RANK, D] holds of each component its mean, then its directions; noise is [1, D], or
// [K, D] where each component has its own. Sums go in one order, so that a step gives the same bits every time.

#define ROWS (1 + RANK)
// Rows of a tile of products, and such tiles.
#define TILE 4
#define TILES ((ROWS + TILE - 1) / TILE)
// Numbers of a row in the list of a component: its share, and its posterior mean.
#define ENTRY ((ROWS + 3) / 4 * 4)
// Where shares would have lost digits they are 0.
#define LEAST (-87.f)

__device__ __forceinline__ float softplus(float x) { return fmaxf(x, 0.f) + log1pf(expf(-fabsf(x))); }
__device__ __forceinline__ float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

__device__ __forceinline__ double warp_sum_f64(double x) {
    for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(~0u, x, step);
    return x;
}

// The numbers of a step of Adam (Kingma and Ba 2015).
struct Rates {
    float rate, root, clip;
};

__device__ __forceinline__ void adam(float *value, float *first, float *second, float gradient, Rates r) {
    gradient *= r.clip;
    float m = 0.9f * *first + 0.1f * gradient;
    float v = 0.999f * *second + 0.001f * gradient * gradient;
    *first = m;
    *second = v;
    *value -= r.rate * m / (sqrtf(v) * r.root + 1e-8f);
}

// One block each: the inverse of noise row `blockIdx.x` and the sum of its logarithms, and after the last the logarithm of
// the sum of all weights.
extern "C" __global__ void mixture_noise(
    const float *psi_rho, const float *pi_logits, float *precision, float *log_psi, float *log_all, u32 noises, u32 width,
    u32 components, float floor) {
    wait();
    if (blockIdx.x < noises) {
        u64 at = (u64)blockIdx.x * width;
        float sum = 0.f;
        for (u32 d = threadIdx.x; d < width; d += blockDim.x) {
            float psi = softplus(psi_rho[at + d]) + floor;
            precision[at + d] = 1.f / psi;
            sum += logf(psi);
        }
        sum = block_sum(sum);
        if (threadIdx.x == 0) log_psi[blockIdx.x] = sum;
        return;
    }
    __shared__ float largest[32];
    float most = -INFINITE, sum = 0.f;
    for (u32 k = threadIdx.x; k < components; k += blockDim.x) most = fmaxf(most, pi_logits[k]);
    for (int step = 16; step; step >>= 1) most = fmaxf(most, __shfl_xor_sync(~0u, most, step));
    if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = most;
    __syncthreads();
    for (u32 w = 0; w < blockDim.x / 32; w++) most = fmaxf(most, largest[w]);
    for (u32 k = threadIdx.x; k < components; k += blockDim.x) sum += expf(pi_logits[k] - most);
    sum = block_sum(sum);
    if (threadIdx.x == 0) *log_all = most + logf(sum);
}

// Row `blockIdx.x` of the batch for the products: with shared noise times its inverse P, and what `x' P x` takes from its
// likelihood; with noise of each component squared.
extern "C" __global__ void mixture_batch(
    const float *x, const float *precision, const float *log_psi, float *out, float *shared, u32 width, u32 own) {
    wait();
    u64 at = (u64)blockIdx.x * width;
    float sum = 0.f;
    for (u32 d = threadIdx.x; d < width; d += blockDim.x) {
        float value = x[at + d], scaled = value * (own ? value : precision[d]);
        out[at + d] = scaled;
        sum += own ? 0.f : scaled * value;
    }
    sum = block_sum(sum);
    // The logarithm of 2 pi.
    if (threadIdx.x == 0) shared[blockIdx.x] = -0.5f * (1.8378770664093453f * width + sum + (own ? 0.f : *log_psi));
}

// One block a component: lengths of its directions and what makes W of them, `W' P mu`, the inverse triangle of
// M = I + W' P W in float64, and what of its density depends on no row. Where noise is its own, `weighted` gets its rows times
// the inverse of that.
extern "C" __global__ void mixture_forms(
    const float *rows, const float *scale_rho, const float *pi_logits, const float *precision, const float *log_psi,
    const float *log_all, float *scale, float *length, float *offset, float *whiten, float *constant, float *weighted,
    u32 width, u32 own) {
    extern __shared__ double g[];  // [ROWS, ROWS], then the squared lengths
    __shared__ double determinant;
    wait();
    u32 k = blockIdx.x, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    rows += (u64)k * ROWS * width;
    precision += own ? (u64)k * width : 0;
    double *squares = g + ROWS * ROWS, *diagonal = squares + RANK;
    const u32 pairs = TILES * (TILES + 1) / 2;
    for (u32 task = threadIdx.x / 32; task < pairs + RANK; task += warps) {
        if (task >= pairs) {
            const float *row = rows + (u64)(1 + task - pairs) * width;
            double sum = 0.;
            for (u32 d = lane; d < width; d += 32) sum += (double)row[d] * row[d];
            sum = warp_sum_f64(sum);
            if (lane == 0) squares[task - pairs] = sum;
            continue;
        }
        u32 i = 0;
        while ((i + 1) * (i + 2) / 2 <= task) i++;
        u32 j = task - i * (i + 1) / 2;
        double sums[TILE][TILE] = {};
        for (u32 d = lane; d < width; d += 32) {
            double p = precision[d], a[TILE], b[TILE];
            EACH(n, TILE) {
                u32 row = i * TILE + n, column = j * TILE + n;
                a[n] = row < ROWS ? p * rows[(u64)row * width + d] : 0.;
                b[n] = column < ROWS ? (double)rows[(u64)column * width + d] : 0.;
            }
            EACH(m, TILE) EACH(n, TILE) sums[m][n] += a[m] * b[n];
        }
        EACH(m, TILE) EACH(n, TILE) {
            double sum = warp_sum_f64(sums[m][n]);
            u32 row = i * TILE + m, column = j * TILE + n;
            if (lane == 0 && row < ROWS && column < ROWS) g[row * ROWS + column] = g[column * ROWS + row] = sum;
        }
    }
    if (own) {
        weighted += (u64)k * ROWS * width;
        for (u32 d = threadIdx.x; d < width; d += blockDim.x)
            for (u32 row = 0; row < ROWS; row++) weighted[(u64)row * width + d] = rows[(u64)row * width + d] * precision[d];
    }
    __syncthreads();
    for (u32 j = threadIdx.x; j < RANK; j += blockDim.x) {
        float along = fmaxf((float)sqrt(squares[j]), 1e-12f);
        float by = softplus(scale_rho[k * RANK + j]) / along;
        length[k * RANK + j] = along;
        scale[k * RANK + j] = by;
        offset[k * RANK + j] = (float)(by * g[1 + j]);
        squares[j] = by;
    }
    if (threadIdx.x == 0) determinant = 0.;
    __syncthreads();
    // From here on `m` is M, then the triangle L of M = L L', whose inverse comes to lie above its diagonal.
    double *m = g + ROWS + 1;
    for (u32 e = threadIdx.x; e < RANK * RANK; e += blockDim.x) {
        u32 i = e / RANK, j = e % RANK;
        m[i * ROWS + j] = squares[i] * squares[j] * m[i * ROWS + j] + (i == j ? 1. : 0.);
    }
    __syncthreads();
    for (u32 c = 0; c < RANK; c++) {
        if (threadIdx.x == 0) {
            double pivot = m[c * ROWS + c];
            determinant += log(pivot);
            diagonal[c] = 1. / sqrt(pivot);
        }
        __syncthreads();
        for (u32 i = c + 1 + threadIdx.x; i < RANK; i += blockDim.x) m[i * ROWS + c] *= diagonal[c];
        __syncthreads();
        u32 left = RANK - c - 1;
        for (u32 e = threadIdx.x; e < left * left; e += blockDim.x) {
            u32 i = c + 1 + e / left, j = c + 1 + e % left;
            if (i >= j) m[i * ROWS + j] -= m[i * ROWS + c] * m[j * ROWS + c];
        }
        __syncthreads();
    }
    for (u32 j = threadIdx.x; j < RANK; j += blockDim.x) {
        for (u32 i = j + 1; i < RANK; i++) {
            double sum = m[i * ROWS + j] * diagonal[j];
            for (u32 n = j + 1; n < i; n++) sum += m[i * ROWS + n] * m[j * ROWS + n];
            m[j * ROWS + i] = -sum * diagonal[i];
        }
        for (u32 i = 0; i < RANK; i++) {
            float value = i > j ? (float)m[j * ROWS + i] : i == j ? (float)diagonal[j] : 0.f;
            whiten[((u64)k * RANK + i) * RANK + j] = value;
        }
    }
    if (threadIdx.x == 0) {
        double rest = determinant + g[0] + (own ? log_psi[k] : 0.f);
        constant[k] = (float)((double)pi_logits[k] - *log_all - 0.5 * rest);
    }
}

// One block a component: of the products with each row the logarithm of weight times density, less what all components
// share. `v` keeps its whitened directions.
extern "C" __global__ void mixture_joint(
    float *v, const float *squares, const float *scale, const float *offset, const float *whiten, const float *constant,
    float *joint, u32 count, u32 own) {
    wait();
    u64 k = blockIdx.x;
    v += k * ROWS * count;
    scale += k * RANK;
    offset += k * RANK;
    whiten += k * RANK * RANK;
    for (u32 b = threadIdx.x; b < count; b += blockDim.x) {
        float sum = constant[k] + v[b] - (own ? 0.5f * squares[k * count + b] : 0.f);
        float y[RANK];
        for (int j = 0; j < RANK; j++) y[j] = v[(u64)(1 + j) * count + b] * scale[j] - offset[j];
        for (int i = 0; i < RANK; i++) {
            float w = 0.f;
            for (int j = 0; j <= i; j++) w += whiten[i * RANK + j] * y[j];
            v[(u64)(1 + i) * count + b] = w;
            sum += 0.5f * w * w;
        }
        joint[k * count + b] = sum;
    }
}

// Of eight rows of the batch a block of 1024 threads: the largest of `joint` over all components, the sum of the exponentials
// of what it is less that, and the row's negative log likelihood.
extern "C" __global__ void mixture_most(
    const float *joint, const float *shared, float *most, float *sum, float *nll, u32 components, u32 count) {
    __shared__ float mosts[1024], sums[1024];
    wait();
    u32 b = blockIdx.x * 8 + threadIdx.x % 8;
    float m = -INFINITE, s = 0.f;
    if (b < count)
        for (u32 k = threadIdx.x / 8; k < components; k += 128) {
            float x = joint[(u64)k * count + b];
            if (x > m) {
                s = s * expf(m - x) + 1.f;
                m = x;
            } else {
                s += expf(x - m);
            }
        }
    mosts[threadIdx.x] = m;
    sums[threadIdx.x] = s;
    for (u32 half = 512; half >= 8; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            float other = mosts[threadIdx.x + half], more = sums[threadIdx.x + half];
            float top = fmaxf(m, other);
            // Of no component, or of NaN alone.
            s = (s == 0.f ? 0.f : s * expf(m - top)) + (more == 0.f ? 0.f : more * expf(other - top));
            m = top;
            mosts[threadIdx.x] = m;
            sums[threadIdx.x] = s;
        }
    }
    if (threadIdx.x < 8 && b < count) {
        most[b] = m;
        sum[b] = s;
        nll[b] = -(shared[b] + m + logf(s));
    }
}

// A warp a component: which rows have a share in it, with their posterior means, and the sums of these.
extern "C" __global__ void mixture_shares(
    const float *joint, const float *most, const float *sum, const float *v, const float *whiten, u32 *which, u32 *found,
    float *entries, float *n, float *sum_z, float *zz, u32 components, u32 count) {
    wait();
    u64 k = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    u32 lane = threadIdx.x % 32;
    if (k >= components) return;
    joint += k * count;
    which += k * count;
    entries += k * count * ENTRY;
    whiten += k * RANK * RANK;
    v += (k * ROWS + 1) * count;
    u32 len = 0;
    float all = 0.f;
    for (u32 first = 0; first < count; first += 32) {
        u32 b = first + lane;
        float apart = b < count ? joint[b] - most[b] : -INFINITE;
        float r = apart < LEAST ? 0.f : expf(apart) / sum[b];
        u32 some = __ballot_sync(~0u, r != 0.f);
        if (r != 0.f) {
            u32 at = len + __popc(some & ((1u << lane) - 1u));
            which[at] = b;
            entries[(u64)at * ENTRY] = r;
        }
        len += __popc(some);
        all += r;
    }
    all = warp_sum(all);
    if (lane == 0) {
        found[k] = len;
        n[k] = all;
    }
    __syncwarp();
    if (len == 0) return;
    for (u32 e = lane; e < len * RANK; e += 32) {
        u32 at = e / RANK, j = e % RANK, b = which[at];
        float z = 0.f;
        for (u32 i = j; i < RANK; i++) z += whiten[i * RANK + j] * v[(u64)i * count + b];
        entries[(u64)at * ENTRY + 1 + j] = z;
    }
    __syncwarp();
    for (u32 e = lane; e < RANK * RANK + RANK; e += 32) {
        float total = 0.f;
        if (e < RANK) {
            for (u32 at = 0; at < len; at++) total += entries[(u64)at * ENTRY] * entries[(u64)at * ENTRY + 1 + e];
            sum_z[k * RANK + e] = total;
            continue;
        }
        u32 i = (e - RANK) / RANK, j = (e - RANK) % RANK;
        for (u32 at = 0; at < len; at++) {
            const float *entry = entries + (u64)at * ENTRY;
            total += entry[0] * entry[1 + i] * entry[1 + j];
        }
        float c = 0.f;
        for (u32 n = i > j ? i : j; n < RANK; n++) c += whiten[n * RANK + i] * whiten[n * RANK + j];
        zz[(k * RANK + i) * RANK + j] = total + all * c;
    }
}

// A thread a column and `together` components: gradients by mean, directions and scales, and what they say about noise.
// Changes the parameters, or with `norms` only sums the squares of the gradients.
//
// The gradient by a direction's length needs no sum over columns: with s its scale it is `(zz - n) / s`, since
// `W' P y = M z`.
extern "C" __global__ void mixture_learn(
    float *rows, float *first, float *second, float *scale_rho, float *scale_first, float *scale_second, float *psi_rho,
    float *psi_first, float *psi_second, const float *x, const float *precision, const float *scale, const float *length,
    const u32 *which, const u32 *found, const float *entries, const float *n, const float *sum_z, const float *zz,
    float *partial, float *norms, const float *clip, u32 components, u32 width, u32 count, u32 together, u32 own, float rate,
    float root) {
    wait();
    u32 d = blockIdx.x * blockDim.x + threadIdx.x;
    const bool inside = d < width;
    const float part = -1.f / count;
    Rates rates = {rate, root, norms ? 0.f : *clip};
    float p = inside && !own ? precision[d] : 0.f, squares = 0.f, norm = 0.f;
    u64 last = min((blockIdx.y + 1) * together, components);
    for (u64 k = (u64)blockIdx.y * together; k < last; k++) {
        const u32 len = found[k];
        const float all = n[k];
        if (blockIdx.x == 0)
            for (u32 j = threadIdx.x; j < RANK; j += blockDim.x) {
                u64 at = k * RANK + j;
                float s = scale[at], along = s > 0.f && len ? part * (zz[at * RANK + j] - all) / (s * length[at]) : 0.f;
                float g = along * sigmoid(scale_rho[at]);
                if (norms) norm += g * g;
                else adam(scale_rho + at, scale_first + at, scale_second + at, g, rates);
            }
        if (!inside) continue;
        u64 at = k * ROWS * width + d, noise = k * width + d;
        if (len == 0) {
            if (norms) continue;
            for (int row = 0; row < ROWS; row++, at += width) adam(rows + at, first + at, second + at, 0.f, rates);
            if (own) adam(psi_rho + noise, psi_first + noise, psi_second + noise, 0.f, rates);
            continue;
        }
        if (own) {
            p = precision[noise];
            squares = 0.f;
        }
        float mu = rows[at], w[RANK], of_zy[RANK], of_y = 0.f, left = 0.f;
        EACH(j, RANK) {
            w[j] = rows[at + (u64)(1 + j) * width] * scale[k * RANK + j];
            of_zy[j] = 0.f;
        }
        for (u32 i = 0; i < len; i++) {
            const float *entry = entries + (k * count + i) * ENTRY;
            float y = x[(u64)which[k * count + i] * width + d] - mu, ry = entry[0] * y;
            of_y += ry;
            left += ry * y;
            EACH(j, RANK) of_zy[j] += entry[1 + j] * ry;
        }
        float h = 0.f;
        EACH(j, RANK) h += sum_z[k * RANK + j] * w[j];
        float g = (of_y - h) * p * part;
        if (norms) norm += g * g;
        else adam(rows + at, first + at, second + at, g, rates);
        EACH(j, RANK) {
            u64 of = k * RANK + j;
            float s = scale[of], along = s > 0.f ? part * (zz[of * RANK + j] - all) / (s * length[of] * length[of]) : 0.f;
            h = 0.f;
            EACH(i, RANK) h += zz[of * RANK + i] * w[i];
            left += w[j] * (h - 2.f * of_zy[j]);
            at += width;
            float raw = rows[at];
            g = s * ((of_zy[j] - h) * p * part - raw * along);
            if (norms) norm += g * g;
            else adam(rows + at, first + at, second + at, g, rates);
        }
        squares += left;
        if (own) {
            g = -0.5f * part * (all * p - left * p * p) * sigmoid(psi_rho[noise]);
            if (norms) norm += g * g;
            else adam(psi_rho + noise, psi_first + noise, psi_second + noise, g, rates);
        }
    }
    if (inside && !own) partial[(u64)blockIdx.y * width + d] = squares;
    if (norms) {
        norm = block_sum(norm);
        if (threadIdx.x == 0) norms[blockIdx.y * gridDim.x + blockIdx.x] = norm;
    }
}

// A thread a number: from the sums of all components the gradients by shared noise and by weights. Changes these, or with
// `norms` only sums the squares of the gradients. `nll` of all rows becomes entry `step` of `nlls`.
extern "C" __global__ void mixture_finish(
    float *psi_rho, float *psi_first, float *psi_second, float *pi_logits, float *pi_first, float *pi_second,
    const float *precision, const float *log_all, const float *n, const float *partial, float *norms, const float *clip,
    const float *nll, float *nlls, u32 components, u32 width, u32 count, u32 groups, u32 own, u32 step, float rate,
    float root) {
    wait();
    const float part = -1.f / count;
    Rates rates = {rate, root, norms ? 0.f : *clip};
    float norm = 0.f;
    u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < width && !own) {
        float left = 0.f;
#pragma unroll 8
        for (u32 i = 0; i < groups; i++) left += partial[(u64)i * width + at];
        float p = precision[at], g = -0.5f * part * (count * p - left * p * p) * sigmoid(psi_rho[at]);
        if (norms) norm += g * g;
        else adam(psi_rho + at, psi_first + at, psi_second + at, g, rates);
    }
    if (at < components) {
        float g = expf(pi_logits[at] - *log_all) + part * n[at];
        if (norms) norm += g * g;
        else adam(pi_logits + at, pi_first + at, pi_second + at, g, rates);
    }
    if (norms) {
        norm = block_sum(norm);
        if (threadIdx.x == 0) norms[blockIdx.x] = norm;
        return;
    }
    if (blockIdx.x) return;
    float total = 0.f;
    for (u32 b = threadIdx.x; b < count; b += blockDim.x) total += nll[b];
    total = block_sum(total);
    if (threadIdx.x == 0) nlls[step] = total / count;
}

// One block: the factor that shortens all gradients to the length `longest`, from the squares of their parts.
extern "C" __global__ void mixture_clip(const float *norms, float *clip, u32 parts, float longest) {
    wait();
    float norm = 0.f;
    for (u32 i = threadIdx.x; i < parts; i += blockDim.x) norm += norms[i];
    norm = block_sum(norm);
    if (threadIdx.x == 0) *clip = fminf(longest / (sqrtf(norm) + 1e-6f), 1.f);
}
