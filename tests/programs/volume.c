/*
 * A volume in memory, served through /dev/fuse: `volume FOLDER [LACK…]` mounts it on FOLDER, in a
 * mount namespace of its own that ends with this program. Others reach it as
 * /proc/PID/root/FOLDER. It has one folder, no nameless files, and what the arguments leave it:
 *
 *     no-links     no hard links
 *     no-new       no rename that refuses to replace
 *     no-chmod     no permissions: all files have mode 0777
 *     bad-flush    closing a file fails with EIO
 *     bad-sync     fsync fails with EIO
 *
 * "READY {}" on standard output says that it is mounted. The end of standard input ends it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define LARGEST_WRITE (128 * 1024)
#define ENTRIES 256

struct node {
    uint64_t id;
    uint32_t mode, links;
    uint64_t size, room;
    char *bytes;
    struct node *next;
};

static struct entry {
    char name[256];
    struct node *node;
} entries[ENTRIES];

static struct node *nodes;
static int device, no_links, no_new, no_chmod, bad_flush, bad_sync;

static void reply(const struct fuse_in_header *request, int error, const void *body, size_t length) {
    struct fuse_out_header head = {sizeof head + (error ? 0 : length), -error, request->unique};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)body, error ? 0 : length}};
    /* ENOENT: the request was interrupted. */
    if (writev(device, parts, 2) < 0 && errno != ENOENT)
        perror("volume: reply");
}

static struct entry *find(const char *name) {
    for (int i = 0; i < ENTRIES; i++)
        if (entries[i].node && strcmp(entries[i].name, name) == 0)
            return &entries[i];
    return NULL;
}

static struct node *node_of(uint64_t id) {
    struct node *node = nodes;
    while (node && node->id != id)
        node = node->next;
    return node;
}

static struct fuse_attr attributes(const struct node *node) {
    struct fuse_attr attr = {.ino = 1, .mode = S_IFDIR | 0777, .nlink = 2, .blksize = 4096};
    if (node) {
        attr.ino = node->id;
        attr.mode = S_IFREG | (no_chmod ? 0777 : node->mode);
        attr.nlink = node->links;
        attr.size = node->size;
        attr.blocks = (node->size + 511) / 512;
    }
    return attr;
}

/* Neither names nor attributes are kept by the kernel: what is seen is what is. */
static struct fuse_entry_out entry_out(const struct node *node) {
    return (struct fuse_entry_out){.nodeid = node->id, .attr = attributes(node)};
}

static int resize(struct node *node, uint64_t size) {
    if (size > node->room) {
        uint64_t room = size * 2;
        char *bytes = realloc(node->bytes, room);
        if (!bytes)
            return ENOSPC;
        memset(bytes + node->room, 0, room - node->room);
        node->bytes = bytes;
        node->room = room;
    }
    if (size < node->size)
        memset(node->bytes + size, 0, node->size - size);
    node->size = size;
    return 0;
}

static void set_name(struct entry *entry, const char *name) {
    size_t length = strnlen(name, sizeof entry->name - 1);
    memcpy(entry->name, name, length);
    entry->name[length] = 0;
}

static int add(const char *name, struct node *node) {
    for (int i = 0; i < ENTRIES; i++)
        if (!entries[i].node) {
            set_name(&entries[i], name);
            entries[i].node = node;
            node->links++;
            return 0;
        }
    return ENOSPC;
}

/* A file that is open stays; its bytes stay in any case, which tests do not mind. */
static void drop(struct entry *entry) {
    entry->node->links--;
    entry->node = NULL;
}

static int rename_to(const char *from, const char *to, uint32_t flags) {
    struct entry *source = find(from), *target = find(to);
    if (flags & ~1u || (flags && no_new))
        return EINVAL;
    if (!source)
        return ENOENT;
    if (target && flags)
        return EEXIST;
    if (target)
        drop(target);
    set_name(source, to);
    return 0;
}

static size_t list(char *into, size_t room, uint64_t from) {
    size_t length = 0;
    for (uint64_t i = from; i < ENTRIES; i++) {
        if (!entries[i].node)
            continue;
        size_t name = strlen(entries[i].name);
        size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name);
        if (length + size > room)
            break;
        struct fuse_dirent *entry = (void *)(into + length);
        *entry = (struct fuse_dirent){.ino = entries[i].node->id, .off = i + 1, .namelen = name, .type = DT_REG};
        memset(entry->name, 0, size - FUSE_NAME_OFFSET);
        memcpy(entry->name, entries[i].name, name);
        length += size;
    }
    return length;
}

static void serve(const struct fuse_in_header *request, char *body) {
    static uint64_t last = 1;
    struct node *node = node_of(request->nodeid);
    struct entry *entry;
    struct fuse_open_out opened = {0};
    switch (request->opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return;
    case FUSE_INIT: {
        struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = 31, .flags = FUSE_BIG_WRITES,
                                    .max_write = LARGEST_WRITE, .max_background = 16};
        return reply(request, 0, &out, sizeof out);
    }
    case FUSE_LOOKUP:
        if (!(entry = find(body)))
            return reply(request, strlen(body) > 255 ? ENAMETOOLONG : ENOENT, NULL, 0);
        struct fuse_entry_out found = entry_out(entry->node);
        return reply(request, 0, &found, sizeof found);
    case FUSE_SETATTR: {
        const struct fuse_setattr_in *in = (void *)body;
        if (in->valid & FATTR_MODE && (no_chmod || !node))
            return reply(request, EPERM, NULL, 0);
        if (in->valid & FATTR_MODE)
            node->mode = in->mode & 07777;
        int error = in->valid & FATTR_SIZE ? resize(node, in->size) : 0;
        struct fuse_attr_out out = {.attr = attributes(node)};
        return reply(request, error, &out, sizeof out);
    }
    case FUSE_GETATTR: {
        struct fuse_attr_out out = {.attr = attributes(node)};
        return reply(request, 0, &out, sizeof out);
    }
    case FUSE_CREATE: {
        const struct fuse_create_in *in = (void *)body;
        const char *name = body + sizeof *in;
        if (find(name))
            return reply(request, EEXIST, NULL, 0);
        node = calloc(1, sizeof *node);
        if (!node || add(name, node))
            return reply(request, ENOSPC, NULL, 0);
        node->id = ++last;
        node->mode = in->mode & 07777;
        node->next = nodes;
        nodes = node;
        struct {
            struct fuse_entry_out entry;
            struct fuse_open_out open;
        } out = {entry_out(node), opened};
        return reply(request, 0, &out, sizeof out);
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        return reply(request, 0, &opened, sizeof opened);
    case FUSE_READ: {
        const struct fuse_read_in *in = (void *)body;
        uint64_t left = in->offset < node->size ? node->size - in->offset : 0;
        return reply(request, 0, node->bytes + in->offset, left < in->size ? left : in->size);
    }
    case FUSE_WRITE: {
        const struct fuse_write_in *in = (void *)body;
        uint64_t end = in->offset + in->size;
        int error = end > node->size ? resize(node, end) : 0;
        if (!error)
            memcpy(node->bytes + in->offset, body + sizeof *in, in->size);
        struct fuse_write_out out = {.size = in->size};
        return reply(request, error, &out, sizeof out);
    }
    case FUSE_READDIR: {
        const struct fuse_read_in *in = (void *)body;
        static char names[LARGEST_WRITE];
        size_t room = in->size < sizeof names ? in->size : sizeof names;
        return reply(request, 0, names, list(names, room, in->offset));
    }
    case FUSE_UNLINK:
        entry = find(body);
        if (entry)
            drop(entry);
        return reply(request, entry ? 0 : ENOENT, NULL, 0);
    case FUSE_RENAME: {
        const char *from = body + sizeof(struct fuse_rename_in);
        return reply(request, rename_to(from, from + strlen(from) + 1, 0), NULL, 0);
    }
    case FUSE_RENAME2: {
        const char *from = body + sizeof(struct fuse_rename2_in);
        uint32_t flags = ((struct fuse_rename2_in *)(void *)body)->flags;
        return reply(request, rename_to(from, from + strlen(from) + 1, flags), NULL, 0);
    }
    case FUSE_LINK: {
        const struct fuse_link_in *in = (void *)body;
        const char *name = body + sizeof *in;
        node = node_of(in->oldnodeid);
        int error = no_links ? EOPNOTSUPP : find(name) ? EEXIST : add(name, node);
        struct fuse_entry_out out = entry_out(node);
        return reply(request, error, &out, sizeof out);
    }
    case FUSE_STATFS: {
        struct fuse_statfs_out out = {.st = {.bsize = 4096, .frsize = 4096, .namelen = 255}};
        return reply(request, 0, &out, sizeof out);
    }
    case FUSE_FLUSH:
        return reply(request, bad_flush ? EIO : 0, NULL, 0);
    case FUSE_FSYNC:
        return reply(request, bad_sync ? EIO : 0, NULL, 0);
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        return reply(request, 0, NULL, 0);
    default:
        return reply(request, ENOSYS, NULL, 0);
    }
}

static void *serve_all(void *unused) {
    static char buffer[LARGEST_WRITE + 65536] __attribute__((aligned(16)));
    for (;;) {
        ssize_t got = read(device, buffer, sizeof buffer - 1);
        if (got >= (ssize_t)sizeof(struct fuse_in_header)) {
            buffer[got] = 0;
            serve((void *)buffer, buffer + sizeof(struct fuse_in_header));
        } else if (got >= 0 || (errno != EINTR && errno != ENOENT && errno != EAGAIN)) {
            _exit(1);
        }
    }
    return unused;
}

int main(int count, char **arguments) {
    for (int i = 2; i < count; i++) {
        no_links |= !strcmp(arguments[i], "no-links");
        no_new |= !strcmp(arguments[i], "no-new");
        no_chmod |= !strcmp(arguments[i], "no-chmod");
        bad_flush |= !strcmp(arguments[i], "bad-flush");
        bad_sync |= !strcmp(arguments[i], "bad-sync");
    }
    char options[128];
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
    if (device < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("volume", arguments[1], "fuse.volume", MS_NOSUID | MS_NODEV, options)) {
        perror("volume: cannot be mounted");
        return 1;
    }
    pthread_t server;
    if (pthread_create(&server, NULL, serve_all, NULL))
        return 1;
    puts("READY {}");
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    _exit(0);
}
