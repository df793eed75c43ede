// SPDX-License-Identifier: BSD-2-Clause
// The memory of a header: its chain of tokens, the one part that is allocated.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "head.h"

void head_init(struct head *h)
{
	memset(h, 0, sizeof(*h));
}

void head_free(struct head *h)
{
	free(h->chain);
	head_init(h);
}

int head_copy(struct head *to, const struct head *from)
{
	struct token *chain = NULL;

	if (from->chain_len) {
		// As large as head_chain_add() would have made it.
		size_t room = 1;
		while (room < from->chain_len)
			room *= 2;
		chain = malloc(room * sizeof(*chain));
		if (!chain)
			return -1;
		memcpy(chain, from->chain, from->chain_len * sizeof(*chain));
	}
	*to = *from;
	to->chain = chain;
	return 0;
}

int head_chain_add(struct head *h, const struct token *t)
{
	size_t n = h->chain_len;

	if (n >= HEAD_CHAIN_MAX) {
		errno = E2BIG;
		return -1;
	}
	if (!(n & (n - 1))) { // full: room doubles whenever the length reaches a power of two
		struct token *more = realloc(h->chain, (n ? 2 * n : 1) * sizeof(*more));
		if (!more)
			return -1;
		h->chain = more;
	}
	h->chain[h->chain_len++] = *t;
	return 0;
}

long head_chain_find(const struct head *h, const struct token *t)
{
	for (size_t i = 0; i < h->chain_len; i++)
		if (token_equal(&h->chain[i], t))
			return (long)i;
	return -1;
}
