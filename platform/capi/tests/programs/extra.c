/* A library that the twin loads, with data of its own. */
__attribute__((visibility("default"))) volatile unsigned char extra_data[0x400] = {1};
