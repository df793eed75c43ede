// SPDX-License-Identifier: BSD-2-Clause
// --into: streams in succession, each to the image that its label names. Those of one group are
// prepared one by one, each with the state it leads to beside its state, and decided together: the
// group's record, DIR/.blx-group, names them all. With the record a crash is followed by rolling
// them forward, without it back. One run at a time decides, under a lock on DIR.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "die.h"
#include "file.h"

#define RECORD ".blx-group"
#define SUFFIX ".blx" // of an image's state directory
static const char FIRST[] = "blx-group 1\n";

enum { LINE = HEAD_NAME_MAX + TOKEN_TEXT + 2, RECORD_MAX = (HEAD_GROUP_MAX + 1) * LINE };

struct group {
	const char *dir;
	int dirfd;
	struct token id;
	uint32_t of, came;           // of 0: none is open
	bool at[HEAD_GROUP_MAX + 1]; // came
	struct job **jobs;           // those that are prepared
	uint32_t njobs;
};

// ---- the record

static const char *name_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

static void line_of(const char *path, const struct token *token, char line[LINE])
{
	char text[TOKEN_TEXT];

	token_format(token, text);
	snprintf(line, LINE, "%s %s\n", name_of(path), text);
}

// 1; 0: there is none.
static int record_read(int dirfd, const char *dir, char **text, struct fault *f)
{
	size_t n;

	if (file_read(dirfd, RECORD, RECORD_MAX, text, &n))
		return errno == ENOENT ? 0 : fault_errno(f, "%s/" RECORD ": read", dir);
	if (!strncmp(*text, FIRST, strlen(FIRST)) && (*text)[n - 1] == '\n')
		return 1;
	free(*text);
	return fault_set(f, BLX_TARGET, "%s/" RECORD ": damaged", dir);
}

int group_decided(const char *dir, const char *path, const struct token *token, struct fault *f)
{
	char want[LINE + 1] = "\n", *text;
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd < 0)
		return fault_errno(f, "%s", dir);
	int got = record_read(dirfd, dir, &text, f);
	close(dirfd);
	if (got <= 0)
		return got;
	line_of(path, token, want + 1);
	got = strstr(text, want) != NULL;
	free(text);
	return got;
}

static int record_write(const struct group *g, struct fault *f)
{
	char *text = malloc(RECORD_MAX), *end = text;

	if (!text)
		return fault_errno(f, "%s/" RECORD, g->dir);
	end = stpcpy(end, FIRST);
	for (uint32_t i = 0; i < g->njobs; i++) {
		line_of(g->jobs[i]->t.path, &g->jobs[i]->r.intent.token, end);
		end += strlen(end);
	}
	int bad = file_replace(g->dirfd, RECORD, text, (size_t)(end - text));
	free(text);
	return bad ? fault_errno(f, "%s/" RECORD ": write", g->dir) : 0;
}

static int record_remove(const struct group *g, struct fault *f)
{
	if ((unlinkat(g->dirfd, RECORD, 0) && errno != ENOENT) || fsync(g->dirfd))
		return fault_errno(f, "%s/" RECORD ": remove", g->dir);
	return 0;
}

// ---- what a crash left

static bool holds(const struct group *g, const char *name)
{
	for (uint32_t i = 0; i < g->njobs; i++)
		if (!strcmp(name_of(g->jobs[i]->t.path), name))
			return true;
	return false;
}

static int recover_one(const struct options *o, const char *dir, const char *name, struct fault *f)
{
	char path[PATH_MAX];
	struct job j;

	job_init(&j, o);
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return fault_errno(f, "%s/%s", dir, name);
	}
	int bad = target_find(&j.t, path, f) || job_load(&j, f) ? -1 : 0;
	if (!bad && j.wrong[0])
		warn("%s: %s", path, j.wrong);
	job_free(&j);
	return bad;
}

// Under the lock. What G itself holds was settled when it was loaded.
static int recover_group(const struct group *g, const struct options *o, struct fault *f)
{
	char *text, *save = NULL;
	int got = record_read(g->dirfd, g->dir, &text, f), bad = 0;

	if (got <= 0)
		return got;
	for (char *s = strtok_r(text + strlen(FIRST), " \n", &save); s && !bad;
	     s = strtok_r(NULL, " \n", &save)) {
		if (!head_name_ok(s)) // it is of this directory
			bad = fault_set(f, BLX_TARGET, "%s/" RECORD ": damaged", g->dir);
		else
			bad = holds(g, s) ? 0 : recover_one(o, g->dir, s, f);
		strtok_r(NULL, " \n", &save); // its token
	}
	free(text);
	return bad ? -1 : record_remove(g, f);
}

static int lock(const struct group *g, struct fault *f)
{
	while (flock(g->dirfd, LOCK_EX))
		if (errno != EINTR)
			return fault_errno(f, "%s: lock", g->dir);
	return 0;
}

static int open_group(struct group *g, const struct options *o, struct fault *f)
{
	struct rlimit files;

	*g = (struct group){.dir = o->into};
	if (!getrlimit(RLIMIT_NOFILE, &files)) { // three for each image of a group
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	g->dirfd = open(g->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->dirfd < 0)
		return fault_errno(f, "%s", g->dir);
	if (faccessat(AT_FDCWD, g->dir, W_OK | X_OK, AT_EACCESS))
		return fault_errno(f, "%s: read-only", g->dir);
	if (lock(g, f) || recover_group(g, o, f))
		return -1;
	flock(g->dirfd, LOCK_UN);
	return 0;
}

// ---- a stream's place

static bool of_state(const char *name)
{
	size_t n = strlen(name);

	return n > strlen(SUFFIX) && !strcmp(name + n - strlen(SUFFIX), SUFFIX);
}

static int find_at(struct target *t, const char *dir, const char *name, struct fault *f)
{
	char path[PATH_MAX];
	struct stat st;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return fault_errno(f, "%s/%s", dir, name);
	}
	if (!lstat(path, &st) && !S_ISREG(st.st_mode))
		return fault_set(f, BLX_TARGET, "%s: %s, not an image", path,
				 S_ISLNK(st.st_mode)   ? "a link"
				 : S_ISDIR(st.st_mode) ? "a directory"
						       : "a special file");
	if (target_find(t, path, f))
		return -1;
	if (strcmp(t->path, path))
		return fault_set(f, BLX_TARGET, "%s: a link, not an image", path);
	return 0;
}

static int find_image(struct job *j, const char *label, struct fault *f)
{
	const char *dir = j->group->dir;

	if (!*label)
		return fault_set(f, BLX_TARGET, "a stream without a label names no image in %s",
				 dir);
	if (!head_name_ok(label))
		return fault_set(f, BLX_TARGET, "label '%s': no name for an image", label);
	if (of_state(label))
		return fault_set(f, BLX_TARGET,
				 "label '%s': no name for an image: %s ends the names of the "
				 "directories of their states",
				 label, SUFFIX);
	if (holds(j->group, label))
		return fault_set(f, BLX_TARGET, "label '%s': twice in one group", label);
	return find_at(&j->t, dir, label, f);
}
static int join(struct group *g, const struct head *h, struct fault *f)
{
	if (g->of && (h->group_of != g->of || !token_equal(&h->group, &g->id)))
		return fault_set(f, BLX_CORRUPT,
				 "a stream (label '%s') that is not of the group of %u, of which "
				 "only %u came",
				 h->label, g->of, g->came);
	if (!h->group_of)
		return 0;
	if (!g->of) {
		g->id = h->group;
		g->of = h->group_of;
	}
	if (g->at[h->group_at])
		return fault_set(f, BLX_CORRUPT, "stream %u of a group of %u came twice",
				 h->group_at, h->group_of);
	g->at[h->group_at] = true;
	g->came++;
	return 0;
}

int into_head(struct job *j, struct fault *f)
{
	if (!j->t.path[0]) {
		j->grouped = j->h->group_of;
		return find_image(j, j->h->label, f) || join(j->group, j->h, f) ? -1 : 0;
	}
	if (j->grouped || j->h->group_of)
		return fault_set(f, BLX_CORRUPT,
				 "%s: a member of a group has one epoch (give the lists to blxread "
				 "as operands)",
				 j->t.path);
	if (strcmp(name_of(j->t.path), j->h->label))
		return fault_set(f, BLX_TARGET, "%s: the label changes within a stream", j->t.path);
	return 0;
}

// ---- a group's end

static void end_group(struct group *g)
{
	for (uint32_t i = 0; i < g->njobs; i++) {
		job_free(g->jobs[i]);
		free(g->jobs[i]);
	}
	free(g->jobs);
	g->jobs = NULL;
	g->of = g->came = g->njobs = 0;
	memset(g->at, 0, sizeof(g->at));
}

static void say_failed(const struct job *j, struct ack a, const struct fault *why)
{
	struct fault ignored;

	a.kind = ACK_FAILED;
	a.code = why->code;
	fault_fit(a.why, sizeof(a.why), why->text);
	job_ack(j, &a, &ignored);
}

// None of it: what is prepared is undone, and its sources hear why.
static void undo_group(struct group *g, const struct fault *why)
{
	for (uint32_t i = 0; i < g->njobs; i++) {
		struct job *j = g->jobs[i];
		struct fault all;
		fault_set(&all, why->code, "%s is not applied, as others of its group are not: %s",
			  name_of(j->t.path), why->text);
		atomic_undo(j);
		say_failed(j, j->failed, &all);
	}
	end_group(g);
}

// All of it. The first failure is told; the others go on, for it is decided.
static int decide_group(struct group *g, const struct options *o, struct fault *f)
{
	struct fault one;
	int bad = 0;

	if (!g->njobs) {
		end_group(g);
		return 0;
	}
	if (lock(g, f) || recover_group(g, o, f))
		return -1;
	if (record_write(g, f)) {
		// If it is not known to be away, the next run finds out how it was decided.
		if (record_remove(g, &one))
			end_group(g);
		return -1;
	}
	for (uint32_t i = 0; i < g->njobs; i++) {
		struct job *j = g->jobs[i];
		if (!atomic_decided(j, &one))
			continue;
		say_failed(j, j->failed, &one);
		if (!bad)
			*f = one;
		bad = -1;
	}
	end_group(g);
	if (!bad)
		bad = record_remove(g, f);
	flock(g->dirfd, LOCK_UN);
	return bad;
}

static int keep(struct group *g, struct job *j, struct fault *f)
{
	struct job **more = realloc(g->jobs, (g->njobs + 1) * sizeof(struct job *));

	if (!more)
		return fault_errno(f, "group");
	g->jobs = more;
	g->jobs[g->njobs++] = j;
	return 0;
}

// ---- streams

// One stream. What is prepared stays open until its group is decided.
static int take_stream(struct group *g, const struct options *o, struct stream_reader *in,
		       struct fault *f)
{
	struct job *j = malloc(sizeof(*j));

	if (!j)
		return fault_errno(f, "stream");
	job_init(j, o);
	j->in = in;
	j->group = g;
	progress_init(&j->progress, o->progress, 0);
	int bad = receive(j, f);
	if (j->progress.done)
		progress_end(&j->progress);
	if (!bad && j->prepared && !keep(g, j, f))
		return 0;
	if (bad || j->prepared) {
		bad = -1;
		if (j->h)
			ack_for(&j->failed, ACK_FAILED, j->h);
		say_failed(j, j->failed, f);
	}
	if (j->prepared)
		atomic_undo(j);
	job_free(j);
	free(j);
	return bad;
}

static int cut_group(const struct group *g, struct fault *f)
{
	return fault_set(f, BLX_CORRUPT, "the input ends after %u of the %u streams of a group",
			 g->came, g->of);
}

static int take_streams(struct group *g, const struct options *o, struct stream_reader *in,
			struct fault *f)
{
	int more = 1;

	while (more > 0) {
		if (take_stream(g, o, in, f))
			return -1;
		if (g->of && g->came == g->of && decide_group(g, o, f))
			return -1;
		more = stream_reader_next(in, f);
	}
	return more < 0 || !g->of ? more : cut_group(g, f);
}

int into(const struct options *o, struct fault *f)
{
	struct group g = {.dirfd = -1};
	struct stream_reader *in = stream_reader_new(STDIN_FILENO);
	int bad = in ? open_group(&g, o, f) : fault_errno(f, "standard input");
	struct job nobody;

	if (bad) {
		job_init(&nobody, o);
		say_failed(&nobody, (struct ack){0}, f);
		stream_reader_free(in);
		if (g.dirfd >= 0)
			close(g.dirfd);
		return -1;
	}
	stream_reader_watch(in, o->ack ? STDOUT_FILENO : -1, o->timeout_ms);
	bad = take_streams(&g, o, in, f);
	if (bad && g.of) {
		struct fault why = *f;
		undo_group(&g, &why);
		warn("none of the increments of the group is applied"); // a line of its own: room
	}
	end_group(&g);
	stream_reader_free(in);
	close(g.dirfd);
	return bad;
}

// ---- --recover

static int is_state(const struct dirent *e)
{
	return e->d_name[0] != '.' && of_state(e->d_name);
}

// A replica is what has a state; a permission alone makes none.
static int check_one(const struct options *o, const struct group *g, char *name, struct fault *f)
{
	char state[NAME_MAX + sizeof("/" REPLICA_STATE)];
	struct job j;

	snprintf(state, sizeof(state), "%s/" REPLICA_STATE, name);
	if (faccessat(g->dirfd, state, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT)
		return 0;
	name[strlen(name) - strlen(SUFFIX)] = 0;
	job_init(&j, o);
	int bad = find_at(&j.t, g->dir, name, f) || job_load(&j, f) || recover_check(&j, f);
	job_free(&j);
	return bad ? -1 : 0;
}

// F keeps the first of the worst; all others are told at once.
static void keep_worst(struct fault *f, const struct fault *one)
{
	bool worse = f->code == BLX_OK || (f->code == BLX_DIFFERS && one->code != BLX_DIFFERS);

	if (!worse || f->code != BLX_OK)
		warn("%s", worse ? f->text : one->text);
	if (worse)
		*f = *one;
}

static int check_all(const struct options *o, const struct group *g, struct fault *f)
{
	struct dirent **names;
	struct fault one;
	int n = scandir(g->dir, &names, is_state, alphasort);

	if (n < 0)
		return fault_errno(f, "%s: read", g->dir);
	f->code = BLX_OK;
	for (int i = 0; i < n; i++) {
		if (check_one(o, g, names[i]->d_name, &one))
			keep_worst(f, &one);
		free(names[i]);
	}
	free(names);
	return f->code == BLX_OK ? 0 : -1;
}

int into_recover(const struct options *o, struct fault *f)
{
	struct group g;

	if (open_group(&g, o, f))
		return -1;
	int bad = check_all(o, &g, f);
	close(g.dirfd);
	return bad;
}
