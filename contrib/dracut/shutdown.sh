#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The root is unmounted. Not done yet while somebody else's hook has to let go of the disk first (device-mapper, md).
@LIBEXECDIR@/root save
[ $? != 7 ] || [ -n "${final:-}" ]
