/* hostile SECONDS SEED PID SCENARIO...: repeatedly dumps simulated processes and a live one, with a
 * callback that answers with arbitrary bytes. "200x" instead of SECONDS means 200 dumps.
 *
 * `cargo xtask fuzz` builds this and the library with AddressSanitizer. A finding ends the process.
 * The first line of the output has the seed of the current dump; with it alone the dump can be
 * repeated. Nothing may crash, the target must run on, and every call must end.
 *
 * Each dump draws how hostile its callback is: what it returns, how many bytes of the answer are
 * arbitrary, whether it overwrites the memory that it receives, and how far behind the answer it
 * writes, like programs that were compiled with a wrong header.
 */
#define _GNU_SOURCE
#if defined(_WIN32)
#include <windows.h>
#define NOWHERE "NUL"
#else
#define NOWHERE "/dev/null"
#endif
#include "dumpwright.h"
#include "../tests/programs/held.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A callback can keep a dump going forever, as with DbgHelp. This one stops after so many calls. */
enum { MOST_QUESTIONS = 3000 };

static uint64_t state;

static uint64_t next_random(void)
{
    /* SplitMix64. */
    uint64_t mixed = state += 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return mixed ^ (mixed >> 31);
}

static uint64_t below(uint64_t limit)
{
    return next_random() % limit;
}

/* True once in `times` calls, on average. */
static int once_in(uint64_t times)
{
    return below(times) == 0;
}

struct manners {
    unsigned questions;
    uint64_t honest; /* one answer in this many is arbitrary */
    size_t answer;   /* the number of its bytes that are arbitrary */
    int scribbles;   /* overwrites the memory that it receives */
    int takes_over;  /* handles output and reads */
};

static void scribble(void *bytes, size_t count)
{
    unsigned char *at = bytes;
    while (count-- > 0)
        *at++ = (unsigned char)next_random();
}

/* Returns an arbitrary number; likely one with a meaning or at a limit. */
static uint64_t number(void)
{
    static const uint64_t special[] = {0,          1,          2,          7,          0x1000,     0x10000,   0x7FFFFFFF,
                                       0x80000000, 0xFFFFFFFF, 0x80004001, 0x80004002, 0x800704C7, UINT64_MAX, UINT64_MAX - 0xFFF};
    return once_in(3) ? next_random() : special[below(sizeof special / sizeof *special)];
}

static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    struct manners *manners = parameter;
    uint32_t kind = input->CallbackType;
    if (manners->questions++ > MOST_QUESTIONS) {
        if (kind == CancelCallback)
            output->Cancel = TRUE;
        if (kind == IoWriteAllCallback || kind == IoFinishCallback)
            output->Status = S_OK;
        return kind == CancelCallback || kind == IoWriteAllCallback || kind == IoFinishCallback;
    }
    if (kind > CompressedMemoryStreamFinishCallback)
        abort();
    /* All memory that the callback receives is readable. */
    volatile unsigned char sum = 0; /* keeps the compiler from removing the reads */
    for (size_t at = 0; at < sizeof *input; at++)
        sum ^= ((volatile unsigned char *)input)[at];
    switch (kind) {
    case ModuleCallback:
        sum ^= (unsigned char)dumpwright_wcslen(input->Module.FullPath);
        for (ULONG at = 0; at < input->Module.SizeOfCvRecord; at++)
            sum ^= ((unsigned char *)input->Module.CvRecord)[at];
        if (manners->scribbles) {
            scribble(input->Module.CvRecord, input->Module.SizeOfCvRecord);
            scribble(input->Module.FullPath, sizeof(WCHAR) * dumpwright_wcslen(input->Module.FullPath));
        }
        break;
    case IoWriteAllCallback:
        for (ULONG at = 0; at < input->Io.BufferBytes; at++)
            sum ^= ((unsigned char *)input->Io.Buffer)[at];
        if (manners->scribbles)
            scribble(input->Io.Buffer, input->Io.BufferBytes);
        break;
    case VmPreReadCallback:
    case VmPostReadCallback:
        if (manners->scribbles)
            scribble(input->VmPreRead.Buffer, input->VmPreRead.Size);
        break;
    }
    if (manners->scribbles)
        scribble(input, sizeof *input);

    (void)sum;
    int arbitrary = once_in(manners->honest);
    if (arbitrary && once_in(2)) {
        scribble(output, manners->answer);
    } else if (arbitrary) {
        uint64_t numbers[7];
        for (size_t at = 0; at < 7; at++)
            numbers[at] = number();
        memcpy(output, numbers, sizeof *output);
    } else if (manners->takes_over) {
        if (kind == IoStartCallback || kind == VmStartCallback)
            output->Status = S_FALSE;
        if (kind == IoWriteAllCallback || kind == IoFinishCallback)
            output->Status = S_OK;
    }
    if (kind == IncludeVmRegionCallback && !once_in(4))
        output->Continue = TRUE;
    if (kind == CancelCallback && !once_in(50))
        output->Cancel = FALSE;
    /* Claiming a snapshot fails the dump at once, and FALSE fails it early. So both are rare. */
    if (kind == IsProcessSnapshotCallback && !once_in(50))
        output->Status = S_OK;
    if ((kind == ModuleCallback || kind == ThreadCallback) && !once_in(50))
        return TRUE;
    if (arbitrary)
        return (BOOL)next_random() & (once_in(2) ? 0 : -1);
    return kind != MemoryCallback && kind != RemoveMemoryCallback && kind != WriteKernelMinidumpCallback;
}

static BOOL writer(void *parameter, uint64_t offset, const void *bytes, size_t count)
{
    uint64_t *written = parameter;
    volatile unsigned char sum = 0; /* keeps the compiler from removing the reads */
    if (offset != *written)
        abort();
    *written += count;
    for (size_t at = 0; at < count; at++)
        sum ^= ((const unsigned char *)bytes)[at];
    (void)sum;
    return !once_in(500);
}

static void dump_once(uint64_t seed, unsigned long process, int count, char **scenarios)
{
    static const char *const profiles[] = {"documented", "dbghelp63", "dbghelp10"};
    state = seed;
    uint64_t written = 0;
    struct manners manners = {0, 1 + below(20), below(4) ? sizeof(MINIDUMP_CALLBACK_OUTPUT) : 68, once_in(2), once_in(2)};
    MINIDUMP_CALLBACK_INFORMATION information = {callback, &manners};
    uint32_t type = (uint32_t)(once_in(4) ? next_random() & MiniDumpValidTypeFlags
                               : once_in(2) ? (uint64_t)1 << below(26) : below(4) ? MiniDumpNormal : MiniDumpWithFullMemory);
    dumpwright_request *request = dumpwright_request_create(type);
    BOOL live = once_in(4);
    BOOL ready = live ? dumpwright_request_process(request, (uint32_t)process)
                      : dumpwright_request_scenario(request, scenarios[below((uint64_t)count)]);
    ready = ready && dumpwright_request_profile(request, profiles[below(3)]) &&
            dumpwright_request_callback(request, &information) && dumpwright_request_writer(request, writer, &written) &&
            dumpwright_request_budget(request, once_in(4) ? below(1 << 20) : 0) &&
            dumpwright_request_max_pause(request, once_in(4) ? 1 + (uint32_t)below(1000) : 0) &&
            dumpwright_request_max_clone(request, once_in(4) ? 1 + (uint32_t)below(1000) : 0) &&
            dumpwright_request_find_crash(request, once_in(2)) &&
            dumpwright_request_transcript(request, once_in(4) ? NOWHERE : NULL);
    if (!ready) {
        fprintf(stderr, "%s\n", dumpwright_last_error_message());
        abort();
    }
    /* A panic that the library has caught is a finding, too. */
    if (!dumpwright_dump(request) && strstr(dumpwright_last_error_message(), "a defect in dumpwright") != NULL) {
        fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, dumpwright_last_error_message());
        abort();
    }
    dumpwright_request_free(request);
    if (live && is_held((DWORD)process)) {
        fprintf(stderr, "seed %llu: the target is held\n", (unsigned long long)seed);
        abort();
    }
}

int main(int count, char **arguments)
{
    if (count < 5)
        return 2;
    char *unit;
    double limit = strtod(arguments[1], &unit);
    int counted = *unit == 'x';
    uint64_t seed = strtoull(arguments[2], NULL, 0), dumps = 0;
    unsigned long process = strtoul(arguments[3], NULL, 10);
    time_t end = time(NULL) + (counted ? 0 : (time_t)limit);
    do {
        /* To repeat a finding, run this with its seed and 0 seconds. */
        char line[64];
        int length = snprintf(line, sizeof line, "\rseed %llu", (unsigned long long)(seed + dumps));
        if (write(1, line, (size_t)length) < 0)
            return 1;
        dump_once(seed + dumps, process, count - 4, arguments + 4);
        dumps++;
    } while (counted ? (double)dumps < limit : time(NULL) < end);
    printf("\n%llu dumps\n", (unsigned long long)dumps);
    return 0;
}
