# SPDX-License-Identifier: BSD-2-Clause
# lib/LAYERS is true of the tree.

load lib

setup() {
  cd "$TOP" || return
}

# allowed MODULE: the modules that it may include, one a line; fails if LAYERS does not know it.
allowed() {
  grep -q "^$1:" lib/LAYERS || fail "lib/LAYERS does not know $1"
  sed -n "s/^$1://p" lib/LAYERS | tr -s ' ' '\n' | sed '/^$/d'
}

# included FILE...: the headers of ours they include, without .h.
included() {
  sed -n 's/^#include "\([a-z_0-9]*\)\.h"$/\1/p' "$@" | sort -u
}

@test "every module of lib/ is in LAYERS, and nothing else is" {
  diff <(find lib -name '*.[ch]' -printf '%f\n' | sed 's/\.[ch]$//' | grep -v '^stream_' | sort -u) \
    <(sed -n 's/^\([a-z_0-9]*\):.*/\1/p' lib/LAYERS | grep -v '^stream_' | sort)
}

@test "a module includes only what LAYERS allows" {
  for file in lib/*.[ch]; do
    module=${file##*/} module=${module%.[ch]}
    may=$(allowed "$module")
    for header in $(included "$file"); do
      [ "$header" = "$module" ] || grep -qx "$header" <<<"$may" || fail "$file includes $header.h; LAYERS does not say so"
    done
  done
}

@test "a module stands below those that it includes" {
  while IFS=: read -r module may; do
    for header in $may; do
      at=$(grep -n "^$module:" lib/LAYERS | cut -d: -f1)
      of=$(grep -n "^$header:" lib/LAYERS | cut -d: -f1)
      [ "$of" -lt "$at" ] || fail "$module may include $header, which does not stand above it"
    done
  done < <(grep '^[a-z]' lib/LAYERS)
}

@test "only the modules named see an external library" {
  while IFS=: read -r what may; do
    what=${what#!}
    for file in $(grep -lE "^#include [<\"]$what" -r lib cmd); do
      case $file in
        cmd/*) module=${file%/*} ;;
        *) module=${file##*/} module=${module%.[ch]} ;;
      esac
      [[ " $may " == *" $module "* ]] || fail "$file includes $what; LAYERS allows$may"
    done
  done < <(grep '^!' lib/LAYERS)
}

@test "every header of neither libc nor the kernel is named in LAYERS" {
  libc='(assert|ctype|dirent|errno|fcntl|getopt|glob|grp|inttypes|libgen|limits|math|netdb|poll|pthread|pwd|regex|sched|signal|spawn|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdio_ext|stdlib|string|strings|syslog|time|unistd)'
  while read -r header; do
    sed -n 's/^!\(.*\):.*/\1/p' lib/LAYERS | grep -q "^${header%%/*}" || fail "$header"
  done < <(grep -rhoE '^#include <[^>]*>' lib cmd | tr -d '<>' | awk '{ print $2 }' | sort -u |
    grep -vE "^($libc\.h|(sys|linux|asm|arpa|netinet)/.*)$")
}

@test "lib/ neither prints nor exits; die is the exception" {
  run -1 grep -nE '\b(printf|puts|perror|exit|_exit|abort)\(|fprintf\(stderr' -r lib --include='*.c' --exclude=die.c
}

@test "each file begins with its licence" {
  for file in lib/*.[ch] cmd/*/*.[ch] tests/unit/*.[ch]; do
    [ "$(head -n 1 "$file")" = "// SPDX-License-Identifier: BSD-2-Clause" ] || fail "$file"
  done
  for file in bpf/*.bpf.c; do
    [ "$(head -n 1 "$file")" = "// SPDX-License-Identifier: GPL-2.0-only" ] || fail "$file"
  done
}
