// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

#include "num.h"
#include "user.h"

// getpwnam(3) and getgrnam(3) leave errno alone, or set it to all kinds of values, where there is
// no such name.
static int nobody(const char *what, const char *name, struct fault *f)
{
	return fault_set(f, BLX_USAGE, "--user '%s': there is no such %s", name, what);
}

static int find_group(const char *name, gid_t *gid, struct fault *f)
{
	const struct group *g = getgrnam(name);
	uint64_t number;

	if (!g && (num_u64(name, &number) || number >= UINT32_MAX))
		return nobody("group", name, f);
	*gid = g ? g->gr_gid : (gid_t)number;
	return 0;
}

int user_become(const char *user, struct fault *f)
{
	const char *colon = strchr(user, ':');
	char name[256];
	uint64_t number;
	gid_t gid;

	size_t n = colon ? (size_t)(colon - user) : strlen(user);
	if (n >= sizeof(name))
		return nobody("user", user, f);
	memcpy(name, user, n);
	name[n] = 0;
	const struct passwd *p = getpwnam(name);
	if (!p && !num_u64(name, &number) && number < UINT32_MAX)
		p = getpwuid((uid_t)number);
	if (!p)
		return nobody("user", name, f);
	uid_t uid = p->pw_uid;
	gid = p->pw_gid;
	if (colon && find_group(colon + 1, &gid, f))
		return -1;
	if (initgroups(p->pw_name, gid) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return fault_errno(f, "--user %s", user);
	prctl(PR_SET_DUMPABLE, 0); // fs.suid_dumpable has taken its place
	if (uid && !setuid(0))
		return fault_set(f, BLX_SYSTEM, "--user %s: root could not be given up", user);
	return 0;
}
