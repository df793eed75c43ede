#!/usr/bin/env bats
# Several devices at one instant: lists, groups, one command that serves many images.

load lib

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  mkdir -p images
  work=()
}

teardown() {
  local dev dir
  exec 8>&- 9>&-
  : >stop
  if [ ${#work[@]} -gt 0 ]; then wait "${work[@]}" 2>/dev/null || true; fi
  for dir in images ram mnt1 mnt2; do
    if mountpoint -q $dir; then umount $dir; fi
  done
  if [ -f tracked ]; then
    while read -r dev; do blxtrack stop --force "$dev" 2>/dev/null || true; done <tracked
  fi
  loops_done
}

# volumes N SIZE: N tracked loop devices with the labels v1, v2, ...; sets V to their paths.
volumes() {
  local i
  V=()
  for ((i = 1; i <= $1; i++)); do
    loop_new "$2"
    printf '%s\n' "$DEV" >>tracked
    blxtrack start --label "v$i" "$DEV" 2>/dev/null
    V+=("$DEV")
  done
}

# put DEV BLOCK TEXT: a block of it, straight to the device.
put() {
  yes "$3" | dd of="$1" bs=4096 seek="$2" count=1 iflag=fullblock oflag=direct conv=notrunc status=none
}

# replicate [blxtrack run options]: all volumes to images/.
replicate() {
  blxtrack run "$@" "${V[@]}" -- sh -c 'blxread "$BLX_LISTS"/* | blxpack | blxapply --ack --into images'
}

# same: every image is its device.
same() {
  local i
  for i in "${!V[@]}"; do
    cmp "${V[i]}" "images/v$((i + 1))" || return
  done
}

# streams: what the volumes' consumer lacks, as streams, in the file `streams`.
streams() {
  rm -rf lists
  blxtrack drain -o lists "${V[@]}"
  blxread lists/* >streams
}

@test "drain -o writes a list of each device, of one group, and nothing else" {
  volumes 3 8M
  blxtrack drain -o lists "${V[@]}"
  [ "$(ls -A lists)" = $'v1.extents\nv2.extents\nv3.extents' ]
  [ "$(sed -n 's/^# group: \([0-9/]*\) .*/\1/p' lists/*)" = $'1/3\n2/3\n3/3' ]
  [ "$(sed -n 's/^# group: [0-9/]* //p' lists/* | sort -u | wc -l)" = 1 ]
  [ "$(sed -n 's/^# label: //p' lists/*)" = $'v1\nv2\nv3' ]
  old=$(cat lists/v2.extents)
  echo mine >lists/other
  blxtrack drain -o lists "${V[0]}" "${V[2]}"
  [ "$(cat lists/other)" = mine ]
  [ "$(cat lists/v2.extents)" = "$old" ]
  [ "$(sed -n 's/^# group: \([0-9/]*\) .*/\1/p' lists/v1.extents lists/v3.extents)" = $'1/2\n2/2' ]
}

@test "drain -o of one device is its list as on standard output, of no group" {
  volumes 1 8M
  blxtrack drain -o lists "${V[@]}"
  run -1 grep group lists/v1.extents
  blxtrack drain "${V[@]}" >list
  diff <(grep -v -e '^# epoch' -e '^# chain' -e '^# time' list) \
    <(grep -v -e '^# epoch' -e '^# chain' -e '^# time' lists/v1.extents)
}

@test "drain -o with -n moves nothing, with --max limits each" {
  volumes 2 8M
  blxtrack drain -n -o lists "${V[@]}"
  run -1 grep -h -e lineage -e group lists/v1.extents lists/v2.extents
  [ "$(grep -hv '^#' lists/*)" = $'0 8388608\n0 8388608' ]
  run -2 blxread lists/*
  has "the list is anonymous"
  blxtrack drain --max 1M -o lists "${V[@]}"
  [ "$(grep -hv '^#' lists/*)" = $'0 1048576\n0 1048576' ]
}

@test "a device named twice counts once" {
  volumes 2 8M
  blxtrack drain -o lists "${V[@]}" "${V[0]}"
  [ "$(sed -n 's/^# group: \([0-9/]*\) .*/\1/p' lists/*)" = $'1/2\n2/2' ]
}

@test "drain: wrong command lines are exit 2, in words" {
  volumes 2 8M
  run -2 blxtrack drain "${V[@]}"
  has "several devices: -o DIR takes the list of each"
  run -2 blxtrack drain --every 5 -o lists "${V[@]}"
  has "--every is for one device on standard output, not for -o"
  run -2 blxtrack drain -o '' "${V[@]}"
  has "a directory is expected"
  run -2 blxtrack drain -o lists
  has "which device?"
  run -2 blxtrack run "${V[@]}"
  run -2 blxtrack run "${V[@]}" --
  run -2 blxtrack run -- true
  run -2 blxtrack commit
  has "which device?"
  [ ! -e lists ]
}

@test "two devices with one label are refused, and nothing is written" {
  volumes 2 8M
  blxtrack stop --force "${V[1]}"
  blxtrack start --label v1 "${V[1]}" 2>/dev/null
  run -2 blxtrack drain -o lists "${V[@]}"
  has "have the same label, 'v1'"
  [ ! -e lists ]
  run -2 blxtrack run "${V[@]}" -- true
  has "have the same label, 'v1'"
  [ -z "$(find /run/blx -name 'lists.*')" ]
}

@test "a directory that cannot be made or written is exit 3; older lists stay" {
  volumes 2 8M
  run -3 blxtrack drain -o no/such/dir "${V[@]}"
  has "no/such/dir: mkdir: No such file or directory"
  mkdir full
  mount -t tmpfs -o size=16k,nr_inodes=2 tmpfs full
  run -3 blxtrack drain -o full "${V[@]}"
  left=$(ls -A full)
  umount full
  [ -z "$left" ]
  mount -t tmpfs tmpfs full
  blxtrack drain -o full "${V[@]}"
  cat full/* >want
  mount -o remount,ro full
  run -3 blxtrack drain -o full "${V[@]}"
  cat full/* >got
  umount full
  has "Read-only file system"
  cmp got want
}

@test "one device that is lost or not tracked: no list of any" {
  volumes 2 8M
  loop_new 8M
  run -5 blxtrack drain -o lists "${V[@]}" "$DEV"
  has "is not tracked"
  losetup -c "${V[1]}"
  truncate -s 4M "$(losetup -nO BACK-FILE "${V[1]}" | tr -d ' ')"
  losetup -c "${V[1]}"
  run -6 blxtrack drain -o lists "${V[@]}"
  has "it shrank"
  [ ! -e lists ]
  run -6 blxtrack run "${V[@]}" -- sh -c 'echo came >came'
  [ ! -e came ]
}

@test "two drains do not write to one directory at once" {
  volumes 1 8M
  mkdir lists
  exec 9<lists
  flock 9
  run -7 blxtrack drain -o lists "${V[@]}" 9<&-
  has "lists: another drain writes there"
}

@test "a whole host through one command: first copies, increments, growth of one" {
  volumes 3 8M
  for i in 0 1 2; do put "${V[i]}" "$i" "first $i"; done
  replicate
  same
  for i in 0 2; do put "${V[i]}" 7 "second $i"; done
  replicate
  same
  truncate -s 12M "$(losetup -nO BACK-FILE "${V[1]}" | tr -d ' ')"
  losetup -c "${V[1]}"
  put "${V[1]}" 2500 grown
  replicate
  same
  [ "$(stat -c %s images/v2)" = $((12 << 20)) ]
  [ ! -e images/.blx-group ]
  [ -z "$(find images -name pending -o -name spool -o -name clone)" ]
  [ -z "$(find /run/blx -name 'lists.*')" ]
}

@test "thirty volumes through one command" {
  volumes 30 1M
  replicate
  same
  for i in "${!V[@]}"; do put "${V[i]}" $((i * 7)) "volume $i"; done
  replicate --timeout 60
  same
}

@test "the lists of a drain go through commit of all, in any order" {
  volumes 3 8M
  streams
  blxread -o kept lists/*
  cmp kept streams
  blxapply --ack --into images <streams | tac >acks
  blxtrack commit "${V[@]}" <acks
  put "${V[1]}" 5 more
  streams
  [ "$(grep -hv '^#' lists/*)" = "20480 4096" ]
}

@test "commit: an ack that lacks, or is of another device, is exit 3 or 5 with the device's name" {
  volumes 3 8M
  streams
  blxapply --ack --into images <streams >acks
  run -5 blxtrack commit "${V[0]}" "${V[1]}" <acks
  has "ack for device $(lsblk -dno MAJ:MIN "${V[2]}" | tr -d ' '), which is none of those named"
  sed 2d acks >two
  run -3 blxtrack commit "${V[@]}" <two
  has "${V[1]}: the pipe ended without an ack that the epoch is applied"
  echo 'blx-ack 1 failed code=5 why=no room' >word
  run -5 blxtrack commit "${V[@]}" <word
  [ "$output" = "blxtrack: the receiver: no room" ]
  sed -n '2s/done \(.*\)$/failed \1 code=4 why=bad/p' acks >word
  run -4 blxtrack commit "${V[@]}" <word
  has "${V[1]}: the receiver: bad"
}

@test "run: one failure is the verdict, with the device's name; the others' acks count" {
  volumes 2 8M
  replicate
  put "${V[0]}" 3 a
  put "${V[1]}" 3 b
  run -3 blxtrack run "${V[@]}" -- sh -c 'blxread "$BLX_LISTS"/v1.extents >s1; blxls --check --ack s1'
  has "${V[1]}: the pipe ended without an ack"
  run -0 blxtrack drain -n "${V[0]}"
  [ "${#lines[@]}" = 6 ] || fail "$output"
  run -3 blxtrack run "${V[@]}" -- false
  has "false exited with status 1"
}

@test "run: another run of any of its devices is exit 7" {
  volumes 2 8M
  mkfifo hold
  blxtrack run "${V[1]}" -- sh -c 'echo up >up; cat hold' 2>/dev/null 8>&- 9>&- &
  await test -s up
  run -7 blxtrack run "${V[@]}" -- true
  has "${V[1]}: another run for consumer default is not done yet"
  : >hold
  wait $! || true
}

@test "run: a single list is on standard input, and what BLX_LISTS holds leads there" {
  volumes 1 8M
  blxtrack run "${V[@]}" -- sh -c 'blxread "$BLX_LISTS"/* | blxapply --ack --into images'
  same
  put "${V[0]}" 9 x
  blxtrack run "${V[@]}" -- sh -c 'blxread | blxapply --ack --into images'
  same
}

@test "run: what killed runs left is removed by the next" {
  volumes 2 8M
  blxtrack run "${V[@]}" -- sh -c 'echo up >up; exec sleep 300' 2>/dev/null &
  await test -s up
  kill -9 $!
  wait $! || true
  [ "$(find /run/blx -name 'lists.*' | wc -l)" = 1 ]
  mode=$(stat -c %a /run/blx/lists.*)
  [ "$mode" = 700 ]
  replicate
  [ -z "$(find /run/blx -name 'lists.*')" ]
}

# gone: none of the processes whose ids are in the files p1, p2 is there.
gone() {
  local pid
  for pid in $(cat p1 p2); do
    [ ! -e "/proc/$pid" ] || [[ $(cat "/proc/$pid/stat") == *") Z "* ]] || return 1
  done
}

@test "run: at --timeout all that the command started is ended, one that ignores SIGTERM too" {
  volumes 2 8M
  cat >tree <<'END'
#!/bin/sh
(trap '' TERM; sh -c 'echo $$ >p1; exec sleep 300') &
setsid sh -c 'echo $$ >p2; exec sleep 300' &
sleep 300 | cat
END
  chmod +x tree
  run -3 timeout 60 blxtrack run --timeout 3 "${V[@]}" -- ./tree
  has "no line came within 3 s"
  [ -s p1 ] && [ -s p2 ]
  gone
}

@test "run: a signal ends all that the command started, and run by that signal" {
  volumes 2 8M
  for sig in INT TERM HUP; do
    rm -f p1 p2
    cat >tree <<'END'
#!/bin/sh
sh -c 'echo $$ >p1; exec sleep 300' &
sh -c 'echo $$ >p2; exec sleep 300' | cat
END
    chmod +x tree
    python3 - "$sig" "${V[@]}" <<'END'
import os, signal, subprocess, sys, time
sig = getattr(signal, 'SIG' + sys.argv[1])
p = subprocess.Popen(['blxtrack', 'run', *sys.argv[2:], '--', './tree'], stderr=subprocess.DEVNULL)
end = time.time() + 20
while not all(os.path.exists(f) and os.path.getsize(f) for f in ('p1', 'p2')):
    assert time.time() < end
    time.sleep(0.02)
p.send_signal(sig)
assert p.wait(20) == -sig, p.returncode
END
    gone
    [ -z "$(find /run/blx -name 'lists.*')" ]
  done
}

@test "run: the command may ask on the terminal, and ^C there ends it" {
  volumes 2 8M
  cat >ask <<'END'
#!/bin/sh
printf 'Passphrase: ' >/dev/tty
read -r answer </dev/tty
echo "$answer" >answer
sh -c 'echo $$ >p1; exec sleep 300' &
sh -c 'echo $$ >p2; exec sleep 300'
END
  chmod +x ask
  python3 - "${V[@]}" <<'END'
import os, pty, sys, time
pid, fd = pty.fork()
if not pid:
    os.execvp('blxtrack', ['blxtrack', 'run', *sys.argv[1:], '--', './ask'])
seen = b''
while b'Passphrase: ' not in seen:
    seen += os.read(fd, 1000)
os.write(fd, b'open sesame\n')
end = time.time() + 20
while not all(os.path.exists(f) and os.path.getsize(f) for f in ('answer', 'p1', 'p2')):
    assert time.time() < end
    time.sleep(0.02)
os.write(fd, b'\x03')
status = os.waitpid(pid, 0)[1]
assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == 2, status
END
  [ "$(cat answer)" = "open sesame" ]
  await gone
}

@test "blxread: a list that is not there or is none is named, and the next stage told" {
  volumes 2 8M
  blxtrack drain -o lists "${V[@]}"
  run -3 bash -c 'blxread lists/v1.extents lists/none >got'
  has "blxread: lists/none: open: No such file"
  head -c 100 lists/v2.extents >lists/v2.cut
  run -4 bash -c 'blxread lists/v1.extents lists/v2.cut >got'
  has "lists/v2.cut: "
  run -4 bash -c 'blxls --check got'
  has "ABORT (code 4): lists/v2.cut: "
  blxread <(cat lists/v1.extents) <(cat lists/v2.extents) >got
  cmp got <(blxread lists/v1.extents lists/v2.extents)
  : >lists/empty
  run -4 bash -c 'blxread lists/empty >got'
  has "lists/empty: empty input"
  run -2 blxread -l name lists/v1.extents lists/v2.extents
  has "several lists would get the same one"
}

# ---- one point in time

@test "writes ordered across two devices: no list and no replica has one without those before it" {
  # 1,000 rounds by ROUNDS=1000
  volumes 2 256M
  ROUNDS=${ROUNDS:-200}
  run -0 timeout 800 python3 "$TOP/tests/tools/ordered.py" "$ROUNDS" "${V[@]}"
  echo "# $output" >&3
}

@test "two file systems under load, the receiver killed at random moments: in the end equal" {
  volumes 2 96M
  work=()
  for i in 1 2; do
    mkfs.ext4 -q "${V[i - 1]}"
    mkdir "mnt$i"
    mount -o discard "${V[i - 1]}" "mnt$i"
    "$TOP/tests/tools/churn.py" "mnt$i/work" stop "$i" &
    work+=($!)
  done
  replicate
  killed=0
  for i in $(seq 25); do
    KILL=0.$(printf %03d $((RANDOM % 150 + 2)))
    export KILL
    blxtrack run "${V[@]}" -- \
      sh -c 'blxread "$BLX_LISTS"/* | blxpack | timeout -s KILL $KILL blxapply --ack --into images' 2>/dev/null ||
      killed=$((killed + 1))
  done
  [ "$killed" -gt 0 ]
  : >stop
  wait "${work[@]}"
  umount mnt1 mnt2
  replicate
  same
  clean
}

# ---- --into. Streams of two volumes, a and b: s1 the first copies, s2 and s3 increments, as groups; what they lead to
# in a1, b1, a2, ...

make_streams() {
  local n
  V=() && : >tracked
  for label in a b; do
    loop_new 1M
    printf '%s\n' "$DEV" >>tracked
    blxtrack start --label $label "$DEV" 2>/dev/null
    V+=("$DEV")
  done
  mkdir made
  for n in 1 2 3; do
    for i in 0 1; do
      put "${V[i]}" $((n * 3 + i)) "$n $i"
      put "${V[i]}" 100 "again $n $i"
    done
    [ $n != 3 ] || blkdiscard -z -o 12288 -l 4096 "${V[0]}"
    streams
    mv streams "made/s$n"
    blxread lists/a.extents >"made/a$n.stream"
    blxread lists/b.extents >"made/b$n.stream"
    cp "${V[0]}" "made/a$n"
    cp "${V[1]}" "made/b$n"
    blxls --check --ack "made/s$n" | blxtrack commit "${V[@]}"
  done
  mv made "$BATS_FILE_TMPDIR/"
}

made() {
  [ -d "$BATS_FILE_TMPDIR/made" ] || make_streams
  M=$BATS_FILE_TMPDIR/made
}

# at N: the pair is at epoch N.
at() {
  cmp "$M/a$1" images/a && cmp "$M/b$1" images/b
}

into() {
  local in=$1
  shift
  blxapply --ack --into images "$@" <"$in"
}

# clean: nothing is left of any group.
clean() {
  [ -z "$(find images -name .blx-group -o -name pending -o -name spool -o -name clone -o -name new)" ] ||
    fail "$(find images)"
}

@test "--into: groups in one input are applied one after the other, each stream acked" {
  made
  cat "$M/s1" "$M/s2" "$M/s3" >all
  run -0 into all
  [ "${#lines[@]}" = 6 ] || fail "$output"
  [ "$output" = "$(blxls --check --ack all)" ]
  at 3
  clean
  run -0 into "$M/s3"
  [ "$output" = "$(blxls --check --ack "$M/s3")" ]
}

@test "--into: the members of a group come in any order, packed or not" {
  made
  cat "$M/b1.stream" "$M/a1.stream" | blxpack >all
  cat "$M/b2.stream" >>all
  blxpack <"$M/a2.stream" >>all
  into all >acks
  at 2
}

@test "--into: a group that is cut anywhere is exit 4, and none of it is applied" {
  made
  into "$M/s1" >acks
  size=$(stat -c %s "$M/s2") one=$(stat -c %s "$M/a2.stream")
  for n in 3 20 500 $((one / 2)) $((one - 1)) "$one" $((one + 3)) $((one + 600)) $((size - 33)) $((size - 1)); do
    head -c "$n" "$M/s2" >cut
    run -4 into cut
    at 1 || fail "cut at $n"
    clean
    [[ $output != *"blx-ack 1 done"* ]] || fail "$output"
  done
  has "none of the increments of the group is applied"
  head -c "$one" "$M/s2" >cut
  run -4 into cut
  has "the input ends after 1 of the 2 streams of a group"
  [[ ${lines[0]} == "blx-ack 1 failed lineage="*"code=4 why=a is not applied"* ]] || fail "$output"
  into "$M/s2" >acks
  at 2
}

@test "--into: a cut between two epochs leaves the first" {
  made
  cat "$M/s1" "$M/s2" "$M/s3" >all
  head -c "$(($(stat -c %s all) - 40))" all >cut
  run -4 into cut
  at 2
  clean
}

@test "--into: one stream is refused: none of its group is applied, and each is failed by name" {
  made
  into "$M/s1" >acks
  cat "$M/a2.stream" "$M/b3.stream" >mixed
  run -4 into mixed
  has "that is not of the group of 2, of which only 1 came"
  at 1
  blxapply --ack images/b <"$M/b2.stream" >acks
  blxapply --ack images/b <"$M/b3.stream" >acks
  run -5 into "$M/s2"
  has "images/b: wrong base"
  has "none of the increments of the group is applied"
  [ "$(grep -c '^blx-ack 1 failed lineage' <<<"$output")" = 2 ] || fail "$output"
  cmp "$M/a1" images/a
  cmp "$M/b3" images/b
  clean
}

@test "--into: what is there already is acked again, what lacks is applied" {
  made
  into "$M/s1" >acks
  blxapply images/b <"$M/b2.stream"
  run -0 into "$M/s2"
  [ "$(sort <<<"$output")" = "$(blxls --check --ack "$M/s2" | sort)" ] || fail "$output"
  at 2
}

@test "--into: a stream of no group is applied by itself" {
  made
  volumes 1 1M
  blxtrack drain "${V[0]}" | blxread >single
  run -0 into single
  cmp "${V[0]}" images/v1
  cat single "$M/a1.stream" >two
  run -4 into two
  has "the input ends after 1 of the 2 streams of a group"
}

@test "--into: labels that name no image are refused" {
  made
  volumes 1 1M
  blxtrack drain "${V[0]}" | sed '/^# label/d' | blxread >none
  run -5 into none
  has "a stream without a label names no image in $PWD/images"
  blxtrack drain "${V[0]}" | blxread -l x.blx >bad
  run -5 into bad
  has "label 'x.blx': no name for an image: .blx ends the names of the directories of their states"
  for label in ../v1 .v1 -v1 a/b ''; do
    run -4 bash -c "blxtrack drain '${V[0]}' | sed 's,^# label: .*,# label: $label,' | blxread"
  done
  ln -s ../elsewhere images/v1
  blxtrack drain "${V[0]}" | blxread >good
  run -5 into good
  has "images/v1: a link, not an image"
  : >elsewhere
  run -5 into good
  has "images/v1: a link, not an image"
  rm images/v1
  mkdir images/v1
  run -5 into good
  has "images/v1: a directory, not an image"
  [ ! -s elsewhere ]
}

@test "--into: the same label or the same place twice in one group is refused" {
  made
  cat "$M/a1.stream" "$M/a1.stream" >twice
  run -4 into twice
  has "stream 1 of a group of 2 came twice"
  rm -rf images && mkdir images
  into "$M/s1" >acks
  volumes 2 1M
  blxtrack consumer reset default "${V[0]}"
  streams
  rm -rf images && mkdir images
  into streams >acks
  blxtrack commit "${V[@]}" <acks
  put "${V[0]}" 1 x
  put "${V[1]}" 1 y
  blxtrack drain -o lists "${V[@]}"
  sed -i 's/^# label: v2/# label: v1/' lists/v2.extents
  blxread lists/* >streams
  run -5 into streams
  has "label 'v1': twice in one group"
}

@test "--into: no directory, a read-only one, and wrong options are refused in words" {
  made
  run -3 blxapply --into nowhere <"$M/s1"
  has "--into: nowhere: No such file or directory"
  run -3 --separate-stderr blxapply --into nowhere --ack <"$M/s1"
  [ "$output" = "blx-ack 1 failed code=3 why=--into: nowhere: No such file or directory" ] || fail "$output"
  run -3 --separate-stderr blxapply --ack --spool nowhere image <"$M/s1"
  [ "$output" = "blx-ack 1 failed code=3 why=--spool: nowhere: No such file or directory" ] || fail "$output"
  run -3 blxapply --into "$M/s1" <"$M/s1"
  has "Not a directory"
  mkdir ro
  mount -t tmpfs -o ro tmpfs ro
  run -3 blxapply --into ro <"$M/s1"
  umount ro
  has "ro: read-only: Read-only file system"
  run -2 blxapply --into images image <"$M/s1"
  has "the streams' labels name the images, not 'image' too"
  run -2 blxapply --into images --in-place <"$M/s1"
  has "--into is for applying and for --recover"
  run -2 blxapply --into images --status
  run -4 blxapply --into images </dev/null
  has "empty input"
}

@test "a single target refuses a second stream, and says what takes it" {
  made
  run -4 bash -c "cat '$M/s1' | blxapply one"
  has "bytes follow the end of the stream; its epochs are applied (several streams: --into DIR)"
}

@test "--into: another one at work on an image is exit 7, and the group waits" {
  made
  into "$M/s1" >acks
  exec 9<images/b.blx/lock
  flock 9
  run -7 into "$M/s2" 9<&-
  has "images/b: busy: another blxapply is at work on it"
  exec 9<&-
  at 1
  clean
}

CALLS="fsync rename,renameat,renameat2 pwrite64 unlink,unlinkat openat fallocate ftruncate write flock"

# crash_everywhere [options]: die at each system call of a group's increment, recover, repeat.
crash_everywhere() {
  local calls nth deaths=0 old=0 new=0 killed
  for calls in $CALLS; do
    for ((nth = 1; nth < 300; nth++)); do
      rm -rf images/.blx-group images/*
      into "$M/s1" >acks
      killed=0
      strace -qq -o /dev/null -e trace="$calls" -e inject="$calls":signal=KILL:when="$nth" \
        blxapply --ack --into images "$@" <"$M/s2" >acks 2>err || killed=$?
      [ "$killed" = 0 ] || [ "$killed" = 137 ] || fail "at $calls number $nth: exit $killed: $(cat err)"
      [ "$killed" != 0 ] || break
      deaths=$((deaths + 1))
      # What was acked must be there; and no other than one of the two epochs, for both.
      acked=$(grep -c 'blx-ack 1 done' acks) || true
      run -0 recover_somehow $((deaths % 3)) "$@"
      if at 1 >/dev/null 2>&1; then
        old=$((old + 1))
        [ "$acked" = 0 ] || fail "at $calls number $nth: acked, and not there"
      else
        at 2 || fail "at $calls number $nth: neither epoch"
        new=$((new + 1))
      fi
      run -0 into "$M/s2" "$@"
      at 2
      clean
    done
  done
  echo "# $deaths deaths: $old times the old epoch, $new times the new one" >&3
  [ "$old" -gt 20 ]
  [ "$new" -gt 5 ]
}

# By --recover --into; or by the next run, here of another volume; or the images one by one first.
recover_somehow() {
  local way=$1
  shift
  case $way in
  0) blxapply --recover --into images ;;
  1) blxapply --into images "$@" <"$M/../other" ;;
  2)
    blxapply --recover images/a && blxapply --recover images/b && blxapply --recover --into images
    ;;
  esac
}

other() {
  [ -f "$BATS_FILE_TMPDIR/other" ] || {
    volumes 1 64K
    blxtrack drain "${V[0]}" | blxread -l other >"$BATS_FILE_TMPDIR/other"
  }
}

@test "--into: killed at any system call: by spools, the pair is at one epoch" {
  made
  other
  mount -t tmpfs tmpfs images
  crash_everywhere
}

@test "--into: killed at any system call: with spools elsewhere, the pair is at one epoch" {
  made
  other
  mkdir spools
  mount -t tmpfs tmpfs images
  crash_everywhere --spool spools
}

@test "--into: killed at any system call: by clones, the pair is at one epoch" {
  made
  other
  mkdir ram
  mount -t tmpfs tmpfs ram # thousands of fsyncs
  truncate -s 320M ram/fs
  mkfs.btrfs -q ram/fs
  mount -o loop ram/fs images
  crash_everywhere
}

@test "--into: a member that cannot be finished fails by name, and the next run finishes it" {
  made
  mount -t tmpfs tmpfs images
  into "$M/s1" >acks
  # The second write into an image: of a's two blocks the first has landed.
  run -3 strace -qq -o /dev/null -e trace=pwrite64 -e inject=pwrite64:error=EIO:when=2 \
    blxapply --ack --into images <"$M/s2"
  has "images/a: write at"
  has "half applied"
  cmp "$M/b2" images/b
  [ -e images/.blx-group ]
  run -0 blxapply --recover --into images
  at 2
  clean
}

@test "--into: lists in one input of blxread make a stream that no group has, and words say how to hand them over" {
  volumes 2 1M
  blxtrack drain -o lists "${V[@]}"
  run -4 bash -c 'cat lists/* | blxread | blxapply --into images'
  has "a member of a group has one epoch (give the lists to blxread as operands)"
}

@test "--recover --into names every replica that is incomplete or changed" {
  made
  into "$M/s1" >acks
  run -0 blxapply --recover --into images
  [ -z "$output" ] || fail "$output"
  head -c -100 "$M/a1.stream" >cut
  rm -r images/a images/a.blx
  run -4 blxapply images/a <cut
  mkdir images/new.blx
  run -1 blxapply --recover --into images
  [ "$output" = "blxapply: $PWD/images/a: incomplete: the first copy was not finished; the source's next stream goes on" ] ||
    fail "$output"
  touch -d '1 hour ago' images/b
  run -5 blxapply --recover --into images
  has "images/a: incomplete"
  [[ ${lines[1]} == *"images/b: the image was changed"* ]] || fail "$output"
  rm images/b
  run -5 blxapply --recover --into images
  has "images/b: the image is gone"
  ln -s a images/b
  run -5 blxapply --recover --into images
  has "images/b: a link, not an image"
}

@test "--status tells of a member that waits for its group" {
  made
  into "$M/s1" >acks
  mkfifo hold
  blxapply --into images <hold 8>&- 9>&- &
  exec 8>hold
  head -c "$(stat -c %s "$M/a2.stream")" "$M/s2" >&8
  await test -e images/a.blx/pending
  run -0 blxapply --status images/a
  has "waits for its group (blxapply --recover --into $PWD/images, or the next stream, settles it)"
  has "state:      complete"
  run -0 blxapply --status --json images/a
  has '"waits":{"epoch":2,"token":"'
  python3 -m json.tool <<<"$output" >/dev/null
  exec 8>&-
  wait $! || true
  run -0 blxapply --status --json images/a
  [[ $output != *waits* ]] || fail "$output"
}

@test "advice that does not fit into a message or an ack is left out whole" {
  made
  local dir line n
  for n in 20 60 100 140 180; do
    dir=images/$(printf "%0${n}d" 0)
    mkdir "$dir"
    blxapply --into "$dir" <"$M/s1"
    run -5 --separate-stderr blxapply --ack --into "$dir" <"$M/s3"
    while read -r line; do
      [[ $line != *"; "* || $line == *"; for a full copy: "*" --allow init "*"' here" ||
        $line == *"; for what differs: 'blxtrack resync'" ]] || fail "$line"
    done <<<"$output"$'\n'"$stderr"
    [[ $output == *"wrong base"* ]] || fail "$output"
  done
}
