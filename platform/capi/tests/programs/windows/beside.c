/* beside TARGET [ARGUMENT...] -- PROGRAM [ARGUMENT...]: runs PROGRAM while TARGET runs.
 *
 * TARGET prints lines "NAME VALUE", then "ready". An argument @NAME of PROGRAM is replaced by the
 * value, and @NAME+NUMBER by the sum. This program first prints the names that TARGET has printed,
 * each as "@NAME VALUE". When PROGRAM has ended, this program closes the input of TARGET, which
 * must then end with exit code 0.
 *
 * Exit code: that of PROGRAM; 90 if TARGET did not start, 91 if it did not end well, 92 if the
 * arguments are wrong. */
#include <windows.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64, WAIT = 120000 };

static struct {
    char name[32], value[64];
} told[MOST];
static int names;

/* Appends an argument to a command line, in the way in which C libraries parse it: an argument with
 * a space is quoted. Arguments with quotes do not occur. */
static void append(char *line, size_t size, const char *argument)
{
    size_t used = strlen(line);
    const char *quote = strchr(argument, ' ') || !*argument ? "\"" : "";
    snprintf(line + used, size - used, "%s%s%s%s", used ? " " : "", quote, argument, quote);
}

static const char *replaced(const char *argument)
{
    static char sum[32];
    if (*argument != '@')
        return argument;
    const char *plus = strchr(argument, '+');
    size_t length = plus ? (size_t)(plus - argument - 1) : strlen(argument + 1);
    for (int at = 0; at < names; at++) {
        if (strlen(told[at].name) != length || strncmp(told[at].name, argument + 1, length) != 0)
            continue;
        if (plus == NULL)
            return told[at].value;
        snprintf(sum, sizeof sum, "0x%llx", strtoull(told[at].value, NULL, 0) + strtoull(plus + 1, NULL, 0));
        return sum;
    }
    fprintf(stderr, "the target has told no %s\n", argument);
    exit(92);
}

static BOOL start(char *line, HANDLE input, HANDLE output, PROCESS_INFORMATION *process)
{
    STARTUPINFOA how = {.cb = sizeof how, .dwFlags = STARTF_USESTDHANDLES};
    how.hStdInput = input;
    how.hStdOutput = output;
    how.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    return CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &how, process);
}

int main(int count, char **arguments)
{
    static char target[8192], program[8192], line[256];
    int at = 1;
    for (; at < count && strcmp(arguments[at], "--") != 0; at++)
        append(target, sizeof target, arguments[at]);
    if (at == 1 || at + 1 >= count)
        return 92;
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
    HANDLE input, feed, heard, output;
    if (!CreatePipe(&input, &feed, &inherited, 0) || !CreatePipe(&heard, &output, &inherited, 0) ||
        !SetHandleInformation(feed, HANDLE_FLAG_INHERIT, 0) || !SetHandleInformation(heard, HANDLE_FLAG_INHERIT, 0))
        return 92;
    PROCESS_INFORMATION dumped, dumping;
    if (!start(target, input, output, &dumped)) {
        fprintf(stderr, "cannot start %s: %lu\n", target, GetLastError());
        return 90;
    }
    CloseHandle(input);
    CloseHandle(output);
    for (size_t used = 0;;) {
        DWORD read = 0;
        if (!ReadFile(heard, line + used, 1, &read, NULL) || read == 0 || used + 1 == sizeof line)
            return 90;
        if (line[used] != '\n') {
            used += line[used] != '\r';
            continue;
        }
        line[used] = 0;
        used = 0;
        if (strcmp(line, "ready") == 0)
            break;
        if (names == MOST || sscanf(line, "%31s %63s", told[names].name, told[names].value) != 2)
            return 90;
        printf("@%s %s\n", told[names].name, told[names].value);
        names++;
    }
    fflush(stdout);
    for (at++; at < count; at++)
        append(program, sizeof program, replaced(arguments[at]));
    DWORD code = 92, end = 92;
    if (!start(program, GetStdHandle(STD_INPUT_HANDLE), GetStdHandle(STD_OUTPUT_HANDLE), &dumping)) {
        fprintf(stderr, "cannot start %s: %lu\n", program, GetLastError());
    } else {
        WaitForSingleObject(dumping.hProcess, INFINITE);
        GetExitCodeProcess(dumping.hProcess, &code);
    }
    CloseHandle(feed);
    if (WaitForSingleObject(dumped.hProcess, WAIT) != WAIT_OBJECT_0 || !GetExitCodeProcess(dumped.hProcess, &end) || end != 0) {
        TerminateProcess(dumped.hProcess, 1);
        fprintf(stderr, "the target did not end well: %lu\n", end);
        return 91;
    }
    return (int)code;
}
