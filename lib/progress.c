// SPDX-License-Identifier: BSD-2-Clause
// The progress line: drawn over itself, at most five times a second.
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"

enum { SECOND = 1000000000, REDRAW = SECOND / 5 };

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static const char *human(double v, char text[16])
{
	static const char unit[] = "BKMGTPE";
	int u = 0;

	for (; v >= 1000 && unit[u + 1]; u++)
		v /= 1024;
	snprintf(text, 16, u ? "%.1f%c" : "%.0f%c", v, unit[u]);
	return text;
}

static void draw(struct progress *p, int64_t now)
{
	double seconds = (double)(now - p->begun_ns) / SECOND;
	double speed = seconds > 0 ? (double)p->done / seconds : 0;
	char a[16], b[16], c[16];
	char line[128];
	int n = snprintf(line, sizeof(line), "\r%s", human((double)p->done, a));

	if (p->total)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " of %s, %.0f%%",
			      human((double)p->total, b),
			      100.0 * (double)p->done / (double)p->total);
	n += snprintf(line + n, sizeof(line) - (size_t)n, ", %s/s", human(speed, c));
	if (p->total && p->done < p->total && speed > 0)
		n += snprintf(line + n, sizeof(line) - (size_t)n, ", %.0f s left",
			      (double)(p->total - p->done) / speed);
	// One write, the rest of an older, longer line erased; stderr that cannot be written is no
	// reason to stop.
	n += snprintf(line + n, sizeof(line) - (size_t)n, "\033[K");
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		p->on = false;
	p->drawn = true;
	p->drawn_ns = now;
}

void progress_init(struct progress *p, bool on, uint64_t total)
{
	int64_t now = now_ns();

	*p = (struct progress){.on = on || isatty(STDERR_FILENO),
			       .total = total,
			       .begun_ns = now,
			       .drawn_ns = now};
}

void progress_add(struct progress *p, uint64_t n)
{
	p->done += n;
	if (!p->on)
		return;
	int64_t now = now_ns();
	if (now - p->drawn_ns >= REDRAW)
		draw(p, now);
}

void progress_end(struct progress *p)
{
	if (!p->on)
		return;
	draw(p, now_ns());
	if (write(STDERR_FILENO, "\n", 1) < 0)
		p->on = false;
	p->on = false;
}
