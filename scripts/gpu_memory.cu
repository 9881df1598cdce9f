// What a GPU's memory gives, measured in the patterns that `hmsim measure` simulates.
//
//     nvcc -O3 -arch=native scripts/gpu_memory.cu -o gpu_memory
//     ./gpu_memory > measured.csv            (about a minute)
//     python scripts/silicon.py --measured measured.csv --system h100-80gb
//
// Each row of the output is what `hmsim measure SYSTEM` is called with, what it measures, and the
// median, least and most of nine runs. Bytes are those that threads asked for, as hmsim counts them;
// time is that of CUDA events. The GPU must be otherwise idle. Nothing on the card is changed.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        cudaError_t error = (call);                                                                \
        if (error != cudaSuccess) {                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(error));         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

constexpr int THREADS = 1024;         // of a block, as `hmsim measure --blocks` counts them
constexpr int RUNS = 9;               // after one that is not counted
constexpr size_t GIB = size_t(1) << 30;
constexpr size_t MOVED = 16 * GIB;    // bytes of a run, about
constexpr size_t LINE = 128;          // bytes from one load of a chase to the next, at least
constexpr int CHASED = 100'000;       // loads of a chase

using Unit = uint4;  // what a thread loads or stores at once: 16 bytes

__host__ __device__ inline uint64_t mixed(uint64_t x) {  // splitmix64
    x += 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
}

__device__ inline size_t thread() { return blockIdx.x * size_t(blockDim.x) + threadIdx.x; }
__device__ inline size_t threads() { return gridDim.x * size_t(blockDim.x); }

__device__ inline uint32_t folded(Unit v) { return v.x ^ v.y ^ v.z ^ v.w; }

// A sum that the compiler cannot know is looked at by nobody.
__device__ inline void keep(uint32_t sum, uint32_t *sink) {
    if (sum == 0x5EED) *sink = sum;
}

__global__ void fill(Unit *to, size_t units, uint64_t seed) {
    for (size_t i = thread(); i < units; i += threads()) {
        uint64_t a = mixed(seed + 2 * i), b = mixed(seed + 2 * i + 1);
        to[i] = make_uint4(uint32_t(a), uint32_t(a >> 32), uint32_t(b), uint32_t(b >> 32));
    }
}

// Loads of a thread that are in flight together: DEEP. One is what a simple loop has.
template <int DEEP>
__global__ void read(const Unit *from, size_t units, uint32_t *sink) {
    uint32_t sum = 0;
    size_t i = thread();
#pragma unroll 1
    for (; i + (DEEP - 1) * threads() < units; i += DEEP * threads()) {
        Unit v[DEEP];
#pragma unroll
        for (int k = 0; k < DEEP; k++) v[k] = from[i + k * threads()];
#pragma unroll
        for (int k = 0; k < DEEP; k++) sum ^= folded(v[k]);
    }
#pragma unroll 1
    for (; i < units; i += threads()) sum ^= folded(from[i]);
    keep(sum, sink);
}

__global__ void write(Unit *to, size_t units, uint32_t value) {
    for (size_t i = thread(); i < units; i += threads())
        to[i] = make_uint4(value, value + 1, value ^ uint32_t(i), value);
}

__global__ void copy(const Unit *from, Unit *to, size_t units) {
    for (size_t i = thread(); i < units; i += threads()) to[i] = from[i];
}

__global__ void triad(const double2 *b, const double2 *c, double2 *a, size_t units) {
    for (size_t i = thread(); i < units; i += threads()) {
        double2 x = b[i], y = c[i];
        a[i] = make_double2(x.x + 0.4 * y.x, x.y + 0.4 * y.y);
    }
}

// Pieces of `each` units from random places, aligned to their size; so many of 1,024 are written.
template <int DEEP>
__global__ void gather(
    Unit *data, size_t pieces, uint32_t each, size_t total, uint64_t seed, uint32_t written,
    uint32_t *sink) {
    uint32_t sum = 0;
#pragma unroll 1
    for (size_t i = thread(); i < total; i += DEEP * threads()) {
        Unit v[DEEP];
#pragma unroll
        for (int k = 0; k < DEEP; k++) {
            size_t unit = i + k * threads();
            v[k] = make_uint4(0, 0, 0, 0);
            if (unit < total) {
                uint64_t piece = unit / each, drawn = mixed(seed ^ piece * 0xD1342543DE82EF95);
                size_t place = __umul64hi(drawn, pieces) * each + unit % each;
                if ((drawn & 1023) < written)
                    data[place] = make_uint4(uint32_t(unit), 1, 2, 3);
                else
                    v[k] = data[place];
            }
        }
#pragma unroll
        for (int k = 0; k < DEEP; k++) sum ^= folded(v[k]);
    }
    keep(sum, sink);
}

// A permutation of 2^bits lines: the chase goes from the i-th of it to the next.
__device__ inline uint64_t shuffled(uint64_t i, int bits) {
    uint64_t mask = (uint64_t(1) << bits) - 1;
    i &= mask;
    for (uint64_t odd : {0x9E3779B97F4A7C15ull, 0xBF58476D1CE4E5B9ull, 0x94D049BB133111EBull}) {
        i = (i * odd) & mask;
        i ^= i >> (bits / 2);
    }
    return i;
}

__global__ void link(char *data, int bits) {
    uint64_t lines = uint64_t(1) << bits;
    for (uint64_t i = thread(); i < lines; i += threads())
        *reinterpret_cast<uint64_t *>(data + shuffled(i, bits) * LINE) = shuffled(i + 1, bits) * LINE;
}

__global__ void chase(const char *data, uint64_t at, int loads, uint64_t *sink) {
#pragma unroll 1
    for (int i = 0; i < loads; i++) at = *reinterpret_cast<const volatile uint64_t *>(data + at);
    *sink = at;
}

struct Span {
    double median, low, high;
};

// Seconds that a launch takes.
template <typename Launch>
Span timed(Launch launch) {
    cudaEvent_t begin, end;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    std::vector<double> taken;
    for (int run = 0; run <= RUNS; run++) {
        CHECK(cudaEventRecord(begin));
        launch(run);
        CHECK(cudaGetLastError());
        CHECK(cudaEventRecord(end));
        CHECK(cudaEventSynchronize(end));
        float ms;
        CHECK(cudaEventElapsedTime(&ms, begin, end));
        if (run > 0) taken.push_back(ms / 1e3);
    }
    CHECK(cudaEventDestroy(begin));
    CHECK(cudaEventDestroy(end));
    std::sort(taken.begin(), taken.end());
    return {taken[RUNS / 2], taken.front(), taken.back()};
}

void rate(const std::string &call, const char *note, double bytes, Span s) {
    printf("%s,bandwidth_GBps,%.1f,%.1f,%.1f,GB/s,%s\n", call.c_str(), bytes / s.median / 1e9,
           bytes / s.high / 1e9, bytes / s.low / 1e9, note);
    fflush(stdout);
}

void latency(const std::string &call, const char *note, int loads, Span s) {
    printf("%s,latency_ns,%.1f,%.1f,%.1f,ns,%s\n", call.c_str(), s.median / loads * 1e9,
           s.low / loads * 1e9, s.high / loads * 1e9, note);
    fflush(stdout);
}

int log2_of(size_t value) {
    int bits = 0;
    while ((size_t(2) << bits) <= value) bits++;
    return bits;
}

void chases(char *data, size_t bytes, const std::string &call, const char *note, uint32_t *sink) {
    int bits = log2_of(bytes / LINE);
    link<<<1024, THREADS>>>(data, bits);
    CHECK(cudaDeviceSynchronize());
    auto end = reinterpret_cast<uint64_t *>(sink);
    latency(call, note, CHASED, timed([&](int run) {
        chase<<<1, 1>>>(data, (mixed(run) & ((uint64_t(1) << bits) - 1)) * LINE, CHASED, end);
    }));
}

int main() {
    cudaDeviceProp card;
    CHECK(cudaGetDeviceProperties(&card, 0));
    size_t room, whole;
    CHECK(cudaMemGetInfo(&room, &whole));
    size_t window = (room - 2 * GIB) / GIB * GIB;
    char *data;
    uint32_t *sink;
    CHECK(cudaMalloc(&data, window));
    CHECK(cudaMalloc(&sink, 64));
    int full = card.multiProcessorCount * (card.maxThreadsPerMultiProcessor / THREADS);
    fprintf(stderr, "%s: %d SMs, %d MiB of L2, %.0f of %.0f GiB used\n", card.name,
            card.multiProcessorCount, card.l2CacheSize >> 20, double(window) / GIB,
            double(whole) / GIB);
    auto units = reinterpret_cast<Unit *>(data);
    fill<<<full, THREADS>>>(units, window / sizeof(Unit), 1);
    CHECK(cudaDeviceSynchronize());

    printf("call,key,median,low,high,unit,note\n");
    size_t n = MOVED / sizeof(Unit), third = window / 3 / GIB * GIB;
    auto read_note = "a thread has four loads in flight";
    rate("", read_note, MOVED,
         timed([&](int) { read<4><<<full, THREADS>>>(units, n, sink); }));
    rate("--pattern write", "", MOVED,
         timed([&](int run) { write<<<full, THREADS>>>(units, n, run); }));
    n = std::min(n, third / sizeof(Unit));
    auto second = reinterpret_cast<Unit *>(data + third);
    auto last = reinterpret_cast<double2 *>(data + 2 * third);
    rate("--pattern copy", "", 2.0 * n * sizeof(Unit),
         timed([&](int) { copy<<<full, THREADS>>>(units, second, n); }));
    rate("--pattern triad", "", 3.0 * n * sizeof(Unit), timed([&](int) {
             triad<<<full, THREADS>>>(reinterpret_cast<double2 *>(units),
                                      reinterpret_cast<double2 *>(second), last, n);
         }));
    n = MOVED / sizeof(Unit);
    for (int blocks : {11, 31, 71, 131, full}) {
        size_t some = n / 8 * std::min(8, 1 + blocks / 16);
        std::string call = "--blocks " + std::to_string(blocks);
        rate(call, "a thread has one load in flight", double(some) * sizeof(Unit),
             timed([&](int) { read<1><<<blocks, THREADS>>>(units, some, sink); }));
    }
    for (int share : {0, 307}) {
        for (size_t piece : {32, 64, 128, 256, 512, 656, 1024, 2048, 4096, 5120, 8192, 10240, 16384,
                             65536, 1 << 20}) {
            uint32_t each = uint32_t(piece / sizeof(Unit));
            size_t total = (piece < 128 ? n / 4 : n) / each * each;
            std::string call = "--pattern gather --bytes " + std::to_string(piece);
            if (share) call += " --writes 0.3";
            for (size_t part : {window, 64 * GIB, 32 * GIB, 16 * GIB, 8 * GIB, GIB}) {
                // Address translation tells windows apart where pieces are short.
                if (part > window || (part != window && part != 8 * GIB && piece != 128)) continue;
                if (share && part != window) continue;
                std::string over = part == window ? " --set system.hbm.capacity=" : " --over ";
                over += std::to_string(part / GIB) + "GiB";
                rate(call + over, "", double(total) * sizeof(Unit),
                     timed([&](int run) {
                         gather<4><<<full, THREADS>>>(units, part / piece, each, total, mixed(run),
                                                      share, sink);
                     }));
            }
        }
    }
    chases(data, window, "--pattern chase", "over a power of two of all memory", sink);
    chases(data, GIB, "--pattern chase", "over 1 GiB", sink);
    chases(data, 8 * GIB, "--pattern chase", "over 8 GiB", sink);

    char *host;
    size_t pinned = 4 * GIB;
    if (cudaHostAlloc(&host, pinned, cudaHostAllocMapped) != cudaSuccess) {
        fprintf(stderr, "no 4 GiB of pinned host memory: --on dram is left out\n");
        return 0;
    }
    auto far = reinterpret_cast<Unit *>(host);
    n = pinned / sizeof(Unit);
    fill<<<full, THREADS>>>(far, n, 2);
    CHECK(cudaDeviceSynchronize());
    rate("--on dram", "", pinned, timed([&](int) { read<4><<<full, THREADS>>>(far, n, sink); }));
    rate("--on dram --pattern write", "", pinned,
         timed([&](int run) { write<<<full, THREADS>>>(far, n, run); }));
    for (size_t piece : {128, 4096, 16384}) {
        uint32_t each = uint32_t(piece / sizeof(Unit));
        rate("--on dram --pattern gather --bytes " + std::to_string(piece), "", pinned,
             timed([&](int run) {
                 gather<4><<<full, THREADS>>>(far, pinned / piece, each, n, mixed(run), 0, sink);
             }));
    }
    chases(host, pinned, "--on dram --pattern chase", "over 4 GiB", sink);
    return 0;
}
