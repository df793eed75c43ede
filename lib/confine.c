// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "confine.h"

// Sanitizers look at other files, and call what is not listed here.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) ||                         \
	__has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

// ---- Landlock: numbers of linux/landlock.h, which may be older than the kernel

enum {
	NR_CREATE_RULESET = 444,
	NR_ADD_RULE = 445,
	NR_RESTRICT_SELF = 446,
	CREATE_RULESET_VERSION = 1,
	RULE_PATH_BENEATH = 1,
	ABI_REFER = 2, // before it no file may change its directory
	ABI_TRUNCATE = 3,
	ABI_NET = 4,
	ABI_IOCTL_DEV = 5,
	ABI_SCOPE = 6,
};

enum {
	FS_EXECUTE = 1 << 0,
	FS_WRITE_FILE = 1 << 1,
	FS_READ_FILE = 1 << 2,
	FS_READ_DIR = 1 << 3,
	FS_REMOVE_DIR = 1 << 4,
	FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_DIR = 1 << 7,
	FS_MAKE_REG = 1 << 8,
	FS_ALL_OF_1 = (1 << 13) - 1,
	FS_REFER = 1 << 13,
	FS_TRUNCATE = 1 << 14,
	FS_IOCTL_DEV = 1 << 15,
	NET_BIND_AND_CONNECT = 3,
	SCOPE_SOCKETS_AND_SIGNALS = 3,
};

struct ruleset {
	uint64_t fs, net, scoped;
};

struct beneath {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));

static uint64_t known_fs(int abi)
{
	return (uint64_t)FS_ALL_OF_1 | (abi >= ABI_REFER ? FS_REFER : 0) |
	       (abi >= ABI_TRUNCATE ? FS_TRUNCATE : 0) | (abi >= ABI_IOCTL_DEV ? FS_IOCTL_DEV : 0);
}

static int allow_path(int rules, const struct confine_path *p, uint64_t known)
{
	const uint64_t look = FS_READ_FILE | FS_READ_DIR,
		       change = look | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE |
				FS_MAKE_DIR | FS_MAKE_REG | FS_REFER | FS_TRUNCATE | FS_IOCTL_DEV,
		       of_files = FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV;
	struct beneath b = {.allowed = known & (p->access == CONFINE_LOOK ? look : change)};
	struct stat st;

	b.parent = open(p->path, O_PATH | O_CLOEXEC);
	if (b.parent < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -1;
	int bad = fstat(b.parent, &st);
	if (!bad && !S_ISDIR(st.st_mode))
		b.allowed &= of_files;
	bad = bad || syscall(NR_ADD_RULE, rules, RULE_PATH_BENEATH, &b, 0);
	int keep = errno;
	close(b.parent);
	errno = keep;
	return bad ? -1 : 0;
}

static bool changes(const struct confine_path *paths, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (paths[i].access == CONFINE_CHANGE)
			return true;
	return false;
}

// 0; 1: this kernel lacks it.
static int landlock(const struct confine_path *paths, size_t n, struct fault *f)
{
	long abi = syscall(NR_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);
	struct ruleset r = {0};

	if (abi < 0 || (abi < ABI_REFER && changes(paths, n))) {
		fault_set(f, BLX_SYSTEM,
			  abi < 0 ? "no Landlock in this kernel"
				  : "Landlock of this kernel is too old (5.19)");
		return 1;
	}
	r.fs = known_fs((int)abi);
	r.net = abi >= ABI_NET ? NET_BIND_AND_CONNECT : 0;
	r.scoped = abi >= ABI_SCOPE ? SCOPE_SOCKETS_AND_SIGNALS : 0;
	int fd = (int)syscall(NR_CREATE_RULESET, &r, sizeof(r), 0), bad = 0;
	if (fd < 0)
		bad = fault_errno(f, "Landlock");
	for (size_t i = 0; i < n && !bad; i++)
		if ((bad = allow_path(fd, &paths[i], r.fs)))
			fault_errno(f, "Landlock: %s", paths[i].path);
	if (!bad && syscall(NR_RESTRICT_SELF, fd, 0))
		bad = fault_errno(f, "Landlock");
	if (fd >= 0)
		close(fd);
	return bad ? 1 : 0;
}

// ---- seccomp

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef ARCH

// Where a name is missing, that architecture, or that libc's header, does not have the call.
static const int32_t filter_calls[] = {
	-1, // of a tracer that skips a call
	SYS_read,
	SYS_readv,
	SYS_write,
	SYS_writev,
	SYS_lseek,
	SYS_close,
	SYS_fstat,
	SYS_fcntl,
#ifdef SYS_newfstatat
	SYS_newfstatat,
#endif
#ifdef SYS_poll
	SYS_poll,
#endif
	SYS_ppoll,
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_brk,
	SYS_futex,
	SYS_getrandom,
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_gettimeofday,
	SYS_sched_yield,
	SYS_sched_getaffinity, // malloc
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
	SYS_restart_syscall,
	SYS_getpid,
	SYS_gettid,
	SYS_tgkill,
	SYS_exit,
	SYS_exit_group,
};

static const int32_t file_calls[] = {
	SYS_openat,
	SYS_pread64,
	SYS_pwrite64,
	SYS_fsync,
	SYS_fdatasync,
	SYS_ftruncate,
	SYS_fallocate,
	SYS_flock,
	SYS_fchmod,
	SYS_fchown,
	SYS_dup,
	SYS_getdents64,
	SYS_unlinkat,
	SYS_mkdirat,
	SYS_renameat2,
	SYS_readlinkat,
	SYS_faccessat,
	SYS_faccessat2,
	SYS_statx,
	SYS_statfs,
	SYS_fstatfs,
	SYS_fadvise64,
	SYS_getcwd,
	SYS_prlimit64,
	SYS_sysinfo,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
#ifdef SYS_sync_file_range
	SYS_sync_file_range,
#endif
#ifdef SYS_renameat
	SYS_renameat,
#endif
#ifdef __x86_64__ // those that were there before the ...at calls
	SYS_open,
	SYS_stat,
	SYS_lstat,
	SYS_access,
	SYS_unlink,
	SYS_mkdir,
	SYS_rmdir,
	SYS_rename,
	SYS_readlink,
	SYS_getrlimit,
	SYS_setrlimit,
	SYS_time,
#endif
};

// Nobody falls back on these, or away from them.
static const int32_t deadly_calls[] = {
	SYS_execve,
	SYS_execveat,
	SYS_clone,
	SYS_socket,
	SYS_ptrace,
	SYS_process_vm_writev,
	SYS_bpf,
#ifdef SYS_fork
	SYS_fork,
	SYS_vfork,
#endif
#ifdef SYS_io_uring_setup
	SYS_io_uring_setup,
#endif
};

// _IOR('T', 0x2a, struct termios2): what a libc may ask instead of TCGETS
enum { GET_TERMINAL = 0x802c542a };
static const uint32_t filter_ioctls[] = {TCGETS, (uint32_t)GET_TERMINAL};
static const uint32_t file_ioctls[] = {FICLONE, BLKZEROOUT, BLKROGET, BLKGETSIZE64, TIOCGWINSZ};

enum {
	ROOM = 256,
	AT_NR = offsetof(struct seccomp_data, nr),
	AT_ARCH = offsetof(struct seccomp_data, arch),
	AT_SECOND = offsetof(struct seccomp_data, args[1]), // its low half: little-endian
	AT_THIRD = offsetof(struct seccomp_data, args[2]),
};

struct program {
	struct sock_filter op[ROOM];
	unsigned short n;
};

static void put(struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
	p->op[p->n++] = (struct sock_filter){code, yes, no, k};
}

static void load(struct program *p, uint32_t at)
{
	put(p, BPF_LD | BPF_W | BPF_ABS, at, 0, 0);
}

static void answer(struct program *p, uint32_t what)
{
	put(p, BPF_RET | BPF_K, what, 0, 0);
}

// What is loaded being K is answered.
static void answer_if(struct program *p, uint32_t k, uint32_t what)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, k, 0, 1);
	answer(p, what);
}

static void answer_calls(struct program *p, const int32_t *calls, size_t n, uint32_t what)
{
	for (size_t i = 0; i < n; i++)
		answer_if(p, (uint32_t)calls[i], what);
}

// The rest for one call, whose second argument is one of VALUES.
static void allow_ioctls(struct program *p, const uint32_t *values, size_t n, uint32_t otherwise)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, (uint8_t)(2 * n + 2));
	load(p, AT_SECOND);
	for (size_t i = 0; i < n; i++)
		answer_if(p, values[i], SECCOMP_RET_ALLOW);
	answer(p, otherwise);
}

// Memory, but none that can be executed.
static void allow_memory(struct program *p, int call, uint32_t otherwise)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 4);
	load(p, AT_THIRD);
	put(p, BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1);
	answer(p, otherwise);
	answer(p, SECCOMP_RET_ALLOW);
}

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static void make_program(struct program *p, enum confine_calls calls)
{
	const uint32_t no = SECCOMP_RET_KILL_PROCESS, yes = SECCOMP_RET_ALLOW,
		       otherwise = calls == CONFINE_FILTER ? no : SECCOMP_RET_ERRNO | ENOSYS;
	uint32_t ioctls[COUNT(filter_ioctls) + COUNT(file_ioctls)];
	size_t n = COUNT(filter_ioctls);

	memcpy(ioctls, filter_ioctls, sizeof(filter_ioctls));
	if (calls == CONFINE_FILES) {
		memcpy(ioctls + n, file_ioctls, sizeof(file_ioctls));
		n += COUNT(file_ioctls);
	}
	p->n = 0;
	load(p, AT_ARCH); // the same number is another call to another
	put(p, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	answer(p, no);
	load(p, AT_NR);
	answer_calls(p, filter_calls, COUNT(filter_calls), yes);
	if (calls == CONFINE_FILES) {
		answer_calls(p, file_calls, COUNT(file_calls), yes);
		answer_calls(p, deadly_calls, COUNT(deadly_calls), no);
	}
	allow_memory(p, SYS_mmap, otherwise);
	allow_memory(p, SYS_mprotect, otherwise);
	allow_ioctls(p, ioctls, n, otherwise);
	answer(p, otherwise);
}

static int seccomp(enum confine_calls calls, struct fault *f)
{
	struct program p;

	make_program(&p, calls);
	struct sock_fprog prog = {.len = p.n, .filter = p.op};
	if (!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		return 0;
	fault_errno(f, "seccomp");
	return 1;
}

#else

static int seccomp(enum confine_calls calls, struct fault *f)
{
	(void)calls;
	fault_set(f, BLX_SYSTEM, "no list of system calls for this architecture");
	return 1;
}

#endif

int confine_when(const char *s, enum confine_when *when)
{
	static const char *const names[] = {
		[CONFINE_TRY] = "try", [CONFINE_NO] = "no", [CONFINE_MUST] = "must"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(s, names[i])) {
			*when = (enum confine_when)i;
			return 0;
		}
	return -1;
}

// 0; 1: F says what is lacking, or what of it.
static int confine_all(enum confine_calls calls, const struct confine_path *paths, size_t n,
		       struct fault *f)
{
	struct fault more;

	tzset(); // glibc looks for the zone even where the time is UTC, once
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
		fault_errno(f, "no_new_privs");
		return 1;
	}
	if (SANITIZED) {
		fault_set(f, BLX_SYSTEM, "not in a build with sanitizers");
		return 1;
	}
	// The filter comes last: it has no room for the other two.
	int lacks = landlock(paths, n, f);
	int also = seccomp(calls, &more);
	if (also)
		*f = more;
	return lacks || also;
}

int confine(enum confine_when when, enum confine_calls calls, const struct confine_path *paths,
	    size_t n, struct fault *f)
{
	struct fault lacks;

	if (when == CONFINE_NO || !confine_all(calls, paths, n, &lacks) || when == CONFINE_TRY)
		return 0;
	return fault_set(f, BLX_SYSTEM, "--confine must: %s", lacks.text);
}
