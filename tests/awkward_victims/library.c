/*
 * A library with only two functions, whose names begin with NAME:
 * `gcc -DNAME=… -shared -nostdlib`.
 */
#define PASTED(name, end) name##end
#define JOINED(name, end) PASTED(name, end)
#define KNOWN __attribute__((noinline, noclone, used))

KNOWN void JOINED(NAME, _inner)(void (*next)(void)) {
    next();
    __asm__ volatile("" ::: "memory");
}
KNOWN void JOINED(NAME, _outer)(void (*next)(void)) {
    JOINED(NAME, _inner)(next);
    __asm__ volatile("" ::: "memory");
}
/* The program `loads` finds the functions through this pointer. */
void (*const library_entry)(void (*)(void)) = JOINED(NAME, _outer);
