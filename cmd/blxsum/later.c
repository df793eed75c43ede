// SPDX-License-Identifier: BSD-2-Clause
// What is still to come.
#include "blxsum.h"
#include "die.h"
int tree_compare(const struct options *o)
{
	(void)o;
	die(3, "no");
}
int serve(const struct options *o)
{
	(void)o;
	die(3, "no");
}
int live(const struct options *o)
{
	(void)o;
	die(3, "no");
}
