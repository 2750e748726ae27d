/* Ends a program when a condition is not true. Include it after <stdio.h> and <unistd.h>, with
 * _GNU_SOURCE, which %m needs. */
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: not true: %s: %m\n", __FILE__, __LINE__, #condition);                    \
            _exit(99);                                                                                       \
        }                                                                                                    \
    } while (0)
