# SPDX-License-Identifier: BSD-2-Clause
# make install and uninstall, and what is installed.

load lib

BUILD_DIR=${BLX_BUILD:-$TOP/build}

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  ROOT=$PWD/root
}

teardown() {
  loops_done
}

# make TARGET...: of the project, built already.
blx_make() {
  make --no-print-directory -s -C "$TOP" BUILD="$BUILD_DIR" "$@"
}

@test "install puts programs, pages, unit and completions below DESTDIR and PREFIX" {
  blx_make install DESTDIR="$ROOT" PREFIX=/opt/blx
  [ "$(ls root)" = opt ]
  for program in blxtrack blxread blxpack blxapply blxls blxsum blxused blxtls; do
    run -0 "root/opt/blx/bin/$program" --version
    [ -f "root/opt/blx/share/bash-completion/completions/$program" ]
  done
  for page in "$TOP"/man/*.[1-8]; do
    [ -f "root/opt/blx/share/man/man${page##*.}/${page##*/}" ] || fail "$page"
  done
  units=root/opt/blx/lib/systemd/system
  grep -qx 'ExecStart=/opt/blx/bin/blxtrack start --restore %f' $units/blxtrack@.service
  grep -qx 'ExecStop=/opt/blx/lib/blx/root keep' $units/blx-root.service
  [ -f $units/run-blx.mount.d/blx.conf ]
  grep -q '^ExecStart=/opt/blx/bin/blxtls --listen systemd .* -- /opt/blx/bin/blxapply ' $units/blxtls.service
  [ -f $units/blxtls.socket ]
  grep -q '^PATH=/opt/blx/bin:' root/opt/blx/lib/blx/root
  [ -f root/opt/blx/share/doc/blx/README.md ]
  [ -f root/opt/blx/share/doc/blx/boot.md ]
  [ -f root/opt/blx/share/doc/blx/recovery.md ]
  [ -f root/opt/blx/share/doc/blx/cron ]
  [ -f root/opt/blx/share/doc/blx/sudoers ]
}

@test "without OpenSSL all is made but blxtls, and what belongs to it" {
  run -0 make --no-print-directory -n -C "$TOP" BUILD="$PWD/none" TLS= CRYPTO= all units
  has "bin/blxsum"
  has "unit/digest"
  [[ $output != *blxtls* && $output != *lib/tls* && $output != *-lssl* && $output != *-lcrypto* ]] || fail "$output"
  run -0 make --no-print-directory -n -C "$TOP" BUILD="$PWD/none" TLS= CRYPTO= DESTDIR="$PWD/root" install
  has "blxtrack.8"
  [[ $output != *blxtls* ]] || fail "$output"
}

@test "every program has a page that is installed" {
  blx_make install DESTDIR="$ROOT"
  for program in blxtrack blxread blxpack blxapply blxls blxsum blxused blxtls; do
    [ -n "$(find root -path '*/man/*' -name "$program.[18]")" ] || fail "$program"
  done
}

@test "install-boot puts its hooks where the system looks, with the names of this installation" {
  blx_make install-boot DESTDIR="$ROOT" PREFIX=/opt/blx
  run -0 sh -c "cd root && find . -type f | LC_ALL=C sort"
  [ "$output" = "./usr/lib/dracut/modules.d/90blx/module-setup.sh
./usr/lib/dracut/modules.d/90blx/pre-mount.sh
./usr/lib/dracut/modules.d/90blx/pre-shutdown.sh
./usr/lib/dracut/modules.d/90blx/shutdown.sh
./usr/lib/systemd/system-shutdown/blxtrack
./usr/share/initramfs-tools/hooks/blx
./usr/share/initramfs-tools/scripts/init-premount/blx" ]
  run -1 grep -r '@[A-Z]*@' root
  run -0 grep -rl /opt/blx/lib/blx/root root
  [ "${#lines[@]}" = 6 ] # all but pre-shutdown.sh
  run -0 find root -type f ! -perm 755
  [ -z "$output" ]
}

@test "uninstall leaves nothing" {
  blx_make install install-boot DESTDIR="$ROOT"
  blx_make uninstall DESTDIR="$ROOT"
  [ -z "$(find root ! -type d)" ] || fail "$(find root ! -type d)"
}

# In a mount namespace of its own a blxtrack has pins and state of its own: the machine's tracking is not touched.
alone() {
  unshare --mount --propagation private sh -ec '
    mount -t bpf bpf /sys/fs/bpf
    mount -t tmpfs tmpfs /run
    '"$1"
}

@test "uninstall stops tracking, refuses while changes are not acked, and goes on with FORCE=1" {
  loop_new 16M
  export DEV TOP BUILD_DIR ROOT
  run -0 alone '
    make --no-print-directory -s -C "$TOP" BUILD="$BUILD_DIR" install PREFIX="$ROOT"
    PATH=$ROOT/bin:$PATH
    blxtrack start "$DEV"
    if make -s -C "$TOP" BUILD="$BUILD_DIR" uninstall PREFIX="$ROOT"; then exit 91; fi
    test -x "$ROOT/bin/blxtrack"
    blxtrack status "$DEV" >/dev/null
    make --no-print-directory -s -C "$TOP" BUILD="$BUILD_DIR" uninstall PREFIX="$ROOT" FORCE=1
    test ! -e "$ROOT/bin/blxtrack"
    test ! -e /sys/fs/bpf/blx
  '
}

@test "the manual pages are clean" {
  command -v mandoc >/dev/null || skip "no mandoc"
  run -0 mandoc -T lint -W warning "$TOP"/man/*.[1-8]
}

@test "each page lists every option that --help lists" {
  for program in blxread blxpack blxls blxsum; do
    "$program" --help | grep -o -- '  -.*' | grep -oE -- '(^|[ ,])--?[A-Za-z][a-z-]*' | tr -d ' ,' | sort -u >options
    [ "$(wc -l <options)" -ge 4 ]
    while read -r option; do
      mandoc "$TOP/man/$program.1" | col -b | grep -qE -- "(^|[ ,|[])$option([] ,|]|$)" || fail "$program: $option"
    done <options
  done
}

@test "no program takes a short option that --help does not list" {
  for program in blxread blxpack blxls blxsum; do
    offered=$("$program" --help | grep -oE '^ +-[A-Za-z],' | tr -dc A-Za-z)
    [ -n "$offered" ]
    for letter in {a..z} {A..Z}; do
      [[ $offered != *$letter* ]] || continue
      run -2 "$program" "-$letter" x </dev/null
      has "$program: invalid option -- '$letter'"
    done
  done
}

@test "completion offers commands, options and devices" {
  # shellcheck source=contrib/completion/blx.bash
  . "$TOP/contrib/completion/blx.bash"
  COMP_WORDS=(blxtrack st) COMP_CWORD=1
  _blxtrack
  [ "${COMPREPLY[*]}" = "start stop status" ]
  COMP_WORDS=(blxtrack drain --ma) COMP_CWORD=2
  _blxtrack
  [ "${COMPREPLY[*]}" = "--max" ]
  COMP_WORDS=(blxread --pl) COMP_CWORD=1
  _blx_filter
  [ "${COMPREPLY[*]}" = "--plain" ]
  COMP_WORDS=(blxtls k) COMP_CWORD=1
  _blxtls
  [ "${COMPREPLY[*]}" = "keygen" ]
  COMP_WORDS=(blxtls --lis) COMP_CWORD=1
  _blxtls
  [ "${COMPREPLY[*]}" = "--listen" ]
  loop_new 1M
  COMP_WORDS=(blxtrack drain "$DEV") COMP_CWORD=2
  _blxtrack
  [[ " ${COMPREPLY[*]} " == *" $DEV "* ]] || fail "$DEV is not in: ${COMPREPLY[*]}" # perhaps with others: loop1, loop12
}

@test "the packages are asked for by name where there is no apt-get" {
  mkdir path
  for tool in sh cat; do ln -s "$(command -v "$tool")" path/; done
  run -1 --separate-stderr env PATH="$PWD/path" "$TOP/contrib/install-deps" clang bats
  [ "$output" = "clang bats" ]
  run -0 env PATH="$PWD/path" BLX_DEPS=skip "$TOP/contrib/install-deps" clang bats
  [ -z "$output" ]
}

@test "packages that are there are not installed again" {
  run -0 "$TOP/contrib/install-deps" make
  [ -z "$output" ]
}
