// SPDX-License-Identifier: BSD-2-Clause
// blxtls keygen, blxtls fingerprint.
#include <stdio.h>
#include <unistd.h>

#include "blxtls.h"
#include "die.h"

static _Noreturn void finish(const char *words)
{
	if (words)
		fputs(words, stdout);
	close_stdout();
	_exit(BLX_OK);
}

_Noreturn void cmd_keygen(int argc, char **argv)
{
	enum { NAME = 256 };
	static const struct option longs[] = {{"name", required_argument, NULL, NAME},
					      {"help", no_argument, NULL, 'h'},
					      {NULL, 0, NULL, 0}};
	char host[256], fingerprint[TLS_FINGERPRINT];
	const char *name = NULL;
	struct fault f;
	int c;

	while ((c = getopt_or_die(argc, argv, "h", longs)) != -1) {
		if (c == 'h')
			finish("usage: blxtls keygen [--name NAME] FILE\n"
			       "Make a private key and its certificate, for NAME (this host's), in "
			       "the new FILE, and "
			       "print the key's\nfingerprint.\n");
		name = optarg;
	}
	if (optind + 1 != argc)
		die_usage("keygen: one FILE is expected");
	if (name && !peer_name_ok(name))
		die_usage("--name '%s': 1 to %d of A-Z a-z 0-9 . _ : - are expected", name,
			  PEER_NAME - 1);
	if (!name && (gethostname(host, sizeof(host)) || !peer_name_ok(host)))
		name = "blxtls";
	if (tls_keygen(argv[optind], name ? name : host, fingerprint, &f))
		die_fault(&f);
	puts(fingerprint);
	finish(NULL);
}

_Noreturn void cmd_fingerprint(int argc, char **argv)
{
	static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	char fingerprint[TLS_FINGERPRINT];
	struct fault f;

	while (getopt_or_die(argc, argv, "h", longs) != -1)
		finish("usage: blxtls fingerprint FILE...\n"
		       "Print the fingerprint of the key of the certificate in each FILE.\n");
	if (optind == argc)
		die_usage("fingerprint: FILE is expected");
	for (int i = optind; i < argc; i++) {
		if (tls_fingerprint_of(argv[i], fingerprint, &f))
			die_fault(&f);
		puts(fingerprint);
	}
	finish(NULL);
}
