# SPDX-License-Identifier: BSD-2-Clause
# blxtrack resync: what a comparison found takes the place of the whole device.

load lib

REPLICA=01234567-89ab-4cde-8f01-23456789abcd
HELD=0123456789abcdef0011223344556677

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  loop_new 16M
  blxtrack start "$DEV" 2>/dev/null
}

teardown() {
  blxtrack stop --force "$DEV" 2>/dev/null || true
  loops_done
}

# value KEY: of the tracker's record.
value() {
  sed -n "s/^$1: //p" "/run/blx/$(lsblk -dno MAJ:MIN "$DEV" | tr -d ' ')/state"
}

# differing [EXTENT...] with the keys of a comparison that begins now; each EXTENT is 'OFFSET LENGTH'.
differing() {
  local n=0 bytes=0 e
  printf '# blx-extents 1\n# size: %s\n' "${SIZE:-16777216}"
  [ "${WITH_RESYNC:-yes}" = no ] || printf '# resync: %s %s\n' $REPLICA $HELD
  [ "${WITH_SINCE:-yes}" = no ] || printf '# since: %s %s\n' "${LINEAGE:-$(value lineage)}" "${EPOCH:-$(value epoch)}"
  for e in "$@"; do
    printf '%s\n' "$e"
    n=$((n + 1)) bytes=$((bytes + ${e#* }))
  done
  printf '# end: %s %s\n' $n $bytes
}

write_at() { # OFFSET, one block
  dd if=/dev/urandom of="$DEV" bs=4096 seek=$(($1 / 4096)) count=1 oflag=direct conv=notrunc status=none
}

extents() {
  blxtrack drain "$@" "$DEV" >extents.list || return
  sed '/^#/d' extents.list
}

# ack KIND [WORDS]: of the list in the file list.
ack() {
  local line
  line=$(awk -v kind="$1" '
    /^# (lineage|device|consumer): / { v[$2] = $3 }
    /^# epoch: / { e = $3; t = $4 }
    END { printf "blx-ack 1 %s lineage=%s device=%s consumer=%s epoch=%s token=%s", kind, v["lineage:"], v["device:"],
          v["consumer:"], e, t }' list)
  printf '%s%s\n' "$line" "${2:+ $2}"
}

@test "the list takes the place of the whole device, and every write since start stays" {
  write_at 8388608
  differing '4096 8192' >found
  write_at 12582912
  run -0 blxtrack resync "$DEV" <found
  [ -z "$output" ]
  write_at 65536
  run -0 extents
  [ "$output" = $'4096 8192\n65536 4096\n8388608 4096\n12582912 4096' ]
  blxtrack drain "$DEV" >list
  grep -qx "# resync: $REPLICA $HELD" list
  grep -q "^# base: [0-9]* $HELD\$" list
  grep -qx '# cursor: 16777216' list
}

@test "done ends the resync, upto what lies below it" {
  differing '4096 4096' '8388608 4096' | blxtrack resync "$DEV"
  blxtrack drain "$DEV" >list
  ack upto 'offset=1048576' >acks
  run -3 blxtrack commit "$DEV" <acks
  run -0 extents
  [ "$output" = '8388608 4096' ]
  blxtrack drain "$DEV" >list
  grep -qx "# resync: $REPLICA $HELD" list
  ack 'done' | blxtrack commit "$DEV"
  blxtrack drain "$DEV" >list
  run -1 grep -E '^[0-9]|resync' list
  run -0 find /run/blx -name 'extra.*'
  [ -z "$output" ]
}

@test "a lost consumer is whole again" {
  blxtrack drain "$DEV" >list
  ack 'done' | blxtrack commit "$DEV"
  # Somebody's hands: the programs are gone, and so is the history.
  rm /sys/fs/bpf/blx/4/link-*
  run -6 blxtrack drain "$DEV"
  differing '0 4096' >early
  run -6 blxtrack resync "$DEV" <early
  has "run 'blxtrack start', then compare"
  run -0 blxtrack start "$DEV"
  run -6 blxtrack drain "$DEV"
  run -5 blxtrack resync "$DEV" <early
  has "the comparison began under another lineage: compare again"
  differing '0 4096' | blxtrack resync "$DEV"
  run -0 extents
  [ "$output" = '0 4096' ]
}

@test "an empty comparison is a resync too" {
  differing | blxtrack resync "$DEV"
  run -0 blxtrack drain "$DEV"
  has "# resync: $REPLICA $HELD"
  has '# end: 0 0'
}

@test "a comparison of something else, from before, or cut, changes nothing" {
  run -5 blxtrack resync "$DEV" < <(WITH_SINCE=no differing '0 4096')
  has "the comparison began when the device was not tracked: compare again"
  run -5 blxtrack resync "$DEV" < <(WITH_RESYNC=no differing '0 4096')
  has "the list does not say which replica it was compared with"
  run -5 blxtrack resync "$DEV" < <(LINEAGE=$REPLICA differing '0 4096')
  has "the comparison began under another lineage: compare again"
  run -4 blxtrack resync "$DEV" < <(EPOCH=99 differing '0 4096')
  has "an epoch yet to come"
  run -5 blxtrack resync "$DEV" < <(SIZE=33554432 differing '0 4096')
  has "wrong size"
  run -4 blxtrack resync "$DEV" < <(differing '0 4096' | sed '$d')
  has "cut after line 5: the list has no end line"
  run -4 blxtrack resync "$DEV" </dev/null
  has "empty input"
  run -5 blxtrack resync "$DEV" < <(blxtrack drain "$DEV")
  has "not one of a comparison"
  run -4 blxtrack resync "$DEV" < <(differing '0 4096'; differing '4096 4096')
  has "a second list follows: one comparison at a time"
  run -2 blxtrack resync -c other "$DEV" < <(differing)
  run -2 blxtrack resync
  run -2 blxtrack resync "$DEV" "$DEV" </dev/null
  run -0 extents
  [ "$output" = '0 16777216' ]
  run -0 find /run/blx -name 'extra.*'
  [ -z "$output" ]
}

@test "a comparison that began before the consumer was reset is refused" {
  differing '0 4096' >found
  blxtrack drain "$DEV" >/dev/null
  blxtrack consumer reset default "$DEV"
  run -5 blxtrack resync "$DEV" <found
  has "consumer default has moved on since the comparison began: compare again"
}

@test "what is wrong on the other side is listed again, until a later list is acked" {
  blxtrack drain "$DEV" >list
  ack 'done' >whole
  blxtrack commit "$DEV" <whole
  base=$(sed -n 's/^# epoch: [0-9]* //p' list)
  blxtrack drain "$DEV" >list # is out when the rot is found
  WITH_SINCE=no HELD=$base differing '4096 4096' | blxtrack resync "$DEV"
  WITH_SINCE=no HELD=$base differing '40960 4096' | blxtrack resync "$DEV"
  run -5 blxtrack resync "$DEV" < <(LINEAGE=$REPLICA HELD=$base differing '8192 4096')
  has "the list is of another device, or lineage"
  run -0 extents
  [ "$output" = $'4096 4096\n40960 4096' ]
  ack 'done' | blxtrack commit "$DEV"
  run -0 extents
  [ "$output" = $'4096 4096\n40960 4096' ]
  blxtrack drain "$DEV" >list
  run -1 grep resync list
  ack upto 'offset=8192' >acks
  run -3 blxtrack commit "$DEV" <acks
  run -0 extents
  [ "$output" = '40960 4096' ]
  blxtrack drain "$DEV" >list
  ack 'done' | blxtrack commit "$DEV"
  run -0 extents
  [ -z "$output" ]
}

@test "a list of a replica that is not where the acks say is a resync" {
  blxtrack drain "$DEV" >list
  ack 'done' | blxtrack commit "$DEV"
  write_at 0
  differing '4096 4096' | blxtrack resync "$DEV"
  blxtrack drain "$DEV" >list
  grep -qx "# resync: $REPLICA $HELD" list
  run -0 grep '^[0-9]' list
  [ "$output" = '0 8192' ]
}

@test "what could not be read stays pending, through done and through upto" {
  blxtrack drain "$DEV" >list
  { ack unread 'offset=4096 length=512'; ack unread 'offset=1048576 length=8192'; ack 'done' unread=2; } |
    blxtrack commit "$DEV"
  run -0 extents
  [ "$output" = $'4096 4096\n1048576 8192' ]
  run -0 blxtrack status "$DEV"
  has 'whole, epoch 1, '
  has 'lacks 12288 bytes, of them 12288 unread or to come again'
  # what is asked for twice counts once
  WITH_RESYNC=no WITH_SINCE=no differing '4096 4096' | blxtrack resync "$DEV"
  run -0 blxtrack status "$DEV"
  has 'of them 12288 unread or to come again'
  run -0 blxtrack status --json "$DEV"
  has '"lacks":12288,"again":12288}'
  run -0 blxtrack status --prometheus "$DEV"
  grep -q '^blx_consumer_again_bytes{.*} 12288$' <<<"$output"
  write_at 0
  blxtrack drain "$DEV" >list
  { ack unread 'offset=4096 length=512'; ack upto 'offset=65536 unread=1'; } >acks
  run -3 blxtrack commit "$DEV" <acks
  run -0 extents
  [ "$output" = $'4096 4096\n1048576 8192' ]
  blxtrack drain "$DEV" >list
  { ack unread 'offset=1048576 length=4096'; ack 'done' unread=1; } | blxtrack commit "$DEV"
  run -0 extents
  [ "$output" = '1048576 4096' ]
  blxtrack drain "$DEV" >list
  ack 'done' | blxtrack commit "$DEV"
  run -0 extents
  [ -z "$output" ]
}

@test "unread ranges of an epoch that is not acked then count for nothing" {
  blxtrack drain "$DEV" >list
  ack 'done' | blxtrack commit "$DEV"
  blxtrack drain "$DEV" >list
  run -3 blxtrack commit "$DEV" < <(ack unread 'offset=4096 length=512')
  run -0 extents
  [ -z "$output" ]
  run -4 blxtrack commit "$DEV" < <(ack unread 'offset=4096 length=512'; ack unread 'offset=4096 length=512')
  has "unread ranges do not ascend"
}

@test "a block that is acked in part only goes on being pending" {
  blxtrack stop --force "$DEV"
  blxtrack start -b 64K "$DEV" 2>/dev/null
  blxtrack drain "$DEV" >list
  { ack unread 'offset=131072 length=4096'; ack 'done' unread=1; } | blxtrack commit "$DEV"
  blxtrack drain "$DEV" >list
  run -3 blxtrack commit "$DEV" < <(ack upto 'offset=135168') # in the middle of the block
  run -0 extents
  [ "$output" = '131072 65536' ]
  blxtrack drain "$DEV" >list
  run -3 blxtrack commit "$DEV" < <(ack upto 'offset=196608')
  run -0 extents
  [ -z "$output" ]
}

@test "an ack that rests on unread ranges which were not all told changes nothing" {
  blxtrack drain "$DEV" >list
  run -4 blxtrack commit "$DEV" < <(ack 'done' unread=1)
  has "rests on 1 ranges that could not be read, but 0 were told"
  run -4 blxtrack commit "$DEV" < <(printf 'motd: '; ack unread 'offset=4096 length=512'; ack 'done' unread=1)
  has "not an ack: motd: "
  run -4 blxtrack commit "$DEV" < <(ack unread 'offset=4096 length=512'; ack 'done')
  run -4 blxtrack commit "$DEV" < <(ack unread 'offset=4096 length=512'; ack upto 'offset=8192')
  run -0 extents
  [ "$output" = '0 16777216' ]
}

@test "an ack of a list from before the resync does not undo it" {
  blxtrack drain "$DEV" >list
  ack 'done' >late
  write_at 0
  differing '4096 4096' >found
  blxtrack drain "$DEV" >/dev/null
  blxtrack resync "$DEV" <found
  run blxtrack commit "$DEV" <late
  run -0 extents
  [ "$output" = '0 8192' ]
}

@test "a resync that is killed leaves what is to come again" {
  local n
  blxtrack drain "$DEV" >list
  { ack unread 'offset=1048576 length=4096'; ack 'done' unread=1; } | blxtrack commit "$DEV"
  for ((n = 1; n < 60; n++)); do
    differing '8192 4096' >found
    if strace -qq -o /dev/null -e inject=linkat,unlinkat,renameat,fsync:signal=KILL:when=$n \
      blxtrack resync "$DEV" <found 2>/dev/null; then
      break
    fi
    run -0 extents
    [ "$output" = '1048576 4096' ] || [ "$output" = '8192 4096' ] || fail "place $n: $output"
    [ "$output" = '1048576 4096' ] || break
  done
  [ "$n" -gt 2 ]
  run -0 extents
  [ "$output" = '8192 4096' ]
}

@test "a device that grew since is compared and resynced at its new size" {
  blxtrack drain "$DEV" >list
  ack 'done' | blxtrack commit "$DEV"
  blxtrack stop --force "$DEV"
  blxtrack start "$DEV" 2>/dev/null
  truncate -s 32M "$FILE"
  losetup -c "$DEV"
  SIZE=33554432 differing '4096 4096' '16777216 16777216' | blxtrack resync "$DEV"
  run -0 extents
  [ "$output" = $'4096 4096\n16777216 16777216' ]
}

@test "reset, remove and start forget what was listed besides" {
  differing '4096 4096' | blxtrack resync "$DEV"
  [ -n "$(find /run/blx -name 'extra.default.*')" ]
  blxtrack consumer reset default "$DEV"
  [ -z "$(find /run/blx -name 'extra.*')" ]
  run -0 extents
  [ "$output" = '0 16777216' ]
  blxtrack consumer add x "$DEV"
  differing '4096 4096' | blxtrack resync -c x "$DEV"
  run -0 extents -c x
  [ "$output" = '4096 4096' ]
  blxtrack consumer remove x "$DEV"
  [ -z "$(find /run/blx -name 'extra.*')" ]
}
