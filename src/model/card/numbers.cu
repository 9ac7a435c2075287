// What all kernels share. Compiled at run time with NUMBER (0: float32, 1: bfloat16, 2: float16), attention
// also with D_HEAD; includes nothing, so that no headers are needed where it runs. Sums are float32 whatever the numbers are.

#if NUMBER == 0
typedef float T;
__device__ __forceinline__ float wide(T x) { return x; }
__device__ __forceinline__ T narrow(float x) { return x; }
#else
typedef unsigned short T;
#if NUMBER == 1
__device__ __forceinline__ float wide(T x) { return __uint_as_float((unsigned)x << 16); }
__device__ __forceinline__ T narrow(float x) {
    T y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
#else
__device__ __forceinline__ float wide(T x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}
__device__ __forceinline__ T narrow(float x) {
    T y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
#endif
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

// What one thread moves at once: 16 bytes.
#define PACK (16 / (int)sizeof(T))
struct __align__(16) Pack {
    T at[PACK];
};

// A loop over an array in registers, whose indices must be known.
#define EACH(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)

#define INFINITE __int_as_float(0x7f800000)

__device__ __forceinline__ Pack load(const T *x, u64 pack) { return ((const Pack *)x)[pack]; }
__device__ __forceinline__ void store(T *x, u64 pack, const Pack &p) { ((Pack *)x)[pack] = p; }

__device__ __forceinline__ float warp_sum(float x) {
    for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(~0u, x, step);
    return x;
}

// The sum over a block of at most 1024 threads, a multiple of 32, which all get.
__device__ __forceinline__ float block_sum(float x) {
    __shared__ float parts[33];
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    if (threadIdx.x < 32) {
        float total = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0.f;
        total = warp_sum(total);
        if (threadIdx.x == 0) parts[32] = total;
    }
    __syncthreads();
    return parts[32];
}

// Blocks of a kernel may start while the one before still runs, and do there what needs nothing of it: read weights, which
// nobody writes. Every kernel waits here before it reads or writes anything else,
__device__ __forceinline__ void wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// and the next may start once all blocks of one that makes no weights are here.
__device__ __forceinline__ void follow() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
    wait();
}

__device__ __forceinline__ float activated(float x, u32 kind) {
    switch (kind) {
    case 0: return x / (1.f + __expf(-x));
    case 1: return 0.5f * x * (1.f + erff(x * 0.70710678118654752f));
    case 2: return 0.5f * x * (1.f + tanhf(0.79788456080286536f * x * (1.f + 0.044715f * x * x)));
    default: return x > 0.f || x != x ? x : 0.f;
    }
}

#if NUMBER != 0
// Sums of tiles of 16 x 16 by 16 x 8 numbers by the tensor cores. They lie in a warp's registers as the PTX manual has them
// under `mma.m16n8k16`: lane 4g + t holds of the left operand rows g and g + 8 at columns 2t, 2t + 1 and 8 further; of the
// right one column g at rows 2t, 2t + 1 and 8 further; of the sum rows g and g + 8 at columns 2t, 2t + 1.
__device__ __forceinline__ void multiply(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if NUMBER == 1
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#endif
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif
