/*
 * A file system with one file, served through /dev/fuse, that stops answering when told to.
 *
 *   hanging FOLDER FILE [overlay]
 *
 * It mounts in a mount namespace of its own, which ends with this program. FOLDER/file is a copy of
 * FILE. With "overlay", FOLDER/file is in an overlay whose lower layer is the file system.
 *
 * Lines of standard input are obeyed and repeated on standard output. "hang": no request is
 * answered any more, except those to close a file. "unmount": everything is unmounted lazily, so
 * that files in use stay. The end of standard input ends the program, and all requests that wait.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

enum { FILE_NODE = 2 };

static int device, source;
static uint64_t size;
static atomic_int hangs;

static void reply(const struct fuse_in_header *request, int error, const void *body, size_t length) {
    struct fuse_out_header head = {sizeof head + (error ? 0 : length), -error, request->unique};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)body, error ? 0 : length}};
    /* ENOENT: the request was interrupted. */
    CHECK(writev(device, parts, 2) > 0 || errno == ENOENT);
}

static struct fuse_attr attributes(uint64_t node) {
    int is_file = node == FILE_NODE;
    return (struct fuse_attr){.ino = node,
                              .mode = is_file ? S_IFREG | 0755 : S_IFDIR | 0755,
                              .nlink = 1,
                              .size = is_file ? size : 0,
                              .blksize = 4096};
}

/* The kernel keeps neither names nor attributes, so it asks for them each time. */
static void serve(const struct fuse_in_header *request, const void *body) {
    static char bytes[1 << 20];
    switch (request->opcode) {
    case FUSE_INIT: {
        struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096};
        return reply(request, 0, &out, sizeof out);
    }
    case FUSE_LOOKUP: {
        struct fuse_entry_out out = {.nodeid = FILE_NODE, .attr = attributes(FILE_NODE)};
        return reply(request, strcmp(body, "file") ? ENOENT : 0, &out, sizeof out);
    }
    case FUSE_GETATTR: {
        struct fuse_attr_out out = {.attr = attributes(request->nodeid)};
        return reply(request, 0, &out, sizeof out);
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR: {
        struct fuse_open_out out = {0};
        return reply(request, 0, &out, sizeof out);
    }
    case FUSE_READ: {
        const struct fuse_read_in *in = body;
        ssize_t got = pread(source, bytes, in->size < sizeof bytes ? in->size : sizeof bytes, in->offset);
        return reply(request, got < 0 ? EIO : 0, bytes, got < 0 ? 0 : got);
    }
    case FUSE_STATFS: {
        struct fuse_statfs_out out = {.st = {.bsize = 4096, .namelen = 255}};
        return reply(request, 0, &out, sizeof out);
    }
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return;
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_READDIR:
        return reply(request, 0, NULL, 0);
    default:
        return reply(request, ENOSYS, NULL, 0);
    }
}

static void *serve_all(void *unused) {
    static char buffer[1 << 17] __attribute__((aligned(16)));
    for (;;) {
        ssize_t got = read(device, buffer, sizeof buffer - 1);
        if (got < 0 && errno == ENODEV)
            return unused;
        CHECK(got >= 0 || errno == EINTR || errno == ENOENT || errno == EAGAIN);
        if (got < (ssize_t)sizeof(struct fuse_in_header))
            continue;
        const struct fuse_in_header *request = (void *)buffer;
        /* A process that closes the file as it ends has to come to its end. */
        if (atomic_load(&hangs) && request->opcode != FUSE_FLUSH)
            continue;
        buffer[got] = 0;
        serve(request, buffer + sizeof *request);
    }
}

int main(int count, char **arguments) {
    CHECK(count == 3 || (count == 4 && !strcmp(arguments[3], "overlay")));
    const char *folder = arguments[1];
    source = open(arguments[2], O_RDONLY);
    struct stat status;
    CHECK(source >= 0 && fstat(source, &status) == 0);
    size = status.st_size;
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    CHECK(device >= 0);
    CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    char options[4096];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
    CHECK(mount("hanging", folder, "fuse.hanging", MS_NODEV, options) == 0);
    pthread_t server;
    CHECK(pthread_create(&server, NULL, serve_all, NULL) == 0);
    if (count == 4) {
        char lower[] = "/tmp/hanging-XXXXXX";
        CHECK(mkdtemp(lower) && mount("none", lower, "tmpfs", 0, NULL) == 0);
        snprintf(options, sizeof options, "lowerdir=%s:%s", folder, lower);
        CHECK(mount("overlay", folder, "overlay", MS_RDONLY, options) == 0);
        CHECK(umount2(lower, MNT_DETACH) == 0 && rmdir(lower) == 0);
    }
    puts("READY {}");
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "hang\n"))
            atomic_store(&hangs, 1);
        else if (!strcmp(line, "unmount\n"))
            while (umount2(folder, MNT_DETACH) == 0)
                ;
        fputs(line, stdout);
        fflush(stdout);
    }
    _exit(0);
}
