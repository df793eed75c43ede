# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk nvme
# kernels: 6.1
# A machine that was hibernated has lost its history, and says so; one that only slept has not. The root file system,
# which comes from the host, survives neither: what is run from here on lies in memory, and ends the machine.
# For machines with one CPU: with two, emulated, 6.12 hung now and then in the jump into the image. With one
# (`VM_CPUS=1 tests/vm/boot`) it resumes there, which 6.1 cannot.
. /mnt/tests/vm/lib.sh
members 1
jail=/tmp/jail

# into_memory PROGRAM...: with their libraries.
into_memory() {
  local program path lib
  mkdir -p $jail/{bin,proc,sys,dev,run,tmp}
  for program; do
    path=$(type -P "$program")
    cp "$path" $jail/bin
    for lib in $(ldd "$path" | grep -o '/[^ ]*'); do
      mkdir -p "$jail${lib%/*}"
      cp -Ln "$lib" "$jail$lib"
    done
  done
  for path in proc sys dev run; do mount --rbind /$path $jail/$path; done
}

into_memory bash blxtrack mkswap swapon dd grep head rm sort tail tr uname
sed '/^trap/d' /mnt/tests/vm/lib.sh >$jail/words
cat >$jail/test <<'T'
. /words
dev=$1 swap=$2
echo 8 >/proc/sys/kernel/printk # what is shown of a machine that hangs
echo N >/sys/module/printk/parameters/console_suspend

# slept HOW STATUS WORDS: a write, the machine sleeps, and what a drain says then.
slept() {
  begin sleep "$dev" && blxtrack consumer add --now "$1" "$dev"
  dd if=/dev/zero of="$dev" bs=4096 seek=3 count=1 oflag=direct 2>$err
  # until 6.4 (5904de0d735b) it cannot be resumed while its disk is used as swap; the image is made all the same
  if echo "$1" >/sys/power/state 2>$err || { [ "$1" = disk ] && ! since 6.4; }; then
    expect sleep "$1: exit $2" "$2" "$3" blxtrack drain -c "$1" "$dev"
  else
    row sleep "$1: exit $2" "$(words)"
  fi
}

mkswap "$swap" >$err 2>&1 && swapon "$swap" 2>>$err || row sleep swap "$(words)"
echo test_resume >/sys/power/disk # the image is made, written, read and resumed, without a reboot
slept disk 6 'the machine was hibernated'
# all but the last step: an alarm that is to wake the machine may come before it sleeps
echo 0 >/sys/module/suspend/parameters/pm_test_delay
echo core >/sys/power/pm_test
slept mem 0 '12288 4096'
rm /sys/fs/bpf/blx/4/link-hibernate
expect sleep "not noticed: status says so" 6 'hibernation would not be noticed' blxtrack status "$dev"
T
chroot $jail /bin/bash -c '
  /bin/bash /test "$@"
  echo "end hibernate.sh 0 after $SECONDS s"
  echo "done" >/dev/ttyS2
  echo b >/proc/sysrq-trigger
  read -r -t 100 </dev/ttyS0' bash "$m1" "$(disk nvme)"
