// SPDX-License-Identifier: BSD-2-Clause
#include <string.h>

#include "bytes.h"
#include "wire.h"

void wire_put_header(uint8_t to[WIRE_HEADER], enum wire_type type, uint32_t n)
{
	put_le16(to, (uint16_t)type);
	put_le16(to + 2, 0);
	put_le32(to + 4, n);
}

void wire_put_end(uint8_t to[WIRE_END_BYTES], const struct wire_end *end)
{
	wire_put_header(to, WIRE_END, WIRE_END_BYTES - WIRE_HEADER);
	put_le16(to + WIRE_HEADER, (uint16_t)end->how);
	put_le16(to + WIRE_HEADER + 2, end->status);
}

// What a message is, from its header. Bytes that must be there before it can be used; 0: not one.
static size_t judge_header(const struct wire *w, uint32_t *data)
{
	uint16_t type = get_le16(w->part), zero = get_le16(w->part + 2);
	uint32_t n = get_le32(w->part + 4);

	*data = 0;
	if (zero || w->ended)
		return 0;
	if (type == WIRE_DATA && !w->eof && n && n <= WIRE_DATA_MAX) {
		*data = n;
		return WIRE_HEADER;
	}
	if (type == WIRE_EOF && !w->eof && !n)
		return WIRE_HEADER;
	if (type == WIRE_END && n == WIRE_END_BYTES - WIRE_HEADER)
		return WIRE_END_BYTES;
	return 0;
}

static int take_message(struct wire *w, struct fault *f)
{
	uint16_t type = get_le16(w->part), how = get_le16(w->part + WIRE_HEADER),
		 status = get_le16(w->part + WIRE_HEADER + 2);

	w->have = 0;
	if (type == WIRE_EOF)
		w->eof = true;
	if (type != WIRE_END)
		return 0;
	if (how > WIRE_HOW_MAX || (how == WIRE_DONE && status) ||
	    (!w->eof && how != WIRE_FULL && how != WIRE_PEER_BUSY && how != WIRE_FAILED))
		return fault_set(f, BLX_CORRUPT, "not an end that blxtls knows: %u", how);
	w->ended = true;
	w->end = (struct wire_end){how, status};
	return 0;
}

static void fill(struct wire *w, size_t to, const uint8_t **p, size_t *len)
{
	size_t n = to - w->have < *len ? to - w->have : *len;

	memcpy(w->part + w->have, *p, n);
	w->have += n;
	*p += n;
	*len -= n;
}

int wire_take(struct wire *w, const uint8_t *p, size_t len, size_t *used, const uint8_t **data,
	      size_t *n, struct fault *f)
{
	const uint8_t *begin = p;
	size_t need = WIRE_HEADER;
	int bad = 0;

	*n = 0;
	if (!w->left) {
		if (w->have < WIRE_HEADER)
			fill(w, WIRE_HEADER, &p, &len);
		if (w->have >= WIRE_HEADER && !(need = judge_header(w, &w->left)))
			bad = fault_set(f, BLX_CORRUPT, "not a message of blxtls");
		if (!bad && w->have >= WIRE_HEADER && w->have < need)
			fill(w, need, &p, &len);
		if (!bad && w->have == need)
			bad = take_message(w, f);
	}
	if (w->left && !bad) {
		*data = p;
		*n = w->left < len ? w->left : len;
		w->left -= (uint32_t)*n;
		p += *n;
	}
	*used = (size_t)(p - begin);
	return bad;
}
