// SPDX-License-Identifier: BSD-2-Clause
// btfcheck FILE...: has the kernel whose type information FILE is (the .BTF section itself, or an
// ELF file with one) what the tracking programs need? A line for each part, and 1 if one is
// wanting.
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/blxtrack/btf.h"

static int check_one(const char *path)
{
	static const char *const names[BTF_PARTS] = {"helpers", "tracepoints", "fields"};
	struct btf *b = btf__parse(path, NULL);
	struct fault f;
	int bad = 0;

	if (libbpf_get_error(b)) {
		fprintf(stderr, "btfcheck: %s: %s\n", path, strerror(errno));
		return 1;
	}
	for (enum btf_part part = 0; part < BTF_PARTS; part++) {
		int wanting = btf_check_part(b, part, &f) != 0;
		printf("%s: %s\n", names[part], wanting ? f.text : "ok");
		bad |= wanting;
	}
	printf("rw_page: %s\n", btf_has_rw_page(b) ? "yes" : "no");
	btf__free(b);
	return bad;
}

int main(int argc, char **argv)
{
	int bad = argc < 2;

	for (int i = 1; i < argc; i++)
		bad |= check_one(argv[i]);
	return bad;
}
