// SPDX-License-Identifier: BSD-2-Clause
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bpf/bio.skel.h"
#include "bpf/head.skel.h"
#include "bpf/hibernate.skel.h"
#include "bpf/request.skel.h"
#include "bpf/tables.skel.h"
#include "btf.h"
#include "kernel.h"

#define BPF_FS "/sys/fs/bpf"
enum { BPF_FS_MAGIC = 0xcafe4a11 };

static const char *const program_names[PROGRAMS] = {
	"complete_0",      "complete_1",      "complete_2", "issue",   "head_complete_0",
	"head_complete_1", "head_complete_2", "head_issue", "queue_0", "queue_1",
	"queue_2",         "remap_0",         "remap_1",    "remap_2", "bio_complete",
	"swap_table",      "hibernate",
};

// The object of each side, and its programs.
static const struct {
	const void *(*object)(size_t *size);
	enum program first, end;
} sides[SIDES] = {
	[WAY_REQUEST] = {request_bpf__elf_bytes, COMPLETE_0, HEAD_COMPLETE_0},
	[WAY_HEAD] = {head_bpf__elf_bytes, HEAD_COMPLETE_0, QUEUE_0},
	[WAY_BIO] = {bio_bpf__elf_bytes, QUEUE_0, SWAP_TABLE},
	[SIDE_TABLES] = {tables_bpf__elf_bytes, SWAP_TABLE, HIBERNATE},
	[SIDE_HIBERNATE] = {hibernate_bpf__elf_bytes, HIBERNATE, PROGRAMS},
};

// Where a layout's pins are. (That later ones are below those of layout 3 keeps its programs, which
// look no further than into the directory, from taking it for theirs, or from removing it.)
static void pins_path(char *path, size_t n, int layout)
{
	if (layout == OLDEST_LAYOUT)
		snprintf(path, n, KERNEL_PINS);
	else
		snprintf(path, n, KERNEL_PINS "/%d", layout);
}

static void pin_path(char *path, size_t n, int layout, const char *kind, const char *name)
{
	char pins[64];

	pins_path(pins, sizeof(pins), layout);
	snprintf(path, n, "%s/%s-%s", pins, kind, name);
}

void kernel_link_path(char *path, size_t n, int layout, enum program p)
{
	pin_path(path, n, layout, "link", program_names[p]);
}

// ---- loading

const char *kernel_lacking(void)
{
	return errno == EPERM && !geteuid() ? " (it takes CAP_SYS_ADMIN)" : "";
}

static int mount_bpf_fs(struct fault *f)
{
	struct statfs s;

	if (!statfs(BPF_FS, &s) && (unsigned long)s.f_type == BPF_FS_MAGIC)
		return 0;
	if (mount("bpf", BPF_FS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return fault_errno(f, "%s: no bpf file system there, and mounting one failed%s",
				   BPF_FS, kernel_lacking());
	return 0;
}

// The last words of libbpf, kept for the message; the whole log is of no use to an administrator.
static char libbpf_said[200];

static int keep_words(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[sizeof(libbpf_said)];

	if (level != LIBBPF_WARN || libbpf_said[0])
		return 0;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = 0;
	memcpy(libbpf_said, line, sizeof(line));
	return 0;
}

// The effective capabilities of this process, a bit each.
static uint64_t capabilities(void)
{
	FILE *in = fopen("/proc/self/status", "re");
	char line[128];
	unsigned long long caps = ~0ull;

	while (in && fgets(line, sizeof(line), in))
		if (!strncmp(line, "CapEff:", 7))
			caps = strtoull(line + 7, NULL, 16);
	if (in)
		fclose(in);
	return caps;
}

static bool locked_down(void)
{
	FILE *in = fopen("/sys/kernel/security/lockdown", "re");
	char line[128] = "";
	bool yes = in && fgets(line, sizeof(line), in) && strstr(line, "[confidentiality]");

	if (in)
		fclose(in);
	return yes;
}

// Why loading was not permitted; NULL if nothing explains it.
static const char *not_permitted(void)
{
	const uint64_t admin = 1ull << 21, both = 1ull << 38 | 1ull << 39, caps = capabilities();

	if (geteuid())
		return "not permitted: run as root";
	if (!(caps & admin))
		return (caps & both) == both ? "not permitted: the capability CAP_SYS_ADMIN is "
					       "missing"
					     : "not permitted: the capabilities CAP_SYS_ADMIN, or "
					       "CAP_BPF and CAP_PERFMON, are missing";
	return NULL;
}

static int load_fault(int err, struct fault *f)
{
	const char *why = err == EPERM || err == EACCES ? not_permitted() : NULL;

	if (why)
		return fault_set(f, BLX_SYSTEM, "load tracking programs: %s", why);
	if (locked_down()) // the helpers that read kernel memory are unknown then: EINVAL
		return fault_set(f, BLX_SYSTEM,
				 "load tracking programs: the kernel is locked down "
				 "(confidentiality), no program may look into it");
	if (access("/sys/kernel/btf/vmlinux", R_OK))
		return fault_set(f, BLX_SYSTEM,
				 "/sys/kernel/btf/vmlinux: this kernel was built without BTF "
				 "(CONFIG_DEBUG_INFO_BTF): it cannot be tracked");
	if (libbpf_probe_bpf_helper(BPF_PROG_TYPE_TRACING, BPF_FUNC_loop, NULL) == 0)
		return fault_set(
			f, BLX_SYSTEM,
			"this kernel lacks the bpf_loop helper: tracking needs 5.17 or newer");
	errno = err;
	return fault_errno(f, "load tracking programs (%s)", libbpf_said);
}

// The files in a directory, and itself if nothing else is there. Links first: what is detached
// marks nothing in a map that is gone.
static void remove_pins(const char *dir)
{
	static const char *const order[] = {"link-", ""};
	struct dirent *e;
	char path[64 + sizeof(e->d_name)];

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		DIR *d = opendir(dir);
		while (d && (e = readdir(d))) {
			snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
			if (!strncmp(e->d_name, order[i], strlen(order[i])))
				unlink(path);
		}
		if (d)
			closedir(d);
	}
	rmdir(dir);
}

// All pins but those of one layout (0: none). 0, or -1 if some are left, with errno.
static int remove_others(int layout)
{
	DIR *d = opendir(KERNEL_PINS);
	struct dirent *e;
	char path[sizeof(KERNEL_PINS) + 1 + sizeof(e->d_name)], keep[64];
	int bad = 0;

	pins_path(keep, sizeof(keep), layout);
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), KERNEL_PINS "/%s", e->d_name);
		if (e->d_type != DT_DIR || e->d_name[0] == '.' || !strcmp(path, keep))
			continue;
		remove_pins(path);
		bad = bad || !access(path, F_OK);
	}
	if (d)
		closedir(d);
	if (layout != OLDEST_LAYOUT)
		remove_pins(KERNEL_PINS);
	return bad ? -1 : 0;
}

static void remove_links(enum way way)
{
	char path[128];

	for (enum program p = sides[way].first; p < sides[way].end; p++) {
		kernel_link_path(path, sizeof(path), TRACK_LAYOUT, p);
		unlink(path);
	}
}

static int attach_and_pin(struct bpf_object *o, enum way way, struct fault *f)
{
	char path[128];

	for (enum program p = sides[way].first; p < sides[way].end; p++) {
		struct bpf_program *prog = bpf_object__find_program_by_name(o, program_names[p]);
		struct bpf_link *link = prog ? bpf_program__attach(prog) : NULL;
		if (!link)
			return fault_errno(f, "attach %s to the block layer's tracepoints",
					   program_names[p]);
		kernel_link_path(path, sizeof(path), TRACK_LAYOUT, p);
		int bad = bpf_link__pin(link, path);
		if (bad)
			fault_errno(f, "%s: pin", path);
		bpf_link__destroy(link);
		if (bad)
			return -1;
	}
	return 0;
}

// Maps of the same name are one map for all ways: libbpf takes what is pinned and pins what is not.
static int share_maps(struct bpf_object *o, struct fault *f)
{
	struct bpf_map *map;
	char path[128];

	bpf_object__for_each_map(map, o)
	{
		pin_path(path, sizeof(path), TRACK_LAYOUT, "map", bpf_map__name(map));
		if (!bpf_map__is_internal(map) && bpf_map__set_pin_path(map, path))
			return fault_errno(f, "%s: pin", path);
	}
	return 0;
}

static int load_object(enum way way, struct fault *f)
{
	size_t size;
	const void *bytes = sides[way].object(&size);
	struct bpf_object *o = bpf_object__open_mem(bytes, size, NULL);

	if (!o)
		return load_fault(errno, f);
	int bad = share_maps(o, f);
	if (!bad && bpf_object__load(o))
		bad = load_fault(errno, f);
	if (!bad && (bad = attach_and_pin(o, way, f)))
		remove_links(way);
	bpf_object__close(o);
	return bad;
}

// The kernel's type information, megabytes, for as long as the process lives.
static const struct btf *kernel_btf(void)
{
	static struct btf *b;

	if (!b)
		b = btf__load_vmlinux_btf();
	return b;
}

bool kernel_has_rw_page(void)
{
	const struct btf *b = kernel_btf();

	return b && btf_has_rw_page(b);
}

uint32_t kernel_command_at(enum passthrough p)
{
	// scsi_cmnd.cmnd was a pointer before 5.18 (ce70fd9a551a)
	static const struct {
		const char *module, *type, *member;
	} places[] = {
		[PASS_SCSI] = {"scsi_mod", "scsi_cmnd", "cmnd"},
		[PASS_NVME] = {"nvme_core", "nvme_request", "cmd"},
	};
	struct btf *base = (struct btf *)kernel_btf(), *b;
	bool pointer = false;
	int at;

	if (!base || p >= sizeof(places) / sizeof(places[0]) || !places[p].type)
		return 0;
	b = btf__load_module_btf(places[p].module, base);
	at = btf_member(b ? b : base, places[p].type, places[p].member, &pointer);
	btf__free(b);
	return at < 0 ? 0 : COMMAND_AT((uint32_t)at, pointer);
}

static int check_kernel(struct fault *f)
{
	const struct btf *b = kernel_btf();

	return b ? btf_check(b, f) : load_fault(errno, f);
}

int kernel_load(enum way way, struct fault *f)
{
	struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	char pins[64];

	if (mount_bpf_fs(f))
		return -1;
	setrlimit(RLIMIT_MEMLOCK,
		  &all); // before 5.11 maps were charged to it; later kernels do not care
	libbpf_said[0] = 0;
	libbpf_set_print(keep_words);
	if (check_kernel(f))
		return -1;
	if (mkdir(KERNEL_PINS, 0700) && errno != EEXIST)
		return fault_errno(f, "%s: create", KERNEL_PINS);
	pins_path(pins, sizeof(pins), TRACK_LAYOUT);
	bool first = !mkdir(pins, 0700);
	if (!first && errno != EEXIST)
		return fault_errno(f, "%s: create", pins);
	int bad = load_object(way, f);
	if (bad && first) {
		remove_pins(pins);
		rmdir(KERNEL_PINS);
	}
	return bad;
}

bool kernel_layout_has(int layout, enum way way)
{
	char path[128];

	kernel_link_path(path, sizeof(path), layout, sides[way].first);
	return !access(path, F_OK);
}

bool kernel_has(enum way way)
{
	return kernel_layout_has(TRACK_LAYOUT, way);
}

void kernel_unload_way(enum way way)
{
	remove_links(way);
}

void kernel_programs(enum way way, enum program *first, enum program *end)
{
	*first = sides[way].first;
	*end = sides[way].end;
}

bool kernel_present(void)
{
	return !access(KERNEL_PINS, F_OK);
}

static int get_pin(int layout, const char *kind, const char *name, struct fault *f)
{
	char path[128];

	pin_path(path, sizeof(path), layout, kind, name);
	int fd = bpf_obj_get(path);
	if (fd < 0)
		fault_errno(f, "%s", path);
	return fd;
}

bool kernel_tracks(void)
{
	struct fault f;
	uint32_t disk;
	int fd = get_pin(TRACK_LAYOUT, "map", "devices", &f);

	if (fd < 0)
		return false;
	bool any = !bpf_map_get_next_key(fd, NULL, &disk);
	close(fd);
	return any;
}

static void *map_array(int layout, const char *name, size_t size, struct fault *f)
{
	int fd = get_pin(layout, "map", name, f);
	if (fd < 0)
		return NULL;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		fault_errno(f, "map %s: mmap", name);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

static int open_tables(struct kernel *k, struct fault *f)
{
	int v = k->layout;

	if ((kernel_layout_has(v, WAY_REQUEST) || kernel_layout_has(v, WAY_HEAD)) &&
	    !(k->flights.entry = map_array(v, "flights", FLIGHTS * sizeof(struct flight), f)))
		return -1;
	if (kernel_layout_has(v, WAY_BIO) &&
	    !(k->bios.entry = map_array(v, "bios", BIOS * sizeof(struct flight), f)))
		return -1;
	if (kernel_layout_has(v, SIDE_HIBERNATE) &&
	    !(k->images = map_array(v, "images", sizeof(*k->images), f)))
		return -1;
	k->flights.n = k->flights.entry ? FLIGHTS : 0;
	k->bios.n = k->bios.entry ? BIOS : 0;
	return 0;
}

int kernel_open_layout(struct kernel *k, int v, struct fault *f)
{
	*k = (struct kernel){.layout = v,
			     .devices = -1,
			     .bitmaps = -1,
			     .sums = -1,
			     .runs = -1,
			     .ncpus = libbpf_num_possible_cpus()};
	if ((k->devices = get_pin(v, "map", "devices", f)) < 0 ||
	    (k->bitmaps = get_pin(v, "map", "bitmaps", f)) < 0 ||
	    (k->sums = get_pin(v, "map", "sums", f)) < 0 ||
	    (k->runs = get_pin(v, "map", "runs", f)) < 0 ||
	    !(k->parity = map_array(v, "parity", sizeof(uint64_t), f)) ||
	    !(k->slots = map_array(v, "slots", SLOTS * sizeof(struct slot), f)) ||
	    open_tables(k, f)) {
		kernel_close(k);
		return -1;
	}
	return 0;
}

int kernel_open(struct kernel *k, struct fault *f)
{
	return kernel_open_layout(k, TRACK_LAYOUT, f);
}

static void unmap(volatile void *p, size_t size)
{
	if (p)
		munmap((void *)p, size);
}

void kernel_close(struct kernel *k)
{
	int fds[] = {k->devices, k->bitmaps, k->sums, k->runs};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	unmap(k->parity, sizeof(uint64_t));
	unmap(k->slots, SLOTS * sizeof(struct slot));
	unmap(k->flights.entry, FLIGHTS * sizeof(struct flight));
	unmap(k->bios.entry, BIOS * sizeof(struct flight));
	unmap(k->images, sizeof(*k->images));
	*k = (struct kernel){.devices = -1, .bitmaps = -1, .sums = -1, .runs = -1};
}

int kernel_unload(struct fault *f)
{
	remove_others(0);
	if (kernel_present())
		return fault_errno(f, "%s: remove", KERNEL_PINS);
	return 0;
}

int kernel_unload_others(int layout, struct fault *f)
{
	return remove_others(layout) ? fault_errno(f, "%s: remove other layouts", KERNEL_PINS) : 0;
}
