//! The table of system calls: what a guest may call, what it may call with certain arguments, and what is refused.
//!
//! What stands nowhere here is answered with ENOSYS, as by a kernel that does not have it: programs fall back.

use super::seccomp::Rule;

/// `AUDIT_ARCH_*` of the only calling convention that is let through.
#[cfg(target_arch = "x86_64")]
pub(super) const AUDIT_ARCH: u32 = 0xC000_003E;
/// `AUDIT_ARCH_*` of the only calling convention that is let through.
#[cfg(target_arch = "aarch64")]
pub(super) const AUDIT_ARCH: u32 = 0xC000_00B7;

macro_rules! numbers {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Every rule of this processor, in no order.
pub(super) fn rules() -> Vec<(libc::c_long, Rule)> {
    let lists: [(&[libc::c_long], Rule); 11] = [
        (ALLOWED, Rule::Allow),
        (ALLOWED_HERE, Rule::Allow),
        (REFUSED, Rule::Refuse),
        (REFUSED_HERE, Rule::Refuse),
        (&[libc::SYS_socket], Rule::Socket),
        (&[libc::SYS_socketpair], Rule::SocketPair),
        (&[libc::SYS_clone, libc::SYS_unshare], Rule::NoNamespaces),
        (&[libc::SYS_ioctl], Rule::Ioctl),
        (&[libc::SYS_personality], Rule::Personality),
        (&[libc::SYS_mknodat], Rule::NoDevice { argument: 2 }),
        (MKNOD, Rule::NoDevice { argument: 1 }),
    ];
    lists.iter().flat_map(|(numbers, rule)| numbers.iter().map(|number| (*number, *rule))).collect()
}

#[cfg(target_arch = "x86_64")]
const MKNOD: &[libc::c_long] = &[libc::SYS_mknod];
#[cfg(not(target_arch = "x86_64"))]
const MKNOD: &[libc::c_long] = &[];

/// What CPython, Node, Go, Rust, a shell and the usual native libraries need, and can do no harm outside the cell.
const ALLOWED: &[libc::c_long] = numbers! {
    // files
    SYS_read SYS_write SYS_close SYS_fstat SYS_lseek SYS_pread64 SYS_pwrite64 SYS_readv SYS_writev SYS_preadv SYS_pwritev
    SYS_preadv2 SYS_pwritev2 SYS_openat SYS_openat2 SYS_close_range SYS_newfstatat SYS_statx SYS_faccessat SYS_faccessat2
    SYS_getdents64 SYS_getcwd SYS_chdir SYS_fchdir SYS_mkdirat SYS_unlinkat SYS_renameat SYS_renameat2 SYS_linkat
    SYS_symlinkat SYS_readlinkat SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_umask SYS_truncate
    SYS_ftruncate SYS_fallocate SYS_fadvise64 SYS_readahead SYS_fsync SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range
    SYS_statfs SYS_fstatfs SYS_utimensat SYS_flock SYS_fcntl SYS_dup SYS_dup3 SYS_pipe2 SYS_splice SYS_tee SYS_vmsplice
    SYS_sendfile SYS_copy_file_range SYS_memfd_create
    SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr
    SYS_flistxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
    SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch
    // waiting
    SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_signalfd4
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime
    // memory
    SYS_mmap SYS_mprotect SYS_munmap SYS_brk SYS_mremap SYS_msync SYS_mincore SYS_madvise SYS_mlock SYS_mlock2 SYS_munlock
    SYS_mlockall SYS_munlockall SYS_membarrier SYS_pkey_mprotect SYS_pkey_alloc SYS_pkey_free SYS_mseal
    // processes, threads, signals
    SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_kill SYS_tkill SYS_tgkill SYS_pidfd_open
    SYS_pidfd_send_signal SYS_getpid SYS_gettid SYS_getppid SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid SYS_getuid
    SYS_geteuid SYS_getgid SYS_getegid SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid
    SYS_getresuid SYS_getresgid SYS_setfsuid SYS_setfsgid SYS_getgroups SYS_setgroups SYS_capget SYS_capset SYS_prctl
    SYS_getrlimit SYS_setrlimit SYS_prlimit64 SYS_getrusage SYS_times SYS_getpriority SYS_setpriority SYS_ioprio_get
    SYS_ioprio_set SYS_sched_yield SYS_sched_getparam SYS_sched_setparam SYS_sched_getscheduler SYS_sched_setscheduler
    SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_sched_getaffinity
    SYS_sched_setaffinity SYS_sched_getattr SYS_sched_setattr SYS_getcpu
    SYS_set_tid_address SYS_set_robust_list SYS_get_robust_list SYS_futex SYS_rseq SYS_restart_syscall
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigpending SYS_rt_sigtimedwait SYS_rt_sigqueueinfo
    SYS_rt_tgsigqueueinfo SYS_rt_sigsuspend SYS_sigaltstack
    SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
    // time and chance
    SYS_nanosleep SYS_clock_nanosleep SYS_clock_gettime SYS_clock_getres SYS_gettimeofday SYS_getitimer SYS_setitimer
    SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete SYS_getrandom
    // the machine
    SYS_uname SYS_sysinfo
    // sockets that exist already
    SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_getsockname SYS_getpeername SYS_sendto SYS_recvfrom
    SYS_sendmsg SYS_recvmsg SYS_sendmmsg SYS_recvmmsg SYS_shutdown SYS_setsockopt SYS_getsockopt
    // System V: within the cell's own ipc namespace
    SYS_shmget SYS_shmat SYS_shmctl SYS_shmdt SYS_semget SYS_semop SYS_semctl SYS_semtimedop SYS_msgget SYS_msgsnd
    SYS_msgrcv SYS_msgctl
    // POSIX message queues, likewise
    SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
};

/// Ways to memory that shows in no process: not there where only processes are looked at.
pub(super) const UNCOUNTED: &[libc::c_long] = numbers! { SYS_memfd_create SYS_shmget };

/// Older forms that only this processor has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = numbers! {
    SYS_open SYS_stat SYS_lstat SYS_poll SYS_select SYS_access SYS_pipe SYS_dup2 SYS_pause SYS_alarm SYS_fork SYS_vfork
    SYS_getdents SYS_rename SYS_mkdir SYS_rmdir SYS_creat SYS_link SYS_unlink SYS_symlink SYS_readlink SYS_chmod SYS_chown
    SYS_lchown SYS_getpgrp SYS_utime SYS_utimes SYS_futimesat SYS_time SYS_epoll_create SYS_epoll_wait SYS_inotify_init
    SYS_signalfd SYS_eventfd SYS_arch_prctl
};
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// Known calls that reach past the cell: the answer is EPERM, which programs take for missing rights.
const REFUSED: &[libc::c_long] = numbers! {
    // other processes
    SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_pidfd_getfd SYS_kcmp
    // keys
    SYS_add_key SYS_request_key SYS_keyctl
    // mounts and namespaces
    SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_setns SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig
    SYS_fsmount SYS_fspick SYS_mount_setattr
    SYS_name_to_handle_at SYS_open_by_handle_at SYS_quotactl SYS_quotactl_fd SYS_swapon SYS_swapoff SYS_acct
    SYS_fanotify_init SYS_fanotify_mark
    // the machine
    SYS_reboot SYS_sethostname SYS_setdomainname SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load
    SYS_settimeofday SYS_clock_settime SYS_adjtimex SYS_clock_adjtime SYS_syslog SYS_vhangup
    // the kernel's inside
    SYS_bpf SYS_perf_event_open SYS_seccomp
    // where memory lies
    SYS_mbind SYS_set_mempolicy SYS_get_mempolicy SYS_migrate_pages SYS_move_pages
};

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = numbers! { SYS_iopl SYS_ioperm SYS_modify_ldt SYS_kexec_file_load };
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];
