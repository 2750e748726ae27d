/*
 * Descriptors of every kind.
 *
 *   handles FOLDER      creates files in FOLDER
 *
 * The testimony has for each descriptor its number, its kind (as HandleData names it) and its
 * access: "r", "w" or "rw", or "" for a descriptor that only names a place.
 */
#include "../victims/victim.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

static int descriptors;

static int opened(int descriptor, const char *kind, const char *access) {
    CHECK(descriptor >= 0);
    testify("%s{\"number\":%d,\"kind\":\"%s\",\"access\":\"%s\"}", descriptors++ ? "," : "", descriptor, kind,
            access);
    return descriptor;
}

int main(int count, char **arguments) {
    CHECK(count == 2 && chdir(arguments[1]) == 0);
    testify("{\"pid\":%d,\"handles\":[", getpid());
    opened(open("read \xc3\xa4", O_RDONLY | O_CREAT, 0640), "File", "r");
    opened(open("written", O_WRONLY | O_CREAT | O_APPEND, 0600), "File", "w");
    opened(open("both", O_RDWR | O_CREAT, 0600), "File", "rw");
    opened(open("deleted", O_RDWR | O_CREAT, 0600), "File", "rw");
    CHECK(unlink("deleted") == 0);
    opened(open(".", O_RDONLY | O_DIRECTORY), "Directory", "r");
    opened(open("both", O_PATH), "File", "");
    opened(open("/dev/null", O_WRONLY), "CharDevice", "w");
    CHECK(mkfifo("fifo", 0600) == 0);
    opened(open("fifo", O_RDWR), "Fifo", "rw");
    int pair[2];
    CHECK(pipe(pair) == 0);
    opened(pair[0], "Pipe", "r");
    opened(pair[1], "Pipe", "w");
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    opened(pair[0], "Socket", "rw");
    opened(pair[1], "Socket", "rw");
    opened(socket(AF_INET, SOCK_DGRAM, 0), "Socket", "rw");
    opened(eventfd(0, 0), "EventFd", "rw");
    opened(epoll_create1(0), "EventPoll", "rw");
    opened(timerfd_create(CLOCK_MONOTONIC, 0), "TimerFd", "rw");
    sigset_t none;
    sigemptyset(&none);
    opened(signalfd(-1, &none, 0), "SignalFd", "rw");
    opened(inotify_init(), "Inotify", "r");
    opened(memfd_create("victim", 0), "Memfd", "rw");
    testify("]}");
    say_ready();
    serve_until_end_of_input();
    return 0;
}
