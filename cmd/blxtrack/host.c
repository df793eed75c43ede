// SPDX-License-Identifier: BSD-2-Clause
// The host's record (state.h), and whose version's it is.
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "kv.h"
#include "num.h"
#include "state.h"

int state_layout(const char *name)
{
	static const char key[] = "layout: ";
	char path[64], line[64];
	uint64_t v = 0;

	snprintf(path, sizeof(path), STATE_DIR "/%s", name);
	FILE *in = fopen(path, "re");
	if (in && fgets(line, sizeof(line), in) && !strncmp(line, key, sizeof(key) - 1)) {
		line[strcspn(line, "\n")] = 0;
		if (num_u64(line + sizeof(key) - 1, &v) || v > INT_MAX)
			v = 0;
	}
	if (in)
		fclose(in);
	return (int)v;
}

int state_newer(struct fault *f)
{
	int now = state_layout(HOST_RECORD), next = state_layout(HOST_NEXT);
	int newest = now > next ? now : next;

	return newest <= TRACK_LAYOUT
		       ? 0
		       : fault_set(f, BLX_SYSTEM,
				   "tracking was started by a newer version of blxtrack (its "
				   "layout is %d, this one's %d): use that one",
				   newest, TRACK_LAYOUT);
}

static int open_state_dir(struct fault *f)
{
	int fd = open(STATE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? fault_errno(f, STATE_DIR) : fd;
}

static int save_host(const struct host *h, const char *name, struct fault *f)
{
	struct kv_out o;
	int dir = open_state_dir(f);

	if (dir < 0 || kv_begin(&o, f))
		return -1;
	fprintf(o.to, "layout: %d\n", TRACK_LAYOUT);
	for (int i = 0; i < PROGRAMS; i++)
		fprintf(o.to,
			"link%d: %u\nprog%d: %u\napart-lo%d: %" PRId64 "\napart-hi%d: %" PRId64
			"\n",
			i, h->ids.link[i], i, h->ids.prog[i], i, h->apart_lo[i], i, h->apart_hi[i]);
	int bad = kv_end(&o, dir, name, f);
	close(dir);
	return bad;
}

int host_save(const struct host *h, struct fault *f)
{
	return save_host(h, HOST_RECORD, f);
}

int host_save_next(const struct host *h, struct fault *f)
{
	return save_host(h, HOST_NEXT, f);
}

int host_load_layout(struct host *h, int layout, struct fault *f)
{
	struct kv kv;
	int dir = open_state_dir(f);

	memset(h, 0, sizeof(*h));
	if (dir < 0)
		return -1;
	int bad = kv_load(&kv, dir, HOST_RECORD, f);
	close(dir);
	if (bad)
		return -1;
	bool ours = kv_u64(&kv, "layout") == (uint64_t)layout;
	char key[32];
	for (enum program i = 0; ours && i < kernel_layout_programs(layout); i++) {
		snprintf(key, sizeof(key), "link%d", i);
		h->ids.link[i] = (uint32_t)kv_u64(&kv, key);
		snprintf(key, sizeof(key), "prog%d", i);
		h->ids.prog[i] = (uint32_t)kv_u64(&kv, key);
		snprintf(key, sizeof(key), "apart-lo%d", i);
		h->apart_lo[i] = kv_i64(&kv, key);
		snprintf(key, sizeof(key), "apart-hi%d", i);
		h->apart_hi[i] = kv_i64(&kv, key);
	}
	bad = kv_check(&kv, f);
	kv_free(&kv);
	if (!bad && !ours)
		return fault_set(f, BLX_SYSTEM,
				 "tracking was started by another version of blxtrack");
	return bad;
}

int host_load(struct host *h, struct fault *f)
{
	return host_load_layout(h, TRACK_LAYOUT, f);
}
