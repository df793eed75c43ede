#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Before the root file system is checked and mounted.
mkdir -p /run/initramfs/blx
cat /etc/blx/root.conf >/run/initramfs/blx/booted.conf
@LIBEXECDIR@/root start || : # it has said why; blx-root.service tries again
need_shutdown
