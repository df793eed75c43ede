// SPDX-License-Identifier: BSD-2-Clause
// lib/num: strict numbers.
#include <errno.h>
#include <string.h>

#include "num.h"
#include "tap.h"

typedef int parser(const char *, uint64_t *);

static void takes(parser *parse, const char *s, uint64_t want)
{
	uint64_t v = 1234567;

	ok(parse(s, &v) == 0 && v == want, "'%s' is %llu", s, (unsigned long long)want);
}

static void refuses(parser *parse, const char *s, int why)
{
	uint64_t v = 1234567;

	errno = 0;
	ok(parse(s, &v) == -1 && errno == why, "'%s' is refused: %s", s, strerror(why));
}

int main(void)
{
	static const char *const wrong[] = {"",   " ",  "-1", "+1",   " 1",  "1 ", "01",
					    "00", "1x", "0x", "0x1g", "1.5", "1e3"};

	takes(num_u64, "0", 0);
	takes(num_u64, "18446744073709551615", UINT64_MAX);
	refuses(num_u64, "18446744073709551616", ERANGE);
	refuses(num_u64, "184467440737095516150", ERANGE);
	refuses(num_u64, "0x10", EINVAL);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		refuses(num_u64, wrong[i], EINVAL);
		refuses(num_u64_hex, wrong[i], EINVAL);
		refuses(num_size, wrong[i], EINVAL);
		refuses(num_seconds, wrong[i], EINVAL);
	}
	takes(num_u64_hex, "10", 10);
	takes(num_u64_hex, "0x10", 16);
	takes(num_u64_hex, "0XfF", 255);
	takes(num_u64_hex, "0xffffffffffffffff", UINT64_MAX);
	refuses(num_u64_hex, "0x10000000000000000", ERANGE);
	takes(num_size, "7", 7);
	takes(num_size, "1K", 1024);
	takes(num_size, "3m", 3 << 20);
	takes(num_size, "2G", 2ull << 30);
	takes(num_size, "16777215T", 16777215ull << 40);
	refuses(num_size, "16777216T", ERANGE);
	refuses(num_size, "1KB", EINVAL);
	refuses(num_size, "K", EINVAL);
	takes(num_seconds, "90", 90);
	takes(num_seconds, "2m", 120);
	takes(num_seconds, "1h", 3600);
	takes(num_seconds, "1d", 86400);
	refuses(num_seconds, "1w", EINVAL);
	return done();
}
