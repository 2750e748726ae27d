/* A library with data of its own, which the twin loads. On Windows it uses no C library and has an
 * entry point that returns TRUE. */
#ifdef _WIN32
#define SHOWN __declspec(dllexport)
#else
#define SHOWN __attribute__((visibility("default")))
#endif

SHOWN volatile unsigned char extra_data[0x400] = {'X', 'D', 'A', 'T', 'A'};

#ifdef _WIN32
SHOWN int extra_at(int number)
{
    return number + extra_data[0];
}

int __stdcall entry(void *library, unsigned reason, void *reserved)
{
    (void)library, (void)reason, (void)reserved;
    return 1;
}
#endif
