/*
 * A thread that spins with a known value in every vector register: zmm0 to zmm31 and k0 to k7 if
 * the processor has AVX-512, or ymm0 to ymm15 if it has only AVX.
 */
#include "../victims/victim.h"

enum { REGISTERS = 32, BYTES = 64, MASKS = 8 };

static uint8_t pattern[REGISTERS][BYTES] __attribute__((aligned(64)));
static uint64_t masks[MASKS];
static _Atomic int loaded;
static pid_t tid;

__attribute__((target("avx"))) static void spin_with_avx(void) {
    __asm__ volatile(
        "    vmovdqu 0(%0), %%ymm0\n"
        "    vmovdqu 64(%0), %%ymm1\n"
        "    vmovdqu 128(%0), %%ymm2\n"
        "    vmovdqu 192(%0), %%ymm3\n"
        "    vmovdqu 256(%0), %%ymm4\n"
        "    vmovdqu 320(%0), %%ymm5\n"
        "    vmovdqu 384(%0), %%ymm6\n"
        "    vmovdqu 448(%0), %%ymm7\n"
        "    vmovdqu 512(%0), %%ymm8\n"
        "    vmovdqu 576(%0), %%ymm9\n"
        "    vmovdqu 640(%0), %%ymm10\n"
        "    vmovdqu 704(%0), %%ymm11\n"
        "    vmovdqu 768(%0), %%ymm12\n"
        "    vmovdqu 832(%0), %%ymm13\n"
        "    vmovdqu 896(%0), %%ymm14\n"
        "    vmovdqu 960(%0), %%ymm15\n"
        "    lock incl (%1)\n"
        "1:  pause\n"
        "    jmp 1b\n"
        :
        : "r"(pattern), "r"(&loaded)
        : "memory");
}

__attribute__((target("avx512f,avx512bw"))) static void spin_with_avx512(void) {
    __asm__ volatile(
        "    vmovdqu64 0(%0), %%zmm0\n"
        "    vmovdqu64 64(%0), %%zmm1\n"
        "    vmovdqu64 128(%0), %%zmm2\n"
        "    vmovdqu64 192(%0), %%zmm3\n"
        "    vmovdqu64 256(%0), %%zmm4\n"
        "    vmovdqu64 320(%0), %%zmm5\n"
        "    vmovdqu64 384(%0), %%zmm6\n"
        "    vmovdqu64 448(%0), %%zmm7\n"
        "    vmovdqu64 512(%0), %%zmm8\n"
        "    vmovdqu64 576(%0), %%zmm9\n"
        "    vmovdqu64 640(%0), %%zmm10\n"
        "    vmovdqu64 704(%0), %%zmm11\n"
        "    vmovdqu64 768(%0), %%zmm12\n"
        "    vmovdqu64 832(%0), %%zmm13\n"
        "    vmovdqu64 896(%0), %%zmm14\n"
        "    vmovdqu64 960(%0), %%zmm15\n"
        "    vmovdqu64 1024(%0), %%zmm16\n"
        "    vmovdqu64 1088(%0), %%zmm17\n"
        "    vmovdqu64 1152(%0), %%zmm18\n"
        "    vmovdqu64 1216(%0), %%zmm19\n"
        "    vmovdqu64 1280(%0), %%zmm20\n"
        "    vmovdqu64 1344(%0), %%zmm21\n"
        "    vmovdqu64 1408(%0), %%zmm22\n"
        "    vmovdqu64 1472(%0), %%zmm23\n"
        "    vmovdqu64 1536(%0), %%zmm24\n"
        "    vmovdqu64 1600(%0), %%zmm25\n"
        "    vmovdqu64 1664(%0), %%zmm26\n"
        "    vmovdqu64 1728(%0), %%zmm27\n"
        "    vmovdqu64 1792(%0), %%zmm28\n"
        "    vmovdqu64 1856(%0), %%zmm29\n"
        "    vmovdqu64 1920(%0), %%zmm30\n"
        "    vmovdqu64 1984(%0), %%zmm31\n"
        "    kmovq 0(%2), %%k0\n"
        "    kmovq 8(%2), %%k1\n"
        "    kmovq 16(%2), %%k2\n"
        "    kmovq 24(%2), %%k3\n"
        "    kmovq 32(%2), %%k4\n"
        "    kmovq 40(%2), %%k5\n"
        "    kmovq 48(%2), %%k6\n"
        "    kmovq 56(%2), %%k7\n"
        "    lock incl (%1)\n"
        "1:  pause\n"
        "    jmp 1b\n"
        :
        : "r"(pattern), "r"(&loaded), "r"(masks)
        : "memory");
}

static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

static void *spin(void *unused) {
    tid = own_tid();
    if (has_avx512())
        spin_with_avx512();
    else if (__builtin_cpu_supports("avx"))
        spin_with_avx();
    atomic_fetch_add(&loaded, 1);
    for (;;)
        pause();
    return unused;
}

static void testify_bytes(const void *at, size_t bytes) {
    testify("\"");
    for (size_t i = 0; i < bytes; i++)
        testify("%02x", ((const uint8_t *)at)[i]);
    testify("\"");
}

int main(void) {
    fill_pattern(pattern, sizeof pattern, UINT64_C(0x5749444500000001));
    fill_pattern(masks, sizeof masks, UINT64_C(0x4D41534B00000002));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, spin, NULL) == 0);
    while (!atomic_load(&loaded))
        sched_yield();

    testify("{\"pid\":%d,\"tid\":%d", getpid(), tid);
    testify(",\"avx\":%s,\"avx512\":%s,\"registers\":[", __builtin_cpu_supports("avx") ? "true" : "false",
            has_avx512() ? "true" : "false");
    for (int i = 0; i < REGISTERS; i++) {
        testify(i ? "," : "");
        testify_bytes(pattern[i], BYTES);
    }
    testify("],\"masks\":[");
    for (int i = 0; i < MASKS; i++) {
        testify(i ? "," : "");
        testify_bytes(&masks[i], sizeof masks[i]);
    }
    testify("]}");
    say_ready();
    serve_until_end_of_input();
    return 0;
}
