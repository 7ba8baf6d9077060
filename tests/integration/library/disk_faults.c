/* Preloaded into a process: writes, fsyncs and truncations of files named *jobs.db* fail with a chosen errno, from the
   n-th such call on for k calls. Everything else, and every other file, is as always. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;
static long from = 0, until = 0;
static int error_number = 0;

void disk_faults_arm(long first, long count, int number) {
    atomic_store(&calls, 0);
    from = first;
    until = first + count;
    error_number = number;
}

long disk_faults_calls(void) { return atomic_load(&calls); }

static int fails(int fd) {
    char link[64], path[4096];
    if (!error_number) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    if (!name || !strstr(name, "jobs.db")) return 0;
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (n < from || n >= until) return 0;
    errno = error_number;
    return 1;
}

#define WRAP(type, name, parameters, arguments)                          \
    type name parameters {                                               \
        static type(*real) parameters;                                   \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);   \
        return fails(fd) ? (type)-1 : real arguments;                    \
    }

WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size))
