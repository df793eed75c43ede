// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io.h"
#include "peers.h"

enum { PEERS_FILE_MAX = 16 << 20 };

bool peer_name_ok(const char *name)
{
	size_t n =
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");

	return n && n < PEER_NAME && !name[n] && *name != '.' && *name != '-';
}

int peers_add(struct peers *p, const char *name, const char *id, struct fault *f)
{
	if (name && !peer_name_ok(name))
		return fault_set(f, BLX_USAGE,
				 "'%.80s': a name is 1 to %d of A-Z a-z 0-9 . _ : -, and does not "
				 "begin with . or -",
				 name, PEER_NAME - 1);
	if (tls_id_check(id, f))
		return -1;
	for (size_t i = 0; i < p->n; i++)
		if (!strcmp(p->all[i].id, id))
			return fault_set(f, BLX_USAGE, "'%s' is there twice", id);
	struct peer *more = realloc(p->all, (p->n + 1) * sizeof(*more));
	if (!more)
		return fault_errno(f, "peers");
	p->all = more;
	struct peer *new = &p->all[p->n];
	strcpy(new->name, name ? name : "");
	if (!(new->id = strdup(id)))
		return fault_errno(f, "peers");
	p->n++;
	return 0;
}

// NAME ID, blanks between; what begins with # is skipped.
static int parse_line(struct peers *p, char *line, struct fault *f)
{
	char *rest, *name = strtok_r(line, " \t\r", &rest);

	if (!name || *name == '#')
		return 0;
	char *id = strtok_r(NULL, " \t\r", &rest), *more = strtok_r(NULL, " \t\r", &rest);
	if (!id)
		return fault_set(f, BLX_USAGE, "a name and an ID are expected");
	if (more && *more != '#')
		return fault_set(f, BLX_USAGE, "'%.80s': nothing is expected behind the ID", more);
	return peers_add(p, name, id, f);
}

int peers_parse(struct peers *p, char *text, size_t n, const char *where, struct fault *f)
{
	size_t number = 1;

	if (memchr(text, 0, n))
		return fault_set(f, BLX_SYSTEM, "%s: not a text: it has a NUL byte", where);
	for (char *line = text; line; number++) {
		char *end = strchr(line, '\n');
		struct fault why;
		if (end)
			*end++ = 0;
		if (parse_line(p, line, &why))
			return fault_set(f, BLX_SYSTEM, "%s: line %zu: %s", where, number,
					 why.text);
		line = end;
	}
	return 0;
}

int peers_load(struct peers *p, const char *path, struct fault *f)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), bad = 0;
	char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st))
		bad = fault_errno(f, "%s", path);
	else if (!S_ISREG(st.st_mode) || st.st_size > PEERS_FILE_MAX)
		bad = fault_set(f, BLX_SYSTEM, "%s: not a file, or too large", path);
	else if ((st.st_uid && st.st_uid != geteuid()) || st.st_mode & 022)
		bad = fault_set(
			f, BLX_SYSTEM,
			"%s: others may write to it (mode %03o, owner %u): nobody is let in", path,
			st.st_mode & 0777, st.st_uid);
	else if (!(text = malloc((size_t)st.st_size + 1)) ||
		 (n = io_read_full(fd, text, (size_t)st.st_size)) < 0)
		bad = fault_errno(f, "%s: read", path);
	else {
		text[n] = 0;
		bad = peers_parse(p, text, (size_t)n, path, f);
	}
	if (fd >= 0)
		close(fd);
	free(text);
	return bad;
}

void peers_free(struct peers *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->all[i].id);
	free(p->all);
	*p = (struct peers){0};
}

const struct peer *peers_find(const struct peers *p, const struct tls_cert *cert,
			      const struct peer **also)
{
	const struct peer *found = NULL;

	*also = NULL;
	for (size_t i = 0; i < p->n; i++) {
		const struct peer *one = &p->all[i];
		if (!tls_cert_is(cert, one->id))
			continue;
		if (!found)
			found = one;
		else if (strcmp(found->name, one->name))
			*also = one;
	}
	return found;
}
