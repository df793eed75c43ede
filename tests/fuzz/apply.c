// SPDX-License-Identifier: BSD-2-Clause
// blxapply as a whole, in this process: the input says which options it was given, what it finds,
// and a script of frames, which get right checks and headers that mostly fit, so that what is
// behind the checks is reached. After it: nothing stands where nothing should, no file is left
// open, the image is one of those that the epochs make, the state and the acks say which.
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

#include "cmd/blxapply/apply.h"
#include "dir.h"
#include "forge.h"
#include "lines.h"

enum {
	SIZE = 64 * 1024, // of the device, mostly
	SECTOR = 512,
	EPOCHS = 16, // that the model follows
	IMAGES = 3,  // a, b and c, with --into; else a
	FILE_LIMIT = 8 << 20,
};

static const char *top; // holds work/ (images and states), spool/ and canary
static bool clones;

// The file systems that fuzzers run on seldom clone.
int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;

	va_start(ap, request);
	long arg = va_arg(ap, long);
	va_end(ap);
	if (request != FICLONE)
		return (int)syscall(SYS_ioctl, fd, request, arg);
	struct stat st;
	off_t at = 0;
	errno = EOPNOTSUPP;
	if (!clones || fstat((int)arg, &st) || ftruncate(fd, st.st_size))
		return -1;
	while (at < st.st_size)
		if (sendfile(fd, (int)arg, &at, (size_t)(st.st_size - at)) <= 0)
			return -1;
	lseek(fd, 0, SEEK_SET);
	return 0;
}

// ---- what the epochs make of the images

struct image {
	uint8_t b[SIZE];
	bool known; // false: the model does not follow (another size)
};

static struct model {
	struct image image[EPOCHS + 1]; // 0: what was there
	struct token token[EPOCHS + 1];
	size_t n;
	struct image now; // with what came since the last COMMIT
	bool clear;       // and all of that was right
} model[IMAGES + 1];      // the last: of what is followed no further

static struct token replica_id; // of what is there before

static struct token token_of(unsigned int n)
{
	struct token t = {{0}};

	t.b[15] = (uint8_t)n;
	return t;
}

// ---- the script

struct bytes {
	const uint8_t *p;
	size_t n;
};

static uint8_t take(struct bytes *in)
{
	if (!in->n)
		return 0;
	in->n--;
	return *in->p++;
}

static uint16_t take16(struct bytes *in)
{
	uint8_t a = take(in);

	return (uint16_t)(a | take(in) << 8);
}

// Mostly what fits.
static uint64_t odd(struct bytes *in, uint64_t usual)
{
	static const uint64_t values[] = {
		0,           1,          SECTOR,           SIZE - 1,   SIZE,
		SIZE + 4096, 1ull << 32, (1ull << 63) - 1, 1ull << 63, UINT64_MAX - 4095,
		UINT64_MAX};
	uint8_t b = take(in);

	return b < 200 ? usual : b < 250 ? values[b % 11] : usual + b;
}

static struct script {
	struct forge *g;
	struct head h;   // of the epoch that is open
	struct model *m; // of its image
	uint64_t at;     // where the frame before ended
	size_t pack;     // where the pack begins; 0: none does
	int damage;      // bit to be flipped; -1: none
	uint64_t cut;    // bytes at the end that are missing
} s;

static void make_head(struct bytes *in, struct head *h)
{
	unsigned int epoch = 1 + take(in) % 8, base = take(in) % 16, kind = take(in);

	head_init(h);
	h->lineage = token_of(kind & 1 && take(in) % 8 == 0 ? 201 : 200);
	h->major = 7;
	h->minor = 300;
	h->size = odd(in, SIZE);
	h->block = 4096;
	strcpy(h->consumer, "default");
	h->epoch = epoch;
	h->token = token_of(epoch);
	h->has_base = base < 12 && epoch > 1;
	h->base_epoch = base ? epoch - 1 : 1;
	h->base = token_of((unsigned int)h->base_epoch);
	h->cursor = h->has_base ? odd(in, h->size) : odd(in, 0);
	h->limit = odd(in, h->size);
	h->time = 1700000000;
	for (unsigned int i = h->has_base ? (unsigned int)h->base_epoch : 1; i <= epoch; i++) {
		struct token t = token_of(i);
		head_chain_add(h, &t);
	}
	if (kind & 2) {
		h->has_partial = true;
		h->partial_epoch = epoch - (kind >> 7);
		h->partial = token_of((unsigned int)h->partial_epoch);
		h->partial_upto = odd(in, SIZE / 2);
	}
	if (kind & 4 && h->has_base) {
		h->resync = true;
		h->held = h->base;
		h->replica = take(in) < 200 ? replica_id : token_of(1);
	}
	if (kind & 8)
		h->anonymous = true;
	static const char *const label[] = {"a", "b", "c", "img"};
	strcpy(h->label, label[(kind >> 4) % 4]);
	if (kind & 64) {
		h->group = token_of(100 + take(in) % 2);
		h->group_of = 1 + take(in) % IMAGES;
		h->group_at = 1 + (kind >> 4) % IMAGES;
	}
}

static void put_head(struct bytes *in, bool into)
{
	char *text;
	size_t n;

	head_free(&s.h);
	make_head(in, &s.h);
	text = head_format(&s.h, &n);
	fuzz_check(text != NULL);
	uint8_t b = take(in);
	if (b >= 240) // not as it should be: a line more, or a byte that differs
		text[take16(in) % n] = (char)take(in);
	forge_head(s.g,
		   (struct frame_header){
			   .type = FRAME_HEAD, .length = s.h.size, .payload_len = (uint32_t)n},
		   text);
	free(text);
	s.at = s.pack = 0;
	s.m = &model[!into ? 0 : s.h.label[0] == 'i' ? IMAGES : s.h.label[0] - 'a'];
	s.m->now = s.m->image[s.m->n];
	s.m->clear = s.h.size == SIZE && s.h.limit == SIZE && b < 240;
	// It may be there already: then what comes is not looked at.
	if (s.m->n && token_equal(&s.m->token[s.m->n], &s.h.token)) {
		s.m->clear = false;
		s.m->image[s.m->n].known = s.m->image[s.m->n].known && !s.h.resync;
	}
}

static void model_put(uint64_t at, uint64_t n, uint8_t fill)
{
	if (!s.m)
		return;
	if (at > SIZE || n > SIZE - at)
		s.m->clear = false;
	else
		memset(s.m->now.b + at, fill, n);
}

static void put_extent(struct bytes *in, enum frame_type type)
{
	static uint8_t payload[SIZE];
	uint64_t at = odd(in, s.at + (uint64_t)take(in) % 8 * SECTOR);
	uint64_t n = odd(in, (1 + take(in) % 64) * (uint64_t)SECTOR);
	struct frame_header h = {.type = (uint16_t)type, .offset = at, .length = n};

	if (at >= s.at && at < SIZE && n > SIZE - at && take(in) < 200)
		h.length = n = SIZE - at;
	if (type == FRAME_DATA) {
		uint8_t fill = take(in) | 1;
		h.payload_len = n < SIZE ? (uint32_t)n : SIZE;
		memset(payload, fill, h.payload_len);
		if (take(in) < 240)
			h.length = n = h.payload_len;
		model_put(at, n, fill);
	} else if (type == FRAME_ZERO) {
		model_put(at, n, 0);
	}
	s.at = at + n;
	forge_extent(s.g, h, payload);
}

static void end_pack(void)
{
	if (s.pack)
		forge_pack(s.g, (struct frame_header){0}, s.pack);
	s.pack = 0;
}

static void put_commit(struct bytes *in)
{
	struct model *m = s.m;

	end_pack();
	forge_counts(s.g,
		     (struct frame_header){.type = FRAME_COMMIT, .length = odd(in, s.h.limit)});
	if (!m)
		return;
	bool again = m->n && token_equal(&m->token[m->n], &s.h.token);
	if (m->n < EPOCHS && !again) {
		m->n++;
		m->image[m->n] = m->now;
		m->image[m->n].known = m->clear && m->image[m->n - 1].known;
		m->token[m->n] = s.h.token;
	}
	s.m = NULL;
}

// A frame of which nothing is made right but the check.
static void put_any(struct bytes *in)
{
	static uint8_t payload[256];
	struct frame_header h = {.type = take(in) % 12,
				 .flags = take(in) % 4 ? 0 : 0x8000,
				 .offset = odd(in, 0),
				 .length = odd(in, 3),
				 .payload_len = take(in)};

	for (uint32_t i = 0; i < h.payload_len; i++)
		payload[i] = take(in);
	forge_frame(s.g, h, payload);
	if (s.m)
		s.m->clear = false;
}

static void put_frames(struct bytes *in, bool into)
{
	while (in->n)
		switch (take(in) % 16) {
		case 0:
		case 1:
			put_head(in, into);
			break;
		case 2:
		case 3:
		case 4:
			put_extent(in, FRAME_DATA);
			break;
		case 5:
		case 6:
			put_extent(in, FRAME_ZERO);
			break;
		case 7:
			end_pack();
			put_extent(in, FRAME_BAD);
			break;
		case 8:
			end_pack();
			s.pack = s.g->n;
			break;
		case 9:
			end_pack();
			break;
		case 10:
			put_commit(in);
			break;
		case 11:
			end_pack();
			forge_counts(s.g, (struct frame_header){.type = FRAME_END});
			break;
		case 12:
			end_pack();
			forge_begin(s.g);
			break;
		case 13:
			put_any(in);
			break;
		case 14: // everything that an ordinary increment has
			put_head(in, into);
			put_extent(in, FRAME_DATA);
			put_commit(in);
			break;
		case 15:
			s.damage = take(in) % 4 ? -1 : take16(in) * 8 + take(in) % 8;
			s.cut = take(in) % 4 ? 0 : take16(in);
			break;
		}
}

// ---- what is there before

static const char *path_of(const char *name)
{
	static char path[4][256];
	static unsigned int next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", top, name);
	return p;
}

static const char *const names[IMAGES] = {"work/a", "work/b", "work/c"};

// A whole stream of epoch 1, without its COMMIT (CUT), or with it.
static void forge_first(bool cut)
{
	struct bytes none = {NULL, 0};

	s.g = forge_get();
	put_head(&none, false);
	put_extent(&none, FRAME_DATA);
	struct frame_header zero = {.type = FRAME_ZERO, .offset = s.at, .length = SIZE - s.at};
	model_put(zero.offset, zero.length, 0);
	forge_extent(s.g, zero, NULL);
	if (cut)
		return;
	put_commit(&none);
	forge_counts(s.g, (struct frame_header){.type = FRAME_END});
}

static int run(const struct options *o, const char *name)
{
	struct fault f = {.code = BLX_OK};
	int fd = fuzz_fd(s.g->out, s.g->n), bad;
	struct job j;

	fuzz_check(dup2(fd, STDIN_FILENO) == STDIN_FILENO);
	job_init(&j, o);
	if (o->into) {
		bad = into(o, &f);
	} else {
		bad = target_find(&j.t, path_of(name), &f);
		j.in = stream_reader_new(STDIN_FILENO);
		fuzz_check(j.in != NULL);
		progress_init(&j.progress, false, 0);
		if (!bad)
			bad = o->restore ? restore(&j, &f) : receive(&j, &f);
	}
	fuzz_check(!bad || (f.code >= BLX_DIFFERS && f.code <= BLX_BUSY && f.text[0]));
	stream_reader_free(j.in);
	job_free(&j);
	return bad;
}

static void permit(const char *name, const char *kind)
{
	struct options o = {.allow = kind, .timeout_ms = -1};
	struct fault f;
	struct job j;

	job_init(&j, &o);
	if (!target_find(&j.t, path_of(name), &f))
		allow(&j, &f);
	job_free(&j);
}

// A file that should not be as it is.
static void plant(struct bytes *in)
{
	static const char *const name[] = {
		"work/.blx-group",    "work/a.blx/digests", "work/a.blx/allow", "work/a.blx/spool",
		"work/a.blx/pending", "work/a.blx/clone",   "work/a.blx/lock",  "spool/x"};
	uint8_t b[256];
	const char *to = name[take(in) % 8];
	size_t n = take(in);

	for (size_t i = 0; i < n; i++)
		b[i] = take(in);
	mkdir(path_of("work/a.blx"), 0700);
	fuzz_put(to, b, n);
}

static void remember_id(void)
{
	struct replica r;
	struct fault f;
	int dirfd = open(path_of("work/a.blx"), O_RDONLY);

	replica_id = token_of(0);
	if (dirfd >= 0 && replica_load(dirfd, REPLICA_STATE, &r, &f) > 0)
		replica_id = r.id;
	if (dirfd >= 0)
		close(dirfd);
}

static void prepare(unsigned int what)
{
	struct options o = {.timeout_ms = -1, .digests = what & 8};
	static uint8_t old[SIZE];

	memset(model, 0, sizeof(model));
	if (what % 8 >= 1 && what % 8 <= 3) {
		memset(old, 'o', sizeof(old));
		memcpy(model[0].image[0].b, old, sizeof(old));
	}
	for (size_t i = 0; i <= IMAGES; i++)
		model[i].image[0].known = true;
	switch (what % 8) {
	case 0:
		return;
	case 1: // no replica
		fuzz_put(names[0], old, sizeof(old));
		break;
	case 2: // no replica, which may become one
		fuzz_put(names[0], old, sizeof(old));
		permit(names[0], "init");
		break;
	case 3:
		fuzz_put(names[0], old, sizeof(old));
		permit(names[0], "resync");
		break;
	case 4: // incomplete
		forge_first(true);
		run(&o, names[0]);
		model[0].image[0].known = false;
		model[0].n = 0;
		break;
	default: // a replica at epoch 1
		forge_first(false);
		fuzz_check(!run(&o, names[0]));
		if (what % 8 == 6)
			permit(names[0], "init");
		if (what % 8 == 7)
			permit(names[0], "resync");
	}
}

// ---- what must hold after it

static bool listed(const char *name, const char *const list[])
{
	for (; *list; list++)
		if (!strcmp(name, *list))
			return true;
	return false;
}

static void check_names(const char *dir, const char *const list[])
{
	DIR *d = opendir(dir);
	struct dirent *e;

	fuzz_check(d != NULL);
	while ((e = readdir(d)))
		fuzz_check(listed(e->d_name, list));
	closedir(d);
}

static bool is_made(const struct model *m, const struct token *token, const uint8_t *b)
{
	for (size_t i = m->n + 1; i-- > 0;)
		if ((!token || token_equal(&m->token[i], token)) &&
		    (!m->image[i].known || !memcmp(m->image[i].b, b, SIZE)))
			return true;
	return false;
}

static void check_image(const struct options *o, const char *name, const struct model *m)
{
	static uint8_t b[SIZE];
	struct replica r;
	struct fault f;
	struct stat st;
	char dir[128];

	snprintf(dir, sizeof(dir), "%s.blx", name);
	int fd = open(path_of(name), O_RDONLY), dirfd = open(path_of(dir), O_RDONLY);
	int has = dirfd < 0 ? 0 : replica_load(dirfd, REPLICA_STATE, &r, &f);
	fuzz_check(has >= 0);
	if (fd >= 0 && !fstat(fd, &st) && st.st_size == SIZE && !o->restore) {
		fuzz_check(read(fd, b, SIZE) == SIZE);
		if (has && replica_complete(&r) && !r.adopted)
			fuzz_check(r.size != SIZE || is_made(m, &r.floor, b));
		else if (!has || !r.writing)
			fuzz_check(has || is_made(m, NULL, b));
	}
	if (fd >= 0)
		close(fd);
	if (dirfd >= 0)
		close(dirfd);
}

// Every ack is one. What was acked last as done is what the state is at; a permission to overwrite
// may have let more begin since.
static void check_acks(const struct options *o, int fd, bool init)
{
	char text[65536], *save = NULL;
	struct replica r;
	struct fault f;
	struct ack a = {.kind = ACK_FAILED}, last = a;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	int dirfd = open(path_of("work/a.blx"), O_RDONLY);

	fuzz_check(n >= 0);
	text[n] = 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		fuzz_check((size_t)n == sizeof(text) - 1 || !ack_parse(line, &a, &f));
		last = a.kind == ACK_DONE ? a : last;
	}
	if (!o->into && !init && last.kind == ACK_DONE && (size_t)n < sizeof(text) - 1) {
		fuzz_check(dirfd >= 0 && replica_load(dirfd, REPLICA_STATE, &r, &f) > 0);
		fuzz_check(r.has_floor && token_equal(&r.floor, &last.token));
	}
	if (dirfd >= 0)
		close(dirfd);
}

static void check_all(const struct options *o, int acks, bool init)
{
	static const char *const outer[] = {".", "..", "work", "spool", "canary", NULL};
	static const char *const work[] = {".",     "..",      "a",          "b",
					   "c",     "img",     "a.blx",      "b.blx",
					   "c.blx", "img.blx", ".blx-group", NULL};
	struct stat st;

	check_names(top, outer);
	check_names(path_of("work"), work);
	fuzz_check(!stat(path_of("canary"), &st) && st.st_size == 6);
	for (size_t i = 0; i < (o->into ? IMAGES : 1); i++)
		check_image(o, names[i], &model[i]);
	check_acks(o, acks, init);
}

static void begin(void)
{
	struct rlimit files = {FILE_LIMIT, FILE_LIMIT};

	top = fuzz_dir();
	fuzz_check(!mkdir(path_of("work"), 0700) && !mkdir(path_of("spool"), 0700));
	fuzz_put("canary", "canary", 6);
	stderr = fopen("/dev/null", "w"); // warnings
	signal(SIGXFSZ, SIG_IGN);         // a sparse image may be as large as it says, but not here
	setrlimit(RLIMIT_FSIZE, &files);
}

static int next_fd(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int acks = -1, real_out, real_in;
	struct bytes in = {data, size};
	unsigned int how = take(&in), found = take(&in);

	if (acks < 0) {
		begin();
		acks = memfd_create("acks", MFD_CLOEXEC);
		real_out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
		real_in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
		fuzz_fd("", 0);
	}
	clones = how & 1;
	struct options o = {.ack = true,
			    .timeout_ms = -1,
			    .in_place = (how & 6) == 2,
			    .restore = (how & 6) == 6,
			    .into = (how & 6) == 4 ? path_of("work") : NULL,
			    .digests = (how & 24) == 8,
			    .no_digests = (how & 24) == 16,
			    .spool = how & 32 && (how & 6) != 6 ? path_of("spool") : NULL};
	o.into = o.into ? strdup(o.into) : NULL;
	o.spool = o.spool ? strdup(o.spool) : NULL;
	int before = next_fd();
	fuzz_check(ftruncate(acks, 0) == 0);
	dup2(acks, STDOUT_FILENO);
	prepare(found);
	if (found & 16)
		plant(&in);
	remember_id();
	s.g = forge_get();
	s.damage = -1;
	s.cut = s.pack = s.at = 0;
	s.m = NULL;
	put_frames(&in, o.into);
	if (s.damage >= 0 && (size_t)s.damage / 8 < s.g->n)
		s.g->out[s.damage / 8] ^= (uint8_t)(1 << s.damage % 8);
	s.g->n -= s.cut < s.g->n ? s.cut : s.g->n;
	fuzz_rewind(STDOUT_FILENO);
	run(&o, names[0]);
	fuzz_check(next_fd() == before);
	check_all(&o, acks, found % 8 == 2 || found % 8 == 6);
	fuzz_empty(path_of("work"));
	fuzz_empty(path_of("spool"));
	dup2(real_out, STDOUT_FILENO);
	dup2(real_in, STDIN_FILENO);
	head_free(&s.h);
	free((char *)o.into);
	free((char *)o.spool);
	return 0;
}
