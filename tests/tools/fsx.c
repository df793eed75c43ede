// SPDX-License-Identifier: BSD-2-Clause
// Random operations on one file against a copy of it in memory, after Apple's fsx (which Debian
// does not have): what is read must be what was written. Ends when the file STOP is there, or after
// 600 seconds; then all of it is read once more.
//
// usage: fsx FILE SEED STOP [SIZE]
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MAX_OP = 64 * 1024, SECONDS = 600 };

static uint8_t *shadow, *buf;
static size_t room, size; // of the file
static int fd;
static const char *name;
static uint64_t state;
static unsigned long done;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "fsx: %s: operation %lu: %s: %s\n", name, done, what, strerror(errno));
	exit(3);
}

static uint64_t next(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % n;
}

static void differs(const char *how, size_t from, const uint8_t *got, size_t n)
{
	size_t i = 0;

	while (i < n && got[i] == shadow[from + i])
		i++;
	if (i == n)
		return;
	fprintf(stderr, "fsx: %s: operation %lu: %s: byte %zu is %02x, not %02x\n", name, done, how,
		from + i, got[i], shadow[from + i]);
	exit(1);
}

static void read_back(size_t from, size_t n)
{
	if (pread(fd, buf, n, (off_t)from) != (ssize_t)n)
		die("read");
	differs("read", from, buf, n);
}

// The file ends at END at least; what lies between its end and FROM is zero.
static void grow(size_t from, size_t end)
{
	if (from > size)
		memset(shadow + size, 0, from - size);
	if (end > size)
		size = end;
}

static void write_some(size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)next(256);
	if (pwrite(fd, buf, n, (off_t)from) != (ssize_t)n)
		die("write");
	grow(from, from + n);
	memcpy(shadow + from, buf, n);
}

static void map(size_t from, size_t n, bool write)
{
	size_t start = from / PAGE * PAGE, length = from + n - start;
	uint8_t *p = mmap(NULL, length, write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd,
			  (off_t)start);

	if (p == MAP_FAILED)
		die("mmap");
	if (write)
		for (size_t i = 0; i < n; i++)
			p[from - start + i] = shadow[from + i] = (uint8_t)next(256);
	else
		differs("mmap", from, p + (from - start), n);
	if (munmap(p, length))
		die("munmap");
}

static void cut(size_t to)
{
	if (ftruncate(fd, (off_t)to))
		die("truncate");
	if (to > size)
		memset(shadow + size, 0, to - size);
	size = to;
}

static void allocate(int mode, size_t from, size_t n)
{
	if (fallocate(fd, mode, (off_t)from, (off_t)n)) {
		if (errno == EOPNOTSUPP)
			return;
		die("fallocate");
	}
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		grow(from + n, from + n);
	size_t end = from + n < size ? from + n : size;
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && from < end)
		memset(shadow + from, 0, end - from);
}

static void step(void)
{
	size_t from = next(room), n = 1 + next(MAX_OP);
	uint64_t what = next(100);

	if (from + n > room)
		n = room - from;
	bool inside = from < size;
	size_t part = inside && from + n > size ? size - from : n;
	if (what < 25 && inside)
		read_back(from, part);
	else if (what < 50)
		write_some(from, n);
	else if (what < 60 && inside)
		map(from, part, false);
	else if (what < 75 && inside)
		map(from, part, true);
	else if (what < 80)
		cut(from);
	else if (what < 84)
		allocate(0, from, n);
	else if (what < 88)
		allocate(FALLOC_FL_KEEP_SIZE, from, n);
	else if (what < 93)
		allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, n);
	else if (what < 97)
		allocate(FALLOC_FL_ZERO_RANGE, from, n);
	else if (fsync(fd))
		die("fsync");
}

static void check_all(void)
{
	struct stat st;

	if (fstat(fd, &st))
		die("stat");
	if ((size_t)st.st_size != size) {
		fprintf(stderr, "fsx: %s: %lld bytes, not %zu\n", name, (long long)st.st_size,
			size);
		exit(1);
	}
	for (size_t at = 0; at < size; at += MAX_OP)
		read_back(at, size - at < MAX_OP ? size - at : MAX_OP);
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: fsx FILE SEED STOP [SIZE]\n");
		return 2;
	}
	name = argv[1];
	state = strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15 + 1;
	room = argc > 4 ? strtoull(argv[4], NULL, 10) : 4 << 20;
	shadow = calloc(1, room);
	buf = malloc(MAX_OP);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (!shadow || !buf || fd < 0)
		die("open");
	time_t end = time(NULL) + SECONDS;
	for (; access(argv[3], F_OK) && time(NULL) < end; done++)
		step();
	check_all();
	return 0;
}
