#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The old root is about to be unmounted with all that is below it. What is known, and the programs' pins, come along.
for old in /oldsys /oldroot; do
  [ -f $old/run/initramfs/blx/root.conf ] || continue
  mkdir -p /run/blx /run/initramfs/blx /sys/fs/bpf
  mount --bind $old/run/initramfs/blx/state /run/blx
  mount --bind $old/sys/fs/bpf /sys/fs/bpf
  [ -f /run/initramfs/blx/root.conf ] || cat $old/run/initramfs/blx/root.conf >/run/initramfs/blx/root.conf
done
