/*
 * GCC's code to unwind stacks, as compiled for glibc 2.35 or newer, asks _dl_find_object(3) for the
 * unwind table of an address. musl does not have this function. Here, the program headers say where
 * the table is.
 */
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>
#include <stdint.h>

/* As in glibc's dlfcn.h, for x86-64. */
struct dl_find_object {
    unsigned long long dlfo_flags;
    void *dlfo_map_start;
    void *dlfo_map_end;
    void *dlfo_link_map;
    void *dlfo_eh_frame;
    unsigned long long reserved[7];
};

struct search {
    uintptr_t address;
    struct dl_find_object *found;
};

static int examine(struct dl_phdr_info *info, size_t size, void *data) {
    struct search *search = data;
    uintptr_t table = 0, start = 0, end = 0;
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_GNU_EH_FRAME)
            table = from;
        if (header->p_type == PT_LOAD && search->address - from < header->p_memsz) {
            start = from;
            end = from + header->p_memsz;
        }
    }
    if (table == 0 || end == 0)
        return 0;
    *search->found = (struct dl_find_object){
        .dlfo_map_start = (void *)start,
        .dlfo_map_end = (void *)end,
        .dlfo_eh_frame = (void *)table,
    };
    return 1;
}

int _dl_find_object(void *address, struct dl_find_object *found) {
    struct search search = {(uintptr_t)address, found};
    return dl_iterate_phdr(examine, &search) == 1 ? 0 : -1;
}
