/* Records what a process writes and syncs below one folder, in the order in which it happened; loaded with LD_PRELOAD.
 *
 * STORE_SHIM_ROOT  the folder, an absolute path without links
 * STORE_SHIM_LOG   where the records go; none are written without it
 * STORE_SHIM_FULL  while this file exists, the disk is full: no file grows, none is made
 * STORE_SHIM_LIE   syncs report success and do nothing
 *
 * A record: kind (1 byte), two numbers (8 bytes each), two lengths (4 bytes each), two byte strings; as the machine has
 * them in memory. One lock around each call and its record makes the order true. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define INODES_MAX 65536

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static const char *full_flag;
static int log_fd = -1;
static int lying;
static uint64_t inodes[INODES_MAX];
static size_t inode_count;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_linkat)(int, const char *, int, const char *, int);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_mkdirat)(int, const char *, mode_t);

__attribute__((constructor)) static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open");
    real_openat = dlsym(RTLD_NEXT, "openat");
    real_write = dlsym(RTLD_NEXT, "write");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_linkat = dlsym(RTLD_NEXT, "linkat");
    real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
    real_mkdirat = dlsym(RTLD_NEXT, "mkdirat");
    const char *folder = getenv("STORE_SHIM_ROOT");
    if (folder != NULL) {
        snprintf(root, sizeof root, "%s/", folder);
        root_length = strlen(root);
    }
    const char *log = getenv("STORE_SHIM_LOG");
    if (log != NULL) log_fd = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    full_flag = getenv("STORE_SHIM_FULL");
    lying = getenv("STORE_SHIM_LIE") != NULL;
}

static void put(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length > 0) {
        ssize_t written = real_write(log_fd, at, length);
        if (written <= 0) abort();
        at += written;
        length -= (size_t)written;
    }
}

static void record(char kind, uint64_t a, uint64_t b, const void *one, size_t one_length, const void *two, size_t two_length) {
    if (log_fd < 0) return;
    int saved = errno;
    char head[25];
    uint32_t first = (uint32_t)one_length, second = (uint32_t)two_length;
    head[0] = kind;
    memcpy(head + 1, &a, 8);
    memcpy(head + 9, &b, 8);
    memcpy(head + 17, &first, 4);
    memcpy(head + 21, &second, 4);
    put(head, sizeof head);
    put(one, one_length);
    put(two, two_length);
    errno = saved;
}

static void record_path(char kind, uint64_t a, const char *path) { record(kind, a, 0, path, strlen(path), "", 0); }

/* The path of an open descriptor. */
static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return -1;
    path[length] = 0;
    return 0;
}

static int below_root(const char *path) { return root_length > 0 && strncmp(path, root, root_length) == 0; }

/* Makes the path absolute; whether it is below the root. */
static int resolve(int folder, const char *given, char *path) {
    if (given[0] == '/') {
        snprintf(path, PATH_MAX, "%s", given);
    } else {
        char base[PATH_MAX];
        if (folder == AT_FDCWD) {
            if (getcwd(base, sizeof base) == NULL) return 0;
        } else if (path_of(folder, base) != 0) {
            return 0;
        }
        if ((size_t)snprintf(path, PATH_MAX, "%s/%s", base, given) >= PATH_MAX) return 0;
    }
    return below_root(path);
}

static int known(uint64_t inode) {
    for (size_t at = inode_count; at > 0; at--)
        if (inodes[at - 1] == inode) return 1;
    return 0;
}

/* Whether the descriptor is a file below the root; its state. */
static int tracked(int fd, struct stat *found) {
    return root_length > 0 && fstat(fd, found) == 0 && S_ISREG(found->st_mode) && known(found->st_ino);
}

static int disk_full(void) { return full_flag != NULL && access(full_flag, F_OK) == 0; }

/* How much of a write fits on a full disk: what does not make the file longer. */
static size_t room(const struct stat *found, off_t offset, size_t length) {
    if (!disk_full() || offset + (off_t)length <= found->st_size) return length;
    return offset < found->st_size ? (size_t)(found->st_size - offset) : 0;
}

static int open_below(const char *path, int flags, mode_t mode) {
    struct stat before, after;
    pthread_mutex_lock(&order);
    int existed = lstat(path, &before) == 0;
    int fd = -1;
    if ((flags & O_CREAT) && !existed && disk_full()) {
        errno = ENOSPC;
    } else {
        fd = real_open(path, flags, mode);
    }
    if (fd >= 0 && fstat(fd, &after) == 0 && S_ISREG(after.st_mode)) {
        if (!known(after.st_ino)) {
            if (inode_count == INODES_MAX) abort();
            inodes[inode_count++] = after.st_ino;
        }
        if (!existed) record_path('C', after.st_ino, path);
        else if (flags & O_TRUNC) record('T', after.st_ino, 0, "", 0, "", 0);
    }
    pthread_mutex_unlock(&order);
    return fd;
}

static mode_t mode_of(int flags, va_list more) { return (flags & (O_CREAT | O_TMPFILE)) ? (mode_t)va_arg(more, int) : 0; }

#define OPEN(name)                                                                                                    \
    int name(const char *given, int flags, ...) {                                                                     \
        va_list more;                                                                                                 \
        va_start(more, flags);                                                                                        \
        mode_t mode = mode_of(flags, more);                                                                           \
        va_end(more);                                                                                                 \
        char path[PATH_MAX];                                                                                          \
        return resolve(AT_FDCWD, given, path) ? open_below(path, flags, mode) : real_open(given, flags, mode);        \
    }
#define OPENAT(name)                                                                                                  \
    int name(int folder, const char *given, int flags, ...) {                                                         \
        va_list more;                                                                                                 \
        va_start(more, flags);                                                                                        \
        mode_t mode = mode_of(flags, more);                                                                           \
        va_end(more);                                                                                                 \
        char path[PATH_MAX];                                                                                          \
        return resolve(folder, given, path) ? open_below(path, flags, mode) : real_openat(folder, given, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *bytes, size_t length) {
    struct stat found;
    pthread_mutex_lock(&order);
    int ours = tracked(fd, &found);
    ssize_t written = -1;
    if (ours) {
        off_t offset = (fcntl(fd, F_GETFL) & O_APPEND) ? found.st_size : lseek(fd, 0, SEEK_CUR);
        size_t fits = room(&found, offset, length);
        if (fits == 0 && length > 0) errno = ENOSPC;
        else written = real_write(fd, bytes, fits);
        if (written > 0) record('W', found.st_ino, (uint64_t)offset, bytes, (size_t)written, "", 0);
    } else {
        written = real_write(fd, bytes, length);
        if (fd == STDOUT_FILENO && written > 0) record('A', 0, 0, bytes, (size_t)written, "", 0);
    }
    pthread_mutex_unlock(&order);
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct stat found;
    if (!tracked(fd, &found) && fd != STDOUT_FILENO) return real_writev(fd, parts, count);
    for (int part = 0; part < count; part++)
        if (parts[part].iov_len > 0) return write(fd, parts[part].iov_base, parts[part].iov_len);
    return 0;
}

static ssize_t pwrite_any(int fd, const void *bytes, size_t length, off_t offset) {
    struct stat found;
    pthread_mutex_lock(&order);
    int ours = tracked(fd, &found);
    size_t fits = ours ? room(&found, offset, length) : length;
    ssize_t written = -1;
    if (fits == 0 && length > 0) errno = ENOSPC;
    else written = real_pwrite(fd, bytes, fits, offset);
    if (ours && written > 0) record('W', found.st_ino, (uint64_t)offset, bytes, (size_t)written, "", 0);
    pthread_mutex_unlock(&order);
    return written;
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite_any(fd, bytes, length, offset); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return pwrite_any(fd, bytes, length, offset); }

static int truncate_any(int fd, off_t length) {
    struct stat found;
    pthread_mutex_lock(&order);
    int ours = tracked(fd, &found);
    int outcome = real_ftruncate(fd, length);
    if (ours && outcome == 0) record('T', found.st_ino, (uint64_t)length, "", 0, "", 0);
    pthread_mutex_unlock(&order);
    return outcome;
}
int ftruncate(int fd, off_t length) { return truncate_any(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncate_any(fd, length); }

static int sync_any(int fd, int (*real)(int)) {
    struct stat found;
    char path[PATH_MAX];
    if (lying) return 0;
    pthread_mutex_lock(&order);
    int outcome = real(fd);
    if (outcome == 0 && root_length > 0 && fstat(fd, &found) == 0) {
        if (S_ISREG(found.st_mode) && known(found.st_ino)) {
            record('S', found.st_ino, 0, "", 0, "", 0);
        } else if (S_ISDIR(found.st_mode) && path_of(fd, path) == 0) {
            size_t length = strlen(path);
            if (below_root(path) || (length + 1 == root_length && strncmp(path, root, length) == 0)) record_path('D', 0, path);
        }
    }
    pthread_mutex_unlock(&order);
    return outcome;
}
int fsync(int fd) { return sync_any(fd, real_fsync); }
int fdatasync(int fd) { return sync_any(fd, real_fdatasync); }

int rename(const char *from, const char *to) {
    char a[PATH_MAX], b[PATH_MAX];
    pthread_mutex_lock(&order);
    int ours = resolve(AT_FDCWD, from, a) & resolve(AT_FDCWD, to, b);
    int outcome = real_rename(from, to);
    if (ours && outcome == 0) record('R', 0, 0, a, strlen(a), b, strlen(b));
    pthread_mutex_unlock(&order);
    return outcome;
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    char a[PATH_MAX], b[PATH_MAX];
    pthread_mutex_lock(&order);
    int ours = resolve(from_folder, from, a) & resolve(to_folder, to, b);
    int outcome = real_linkat(from_folder, from, to_folder, to, flags);
    if (ours && outcome == 0) record('L', 0, 0, a, strlen(a), b, strlen(b));
    pthread_mutex_unlock(&order);
    return outcome;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int folder, const char *given, int flags) {
    char path[PATH_MAX];
    pthread_mutex_lock(&order);
    int ours = resolve(folder, given, path);
    int outcome = real_unlinkat(folder, given, flags);
    if (ours && outcome == 0) record_path('U', 0, path);
    pthread_mutex_unlock(&order);
    return outcome;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *given, mode_t mode) {
    char path[PATH_MAX];
    pthread_mutex_lock(&order);
    int ours = resolve(folder, given, path);
    int outcome = -1;
    if (ours && disk_full()) errno = ENOSPC;
    else outcome = real_mkdirat(folder, given, mode);
    if (ours && outcome == 0) record_path('N', 0, path);
    pthread_mutex_unlock(&order);
    return outcome;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* What cannot be recorded must not happen unseen: callers of the first two fall back, the others end the process. */
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t length, unsigned flags) {
    (void)in, (void)in_at, (void)out, (void)out_at, (void)length, (void)flags;
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile(int out, int in, off_t *at, size_t length) {
    (void)out, (void)in, (void)at, (void)length;
    errno = ENOSYS;
    return -1;
}
static int unknown(int fd) {
    struct stat found;
    if (tracked(fd, &found)) abort();
    errno = ENOSYS;
    return -1;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return (void)parts, (void)count, (void)offset, unknown(fd); }
int fallocate(int fd, int mode, off_t offset, off_t length) { return (void)mode, (void)offset, (void)length, unknown(fd); }
int posix_fallocate(int fd, off_t offset, off_t length) { return (void)offset, (void)length, unknown(fd) ? ENOSYS : 0; }
