/* A library that the target loads. */
__attribute__((dllexport)) volatile unsigned char idle_data[0x400] = {1};

int __stdcall DllMainCRTStartup(void *library, unsigned long reason, void *reserved)
{
    (void)library, (void)reason, (void)reserved;
    return 1;
}
