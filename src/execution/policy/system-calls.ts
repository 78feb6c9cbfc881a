/** An error number that a refused call gets. */
export type Errno = 'EPERM' | 'ENOSYS' | 'EAFNOSUPPORT';

/** A bound on one argument of a call; `otherwise` is what a call outside it gets. */
export type Condition = {
  argument: 0 | 1 | 2;
  /** The bits that count. */
  mask: number;
  is: 'one-of' | 'none-of';
  values: readonly number[];
  otherwise: Errno;
};

/** What happens to one system call: all `conditions` hold, or it is refused. */
export type CallRule = { name: string; conditions: readonly Condition[] };

/** Which of its freedoms a program keeps. Without cgroups it gets neither. */
export type Freedoms = {
  /** Whether it may start processes, or threads only. */
  fork: boolean;
  /** Whether it may hold memory that RLIMIT_AS does not count: anonymous files, large socket buffers. */
  memfd: boolean;
};

/** The policy of every backend: what is not named here gets ENOSYS, so that libraries fall back. */
export type Policy = {
  conditional: readonly CallRule[];
  allowed: readonly string[];
  refused: readonly { name: string; errno: Errno }[];
};

/** The one table of system calls, for the freedoms given. */
export function systemCallPolicy(freedoms: Freedoms): Policy {
  const withdrawn = [
    ...(freedoms.fork ? [] : ['fork', 'vfork']),
    ...(freedoms.memfd ? [] : ['memfd_create']),
  ];
  return {
    conditional: [
      { name: 'clone', conditions: [cloneCondition(freedoms)] },
      { name: 'socket', conditions: socketConditions(freedoms) },
      { name: 'setsockopt', conditions: freedoms.memfd ? [] : [SMALL_BUFFERS] },
      IOCTL,
    ],
    allowed: ALLOWED.filter((name) => !withdrawn.includes(name)),
    refused: [
      ...[...withdrawn, ...REFUSED].map((name) => ({ name, errno: 'EPERM' as const })),
      // Its flags lie in memory, where a filter cannot look; the C library then uses `clone`.
      { name: 'clone3', errno: 'ENOSYS' },
    ],
  };
}

/** CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWTIME. */
const CLONE_NAMESPACES = 0x7e020080;
const CLONE_THREAD = 0x00010000;

/** No new namespaces; and without forks, only what shares the memory (and its limit) of its maker. */
function cloneCondition({ fork }: Freedoms): Condition {
  const shared = { argument: 0, is: 'one-of', otherwise: 'EPERM' } as const;
  if (fork) return { ...shared, mask: CLONE_NAMESPACES, values: [0] };
  return { ...shared, mask: CLONE_NAMESPACES | CLONE_THREAD, values: [CLONE_THREAD] };
}

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;

const ALL_BITS = 0xffffffff;

/**
 * Leaves out netlink, packet, vsock, alg, xdp and raw sockets: kernel surface that a tool never needs. Those
 * of TCP grow their buffers by themselves, to megabytes each.
 */
function socketConditions({ memfd }: Freedoms): Condition[] {
  const families = memfd ? [AF_UNIX, AF_INET, AF_INET6] : [AF_UNIX];
  return [
    { argument: 0, mask: ALL_BITS, is: 'one-of', values: families, otherwise: 'EAFNOSUPPORT' },
    // The high bits of the type are SOCK_NONBLOCK and SOCK_CLOEXEC.
    { argument: 1, mask: 0xf, is: 'one-of', values: [SOCK_STREAM, SOCK_DGRAM], otherwise: 'EPERM' },
  ];
}

const SO_SNDBUF = 7;
const SO_RCVBUF = 8;

/** Unix sockets have no other option with these numbers. */
const SMALL_BUFFERS: Condition = {
  argument: 2,
  mask: ALL_BITS,
  is: 'none-of',
  values: [SO_SNDBUF, SO_RCVBUF],
  otherwise: 'EPERM',
};

const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;

/** Both push characters into a terminal, as if its owner had typed them. */
const IOCTL: CallRule = {
  name: 'ioctl',
  conditions: [
    { argument: 1, mask: ALL_BITS, is: 'none-of', values: [TIOCSTI, TIOCLINUX], otherwise: 'EPERM' },
  ],
};

const ALLOWED = words(
  // Files.
  `read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek
   open openat openat2 creat close close_range dup dup2 dup3 fcntl flock pipe pipe2
   stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat
   getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2
   link linkat symlink symlinkat chmod fchmod fchmodat umask truncate ftruncate fallocate
   utime utimes futimesat utimensat fsync fdatasync sync_file_range fadvise64 readahead
   copy_file_range sendfile getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr`,
  // Waiting.
  `poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
   eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime
   inotify_init inotify_init1 inotify_add_watch inotify_rm_watch`,
  // Memory.
  `mmap munmap mprotect mremap madvise brk msync mincore mlock munlock mlock2 memfd_create membarrier
   pkey_alloc pkey_free pkey_mprotect`,
  // Signals and time.
  `rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend rt_sigqueueinfo
   rt_tgsigqueueinfo sigaltstack restart_syscall pause alarm kill tkill tgkill getitimer setitimer
   nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times
   timer_create timer_settime timer_gettime timer_getoverrun timer_delete`,
  // Processes and threads.
  `fork vfork execve execveat exit exit_group wait4 waitid pidfd_open pidfd_send_signal
   getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgid getpgrp
   getsid setsid setpgid capget getrlimit setrlimit prlimit64 getrusage getpriority setpriority
   sysinfo uname sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_getscheduler
   sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_getattr
   futex futex_waitv set_robust_list get_robust_list set_tid_address rseq arch_prctl prctl getrandom getcpu`,
  // Sockets, which lead nowhere but to the jail itself.
  `socketpair connect accept accept4 bind listen getsockname getpeername getsockopt shutdown
   sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg`,
);

/** Known and dangerous, or known and privileged: EPERM says "not you", where ENOSYS would say "not here". */
const REFUSED = words(
  // Other processes.
  'ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise',
  // Mounts, roots and namespaces.
  `mount umount2 pivot_root chroot unshare setns open_tree move_mount fsopen fsconfig fsmount fspick
   mount_setattr mknod mknodat open_by_handle_at name_to_handle_at fanotify_init quotactl swapon swapoff`,
  // Subsystems with a history.
  `keyctl add_key request_key bpf perf_event_open userfaultfd io_uring_setup io_uring_enter
   io_uring_register seccomp vmsplice splice tee lookup_dcookie`,
  // The kernel and the machine.
  `init_module finit_module delete_module kexec_load kexec_file_load reboot acct syslog sethostname
   setdomainname iopl ioperm modify_ldt settimeofday clock_settime adjtimex vhangup`,
  // Identity.
  `setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset personality
   chown fchown lchown fchownat setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr`,
  // Memory that outlives its process, and who runs where.
  `shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semctl semtimedop mq_open
   ioprio_set sched_setscheduler sched_setattr mbind set_mempolicy migrate_pages move_pages`,
);

function words(...groups: string[]): string[] {
  return groups.flatMap((group) => group.trim().split(/\s+/));
}
