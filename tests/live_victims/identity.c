/*
 * A process whose threads act as different users and groups.
 *
 * As root, it also joins groups 4242 and 4243, acts for group 4244, and makes one thread act as
 * user 4245. It uses the system call directly, because the C library would change all threads. The
 * testimony has the kernel's answers to both threads (getresuid(2), getresgid(2), getgroups(2)).
 */
#include "../victims/victim.h"

#include <grp.h>
#include <sys/prctl.h>

static pthread_barrier_t ready;

static void say_who(const char *key) {
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;
    gid_t groups[256];
    CHECK(getresuid(&real, &effective, &saved) == 0);
    CHECK(getresgid(&real_group, &effective_group, &saved_group) == 0);
    int count = getgroups(256, groups);
    CHECK(count >= 0);
    testify(",\"%s\":{\"tid\":%d,\"user\":%u,\"group\":%u,\"groups\":[", key, own_tid(), effective, effective_group);
    for (int i = 0; i < count; i++)
        testify("%s%u", i ? "," : "", groups[i]);
    testify("]}");
}

static void *act_for_another(void *nothing) {
    if (geteuid() == 0) {
        CHECK(syscall(SYS_setresuid, -1, 4245, -1) == 0);
        /* A process that acts for another user can be traced only if it permits this. */
        CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
    }
    say_who("other");
    pthread_barrier_wait(&ready);
    pause();
    return nothing;
}

int main(void) {
    if (geteuid() == 0) {
        const gid_t groups[] = {4242, 4243};
        CHECK(setgroups(2, groups) == 0 && setresgid(-1, 4244, -1) == 0);
        CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
    }
    CHECK(pthread_barrier_init(&ready, NULL, 2) == 0);
    testify("{\"pid\":%d", getpid());
    say_who("main");
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, act_for_another, NULL) == 0);
    pthread_barrier_wait(&ready);
    testify("}");
    say_ready();
    serve_until_end_of_input();
    return 0;
}
