// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "file.h"
#include "num.h"
#include "tracked.h"

enum { RECORD_MAX = 64 * 1024 };

// The value of the line `KEY: VALUE`, in BUF; NULL if there is none, or it is too long.
static const char *value(const char *text, const char *key, char *buf, size_t room)
{
	size_t k = strlen(key);

	for (const char *p = text; p; p = (p = strchr(p, '\n')) ? p + 1 : NULL) {
		if (strncmp(p, key, k) || strncmp(p + k, ": ", 2))
			continue;
		size_t n = strcspn(p + k + 2, "\n");
		if (n >= room)
			return NULL;
		memcpy(buf, p + k + 2, n);
		buf[n] = 0;
		return buf;
	}
	return NULL;
}

int tracked_look(uint32_t major, uint32_t minor, struct token *lineage, uint64_t *epoch,
		 bool *whole, struct fault *f)
{
	char path[64], buf[256], *text;
	size_t n;

	snprintf(path, sizeof(path), "/run/blx/%u:%u/state", major, minor);
	if (file_read(AT_FDCWD, path, RECORD_MAX, &text, &n))
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == EPERM
			       ? 0
			       : fault_errno(f, "%s", path);
	const char *v = value(text, "lineage", buf, sizeof(buf));
	int bad = check_text(text, n) || !v || uuid_parse(v, lineage);
	bad = bad || !(v = value(text, "epoch", buf, sizeof(buf))) || num_u64(v, epoch);
	bool begun = (v = value(text, "starting", buf, sizeof(buf))) && !strcmp(v, "0");
	bool kept = (v = value(text, "lost", buf, sizeof(buf))) && !*v;
	free(text);
	if (bad)
		return fault_set(f, BLX_RESYNC, "%s: damaged", path);
	*whole = begun && kept;
	return 1;
}
