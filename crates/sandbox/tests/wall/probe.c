// Hostile acts, one a call: exits 0 if the act succeeded, 1 if it was prevented (saying how), 2 if it was called wrongly.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int prevented(const char *step) {
    printf("%s: %s\n", step, strerrorname_np(errno) ? strerrorname_np(errno) : "?");
    return 1;
}
#define TRY(step, call) do { errno = 0; if ((long)(call) < 0) return prevented(step); } while (0)

static int read_file(const char *path) {
    char byte;
    int fd;
    TRY("open", fd = open(path, O_RDONLY));
    TRY("read", read(fd, &byte, 1));
    return 0;
}
static int write_file(const char *path) {
    TRY("open", open(path, O_WRONLY));
    return 0;
}
static int create_file(const char *path) {
    TRY("open", open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    unlink(path);
    return 0;
}
static int find_process(const char *marker) {
    DIR *proc = opendir("/proc");
    if (!proc) return prevented("opendir");
    for (struct dirent *entry; (entry = readdir(proc));) {
        char path[300], text[4096];
        if (atoi(entry->d_name) == 0 || atoi(entry->d_name) == getpid()) continue;
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int fd = open(path, O_RDONLY);
        if (fd < 0) continue;
        ssize_t length = read(fd, text, sizeof text);
        close(fd);
        if (length > 0 && memmem(text, length, marker, strlen(marker)) && !memmem(text, length, "find-process", 12)) return 0;
    }
    errno = ENOENT;
    return prevented("scan");
}
static int connect_port(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd;
    TRY("socket", fd = socket(AF_INET, SOCK_STREAM, 0));
    TRY("connect", connect(fd, (void *)&address, sizeof address));
    return 0;
}
static int connect_abstract(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;
    strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
    TRY("socket", fd = socket(AF_UNIX, SOCK_STREAM, 0));
    TRY("connect", connect(fd, (void *)&address, sizeof(sa_family_t) + 1 + strlen(name)));
    return 0;
}
static int trace_child(void) {
    pid_t child = fork();
    if (child == 0) { pause(); _exit(0); }
    long done = ptrace(PTRACE_ATTACH, child, 0, 0);
    int result = done < 0 ? prevented("ptrace") : 0;
    kill(child, SIGKILL);
    return result;
}
static int read_child(void) {
    static char secret[8] = "secret", copy[8];
    pid_t child = fork();
    if (child == 0) { pause(); _exit(0); }
    struct iovec to = {copy, 8}, from = {secret, 8};
    long done = process_vm_readv(child, &to, 1, &from, 1, 0);
    int result = done < 0 ? prevented("process_vm_readv") : 0;
    kill(child, SIGKILL);
    return result;
}
static int mount_something(void) {
    TRY("unshare", unshare(CLONE_NEWUSER | CLONE_NEWNS));
    TRY("mount", mount("none", "/tmp", "tmpfs", 0, ""));
    return 0;
}
static int clone_namespace(void) {
    pid_t child;
    TRY("clone", child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    if (child == 0) _exit(0);
    return 0;
}
static int open_by_handle(void) {
    struct { struct file_handle handle; char space[128]; } file = {.handle = {.handle_bytes = 128}};
    int id;
    TRY("name_to_handle_at", name_to_handle_at(AT_FDCWD, "/tmp", &file.handle, &id, 0));
    return 0;
}
static int timestamps(void) {
    for (;;) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t nanos = now.tv_sec * 1000000000ull + now.tv_nsec;
        if (write(1, &nanos, sizeof nanos) < 0 && errno != EAGAIN) return prevented("write");
        usleep(500);
    }
}
static int fork_bomb(void) {
    for (;;) if (fork() < 0) usleep(100);
}
static int memory_bomb(void) {
    for (size_t step = 4 << 20;;) {
        char *block = mmap(0, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) return prevented("mmap");
        memset(block, 1, step);
        usleep(500);
    }
}
static int fill_disk(const char *path) {
    static char block[1 << 20];
    memset(block, 1, sizeof block);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0) return prevented("open");
    for (long written = 0;; written++) {
        if (write(fd, block, sizeof block) < 0) {
            printf("after %ld MiB: ", written);
            return prevented("write");
        }
        if (written > 3000) return 0;
    }
}
static int fill_inodes(const char *dir) {
    for (int count = 0; count < 400000; count++) {
        char path[200];
        snprintf(path, sizeof path, "%s/f%d", dir, count);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        if (fd < 0) return prevented("open");
        close(fd);
    }
    return 0;
}
static int orphan(void) {
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            signal(SIGTERM, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
            timestamps();
        }
        _exit(0);
    }
    usleep(20000);
    return 0;
}

int main(int count, char **words) {
    if (count < 2) return 2;
    const char *act = words[1], *with = count > 2 ? words[2] : "";
    setvbuf(stdout, 0, _IONBF, 0);
    #define ACT(name) if (strcmp(act, name) == 0)
    ACT("nothing") return 0;
    ACT("read") return read_file(with);
    ACT("write") return write_file(with);
    ACT("create") return create_file(with);
    ACT("find-process") return find_process(with);
    ACT("connect") return connect_port(with);
    ACT("connect-abstract") return connect_abstract(with);
    ACT("ptrace") return trace_child();
    ACT("read-process") return read_child();
    ACT("mount") return mount_something();
    ACT("clone-namespace") return clone_namespace();
    ACT("open-by-handle") return open_by_handle();
    ACT("keyring") { TRY("add_key", syscall(SYS_add_key, "user", "k", "v", 1, KEY_SPEC_PROCESS_KEYRING)); return 0; }
    ACT("keyctl") { TRY("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1)); return 0; }
    ACT("raw-socket") { TRY("socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); return 0; }
    ACT("packet-socket") { TRY("socket", socket(AF_PACKET, SOCK_RAW, 0)); return 0; }
    ACT("vsock") { TRY("socket", socket(AF_VSOCK, SOCK_STREAM, 0)); return 0; }
    ACT("netlink-audit") { TRY("socket", socket(AF_NETLINK, SOCK_RAW, 15)); return 0; }
    ACT("io-uring") { char room[256] = {0}; TRY("io_uring_setup", syscall(425, 4, room)); return 0; }
    ACT("userfaultfd") { TRY("userfaultfd", syscall(SYS_userfaultfd, 1)); return 0; }
    ACT("bpf") { int map[4] = {2, 4, 4, 1}; TRY("bpf", syscall(SYS_bpf, 0, map, sizeof map)); return 0; }
    ACT("perf") { char room[128] = {1, 0, 0, 0, 112}; TRY("perf_event_open", syscall(SYS_perf_event_open, room, 0, -1, -1, 0)); return 0; }
    ACT("personality") { TRY("personality", personality(ADDR_NO_RANDOMIZE)); return 0; }
    ACT("device") { TRY("mknod", mknod(with, S_IFBLK | 0600, makedev(254, 0))); unlink(with); return 0; }
    ACT("chroot") { TRY("chroot", chroot("/tmp")); return 0; }
    ACT("sethostname") { TRY("unshare", unshare(CLONE_NEWUSER | CLONE_NEWUTS)); TRY("sethostname", sethostname("x", 1)); return 0; }
    ACT("priority") { TRY("setpriority", nice(-5) == -1 && errno ? -1 : 0); return 0; }
    ACT("setuid") { TRY("setuid", setuid(0)); return 0; }
    ACT("kill-init") { TRY("kill", kill(1, SIGKILL)); usleep(100000); return 0; }
    ACT("watches") { for (int n = 0; n < 60; n++) TRY("inotify_init1", inotify_init1(0)); return 0; }
    ACT("timers") { timer_t timer; for (int n = 0; n < 5000; n++) TRY("timer_create", timer_create(CLOCK_MONOTONIC, 0, &timer)); return 0; }
    ACT("timestamps") return timestamps();
    ACT("timestamps-and-fork-bomb") { if (fork() == 0) return fork_bomb(); return timestamps(); }
    ACT("fork-bomb") return fork_bomb();
    ACT("memory-bomb") return memory_bomb();
    ACT("fill-disk") return fill_disk(with);
    ACT("fill-inodes") return fill_inodes(with);
    ACT("orphan") return orphan();
    ACT("loop") for (;;);
    ACT("flood") { static char block[1 << 16]; for (long n = 0; n < 16384; n++) if (write(1, block, sizeof block) < 0) return prevented("write"); return 0; }
    return 2;
}
