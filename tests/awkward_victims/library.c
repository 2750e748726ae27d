/*
 * A library with nothing in it but two functions, whose names begin with NAME: `gcc -DNAME=… -shared -nostdlib`.
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
/* By this the loader finds them. A number, because libraries that differ in nothing else are told apart by it. */
void (*const library_entry)(void (*)(void)) = JOINED(NAME, _outer);
