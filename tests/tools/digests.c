// SPDX-License-Identifier: BSD-2-Clause
// digests IMAGE DIGESTS TOKEN: are the digests beside a replica those of the image, and current for
// TOKEN? Prints how many are unknown; exit 1 and the offset of the first wrong one, or what is
// wrong with the header. It knows the format, but none of lib/digestfile.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { BLOCK = 4096, AT_SIZE = 16, AT_TOKEN = 24, AT_ALSO = 40, TOKEN = 16 };

static uint64_t number(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static void hex(const uint8_t *p, char text[2 * TOKEN + 1])
{
	for (int i = 0; i < TOKEN; i++)
		sprintf(text + 2 * i, "%02x", p[i]);
}

int main(int argc, char **argv)
{
	uint8_t head[BLOCK], block[BLOCK], entry[8];
	char token[2 * TOKEN + 1], also[2 * TOKEN + 1];
	uint64_t unknown = 0;

	if (argc != 4)
		return 2;
	FILE *image = fopen(argv[1], "r"), *digests = fopen(argv[2], "r");
	if (!image || !digests || fread(head, 1, BLOCK, digests) != BLOCK ||
	    memcmp(head, "blxdig1", 8) || head[8] != 0 || head[9] != BLOCK / 256)
		return puts("bad header"), 1;
	hex(head + AT_TOKEN, token);
	hex(head + AT_ALSO, also);
	if (strcmp(argv[3], token) && strcmp(argv[3], also))
		return printf("of %s and %s\n", token, also), 1;
	uint64_t size = number(head + AT_SIZE);
	for (uint64_t at = 0; at < size; at += BLOCK) {
		memset(block, 0, BLOCK);
		memset(entry, 0, sizeof(entry));
		if (!fread(block, 1, size - at < BLOCK ? size - at : BLOCK, image))
			return puts("the image is shorter"), 1;
		fread(entry, 1, sizeof(entry), digests); // beyond its end all are unknown
		uint64_t want = XXH3_64bits(block, BLOCK), got = number(entry);
		unknown += !got;
		if (got && got != want)
			return printf("wrong at %" PRIu64 "\n", at), 1;
	}
	printf("%" PRIu64 "\n", unknown);
	return 0;
}
