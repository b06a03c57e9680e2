"""CUDA C of the generator and the fingerprints: each reads or writes device memory once.

tests/provider_agent/proving runs the same text, compiled for the CPU, under the engine and compares it with numpy's.
"""

SOURCE = r"""
typedef unsigned int u32;
typedef unsigned long long u64;

extern "C" __global__ void generate(signed char *out, u64 blocks_per_row, u64 blocks, u32 key0, u32 key1, u32 high0,
                                    u32 high1) {
    u64 place = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= blocks) return;
    u32 c0 = (u32)(place % blocks_per_row), c1 = (u32)(place / blocks_per_row), c2 = high0, c3 = high1;
    for (int turn = 0; turn < 10; turn++) {
        u64 product0 = (u64)0xD2511F53u * c0, product1 = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(product1 >> 32) ^ c1 ^ key0;
        c2 = (u32)(product0 >> 32) ^ c3 ^ key1;
        c1 = (u32)product1;
        c3 = (u32)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    u32 words[4] = {c0, c1, c2, c3};
    for (int entry = 0; entry < 16; entry++) {
        u32 octet = (words[entry / 4] >> (8 * (entry % 4))) & 255u;
        out[16 * place + entry] = (signed char)((int)(octet * 63u >> 8) - 31);
    }
}

__device__ u64 mix64(u64 value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
    return value ^ (value >> 31);
}

extern "C" __global__ void fingerprint(const int *sums, u64 *out, u64 size, u64 start) {
    u64 row = blockIdx.x, folded = 0;
    for (u64 column = threadIdx.x; column < size; column += blockDim.x) {
        u64 key = mix64(start + column * 0x9E3779B97F4A7C15ull);
        folded += mix64((u64)(long long)sums[row * size + column] + key);
    }
    atomicAdd(&out[row], folded);
}
"""
