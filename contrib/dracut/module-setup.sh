#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# dracut.modules(7): blxtrack for the disk of the root file system, if /etc/blx/root.conf names it; in the initramfs before
# the root is mounted, and once more after it was unmounted.

check() {
  [ -f /etc/blx/root.conf ]
}

depends() {
  echo base shutdown
}

install() {
  mkdir -p "$initdir/etc/blx"
  @LIBEXECDIR@/root conf >"$initdir/etc/blx/root.conf" || { dfatal "blx: /etc/blx/root.conf"; return 1; }
  inst_multiple @BINDIR@/blxtrack @LIBEXECDIR@/root mount mkdir sleep grep
  inst_hook pre-mount 10 "$moddir/pre-mount.sh"
  inst_hook pre-shutdown 10 "$moddir/pre-shutdown.sh"
  inst_hook shutdown 90 "$moddir/shutdown.sh"
}
