// SPDX-License-Identifier: BSD-2-Clause
// What blxtls parses itself: messages of the other end, the file of those who are let in,
// addresses, and the words of commands. The first byte says which.
#include <string.h>

#include "cmd/blxtls/command.h"
#include "cmd/blxtls/net.h"
#include "cmd/blxtls/peers.h"
#include "cmd/blxtls/wire.h"
#include "fuzz.h"

// Pieces of STEP bytes; the data that came, up to the first fault, to *SUM and *COUNT.
static int take(struct wire *w, const uint8_t *p, size_t n, size_t step, uint64_t *sum,
		uint64_t *count)
{
	struct fault f;

	while (n) {
		size_t piece = step < n ? step : n, used = 0, len;
		const uint8_t *data;
		bool eof = w->eof;
		if (wire_take(w, p, piece, &used, &data, &len, &f)) {
			fuzz_check(f.code == BLX_CORRUPT);
			return -1;
		}
		fuzz_check(used && used <= piece && len <= used);
		fuzz_check(!len || (!eof && data >= p && data + len <= p + used));
		for (size_t i = 0; i < len; i++)
			*sum = *sum * 31 + data[i];
		*count += len;
		p += used;
		n -= used;
	}
	return 0;
}

// However it is cut into pieces, the same comes out.
static void messages(const uint8_t *data, size_t size)
{
	struct wire a = {0}, b = {0};
	uint64_t sum[2] = {0}, count[2] = {0};
	size_t step = size ? data[0] % 13 + 1 : 1;
	int whole = take(&a, data, size, size, &sum[0], &count[0]);

	fuzz_check(whole == take(&b, data, size, step, &sum[1], &count[1]));
	fuzz_check(sum[0] == sum[1] && count[0] == count[1]);
	fuzz_check(a.eof == b.eof && a.ended == b.ended && a.end.how == b.end.how &&
		   a.end.status == b.end.status);
	fuzz_check(!a.ended || a.end.how <= WIRE_HOW_MAX);
}

static void peers(char *text, size_t n)
{
	struct peers p = {0};
	struct fault f;

	if (!peers_parse(&p, text, n, "file", &f)) {
		for (size_t i = 0; i < p.n; i++) {
			fuzz_check(peer_name_ok(p.all[i].name) && !strchr(p.all[i].name, '/'));
			fuzz_check(!tls_id_check(p.all[i].id, &f));
			for (size_t k = 0; k < i; k++)
				fuzz_check(strcmp(p.all[i].id, p.all[k].id));
		}
	} else {
		fuzz_check(f.code == BLX_SYSTEM && !strncmp(f.text, "file: ", 6));
	}
	peers_free(&p);
}

static void address(const char *text)
{
	struct net_address a;
	struct fault f;

	if (net_parse(&a, text, &f))
		fuzz_check(f.code == BLX_USAGE);
	else
		fuzz_check(*a.port && strlen(a.host) < NET_HOST && strlen(a.port) < NET_PORT);
}

static void words(char *text)
{
	char *cmd[] = {text, NULL};
	struct fault f;
	char **made = command_words(cmd, "name", &f);

	if (made)
		fuzz_check(made[0] && !made[1] && strlen(made[0]) <= 2 * strlen(text));
	else
		fuzz_check(f.code == BLX_USAGE && strchr(text, '%'));
	command_free_words(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	char *text = malloc(size);
	fuzz_check(text);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = 0;
	switch (data[0] % 4) {
	case 0:
		messages(data + 1, size - 1);
		break;
	case 1:
		peers(text, size - 1);
		break;
	case 2:
		address(text);
		break;
	default:
		words(text);
	}
	free(text);
	return 0;
}
