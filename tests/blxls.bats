# SPDX-License-Identifier: BSD-2-Clause
# blxls: what it shows of a stream, and that it never takes a bad one for good.

load lib

DATA=$BATS_TEST_DIRNAME/data

setup() {
  cd "$BATS_TEST_TMPDIR" || return
}

# ---- what it shows

@test "a stream's extents come out as lists, one for each epoch" {
  blxls "$DATA/small.stream" | diff "$DATA/small.list" -
  blxls <"$DATA/small.stream" | diff "$DATA/small.list" -
  blxls - <"$DATA/small.stream" | diff "$DATA/small.list" -
}

@test "packed or not, the lists are the same" {
  blxpack <"$DATA/small.stream" | blxls | diff "$DATA/small.list" -
}

@test "the lists feed blxread, and the stream is the same again" {
  head -c 64K /dev/urandom >image
  printf '%s\n' '4096 8192' '0x8000 1' '65535 1' | blxread -a --plain image >one
  blxls one | blxread -a image >two
  diff <(blxls one) <(blxls two)
  diff <(blxls -v one | grep DATA) <(blxls -v two | grep DATA)
}

@test "--json is one object, the golden one" {
  blxls --json "$DATA/small.stream" | diff "$DATA/small.json" -
  blxls --json "$DATA/small.stream" | python3 -c 'import json, sys
o = json.load(sys.stdin)
assert o["complete"] and o["error"] is None and o["bytes"] == 1897, o
assert [e["epoch"] for e in o["epochs"]] == [12, 13], o
assert o["epochs"][1]["partial_upto"] == 4096 and o["epochs"][1]["limit"] == 524288, o'
}

@test "--json of a bad stream is an object too, and says so" {
  for at in 0 5 8 100 469 1000 1500; do
    head -c "$at" "$DATA/small.stream" >cut
    run -4 --separate-stderr blxls --json cut
    python3 -c 'import json, sys
o = json.load(sys.stdin)
assert not o["complete"] and o["error"], o' <<<"$output" || fail "cut at $at: $output"
  done
}

@test "what could not be read is shown and told however a stream is shown, and it is sound" {
  told="blxls: $DATA/bad.stream: 3 ranges, 70144 bytes in all, could not be read at the source"
  for how in "" -v --json --check "--check --ack"; do
    # shellcheck disable=SC2086
    run -0 --separate-stderr blxls $how "$DATA/bad.stream"
    [ "$stderr" = "$told" ] || fail "$how: $stderr"
  done
  [ "$(blxls "$DATA/bad.stream" 2>&- | grep -v '^#' | head -n 1)" = "0 4608" ]
  blxls --json "$DATA/bad.stream" 2>&- | python3 -c 'import json, sys
o = json.load(sys.stdin)
assert o["bad"] == o["epochs"][0]["bad"] == 70144 and o["frames"] == 6 and o["data"] == 517, o'
}

@test "control characters in a header do not reach the terminal" {
  python3 - "$DATA/../formats" >evil <<'END'
import sys
sys.path.insert(0, sys.argv[1])
import blxformat
w = blxformat.Writer()
w.head(65536, '# blx-extents 1\n# size: 65536\n# x-evil: \033[2J\n')
w.commit()
w.end()
sys.stdout.buffer.write(w.out)
END
  run -0 blxls -v evil
  has '# x-evil: ?[2J'
  [[ $output != *$'\033'* ]] || fail "an escape came through"
}

# ---- checks and acks

@test "--check of a good stream says nothing" {
  for name in example small packed optional; do
    run -0 blxls --check "$DATA/$name.stream"
    [ -z "$output" ]
  done
}

@test "--check --ack prints the ack of the last epoch" {
  run -0 blxls --check --ack "$DATA/packed.stream"
  [ "$output" = "$(sed -n 1p "$DATA/acks")" ]
}

@test "--check --ack of a list with a limit acks up to there, as the last word" {
  run -0 blxls --check --ack "$DATA/small.stream"
  [ "$output" = "$(sed -n 3p "$DATA/acks")" ]
}

@test "an anonymous stream has no ack" {
  run -5 blxls --check --ack "$DATA/example.stream"
  has 'an anonymous stream has no ack'
}

@test "a bad stream has no ack" {
  head -c -1 "$DATA/small.stream" >cut
  run -4 blxls --check --ack cut
  has 'blxls: cut: cut at byte 1896: the stream has no END'
  [[ $output != *blx-ack* ]]
}

# ---- bad streams

@test "wherever a stream is cut, every way of looking at it exits 4" {
  local at
  for at in 0 1 7 8 9 39 40 100 468 469 501 1012 1013 1100 1300 1400 1832 1833 1896; do
    head -c "$at" "$DATA/small.stream" >cut
    for how in "" -v --json --check "--check --ack"; do
      # shellcheck disable=SC2086 # options, or none
      run -4 --separate-stderr blxls $how cut
      [[ $stderr == "blxls: cut: "* ]] || fail "$at $how: $stderr"
    done
  done
}

@test "a list of a stream that is cut has no end line" {
  head -c -1 "$DATA/example.stream" >cut
  run -4 --separate-stderr blxls cut
  [[ $output == *$'\n4096 16'* ]] || fail "$output"
  [[ $output != *"# end"* ]] || fail "$output"
}

@test "a list whose epoch was committed has none either, if the stream goes bad after it" {
  local good
  good=$(grep -n '^# end' "$DATA/small.list" | head -n 1 | cut -d: -f1)
  # The first epoch is whole and the second one's HEAD is not.
  head -c 1300 "$DATA/small.stream" >cut
  run -4 --separate-stderr blxls cut
  [[ $output != *"# end"* ]] || fail "$output"
  # With the second one's HEAD the first list is whole.
  head -c 1740 "$DATA/small.stream" >cut
  run -4 --separate-stderr blxls cut
  [ "$(grep -n '^# end' <<<"$output")" = "$good:$(sed -n "${good}p" "$DATA/small.list")" ]
}

@test "streams in succession are shown one after the other" {
  cat "$DATA/example.stream" "$DATA/small.stream" >two
  blxls two >got
  for name in example small; do blxls "$DATA/$name.stream"; done | cmp - got
  blxls -v two >got
  blxls -v "$DATA/example.stream" >want
  blxls -v "$DATA/small.stream" | awk '/^ *[0-9]+ / { n = $1 + 278; sub(/^ *[0-9]+/, ""); printf "%12d%s\n", n, $0 }' >>want
  diff <(grep -v '^#' got | tr -s ' ') <(grep -v '^#' want | tr -s ' ')
  blxls --json two | python3 -c '
import json, sys
v = json.load(sys.stdin)
assert len(v["epochs"]) == 3 and v["complete"] and not v["epochs"][1]["anonymous"], v'
  head -c 1000 two >cut
  run -4 --separate-stderr blxls cut
  [[ $stderr == *"cut at byte 1000"* ]] || fail "$stderr"
}

@test "--check --ack prints an ack of each stream in succession, or none" {
  cat "$DATA/packed.stream" "$DATA/small.stream" >two
  blxls --check --ack two >got
  for name in packed small; do blxls --check --ack "$DATA/$name.stream"; done | cmp - got
  for pair in "packed example" "example packed"; do
    cat "$DATA/${pair% *}.stream" "$DATA/${pair#* }.stream" >two
    run -5 --separate-stderr blxls --check --ack two
    [ -z "$output" ]
    [[ $stderr == *"an anonymous stream has no ack"* ]] || fail "$stderr"
  done
}

@test "bytes after END that are no stream are named" {
  for how in "" -v --json --check; do
    cat "$DATA/example.stream" "$DATA/acks" >more
    # shellcheck disable=SC2086
    run -4 --separate-stderr blxls $how more
    [ "$stderr" = "blxls: more: at byte 278: bytes follow after END" ]
  done
}

@test "a flipped bit is named with the frame it is in" {
  cp "$DATA/example.stream" bad
  printf J | dd of=bad bs=1 seek=102 conv=notrunc status=none
  run -4 blxls --check bad
  [ "$output" = "blxls: bad: at byte 70: the check does not agree" ]
}

@test "an aborted stream exits 4, with the sender's words" {
  for how in "" -v --json --check "--check --ack"; do
    # shellcheck disable=SC2086
    run -4 --separate-stderr blxls $how "$DATA/aborted.stream"
    [[ $stderr == *": at byte 517: ABORT (code 3): /dev/loop300: read at 8192: Input/output error" ]] || fail "$stderr"
  done
}

@test "an extent list and other text are no streams" {
  run -4 blxls "$DATA/small.list"
  has 'not a stream but an extent list'
  run -4 blxls "$DATA/acks"
  has 'at byte 0: not a blx stream'
}

# ---- the command

@test "a file that is not there is an environment error, named" {
  run -3 blxls no-such-file
  [ "$output" = "blxls: no-such-file: open: No such file or directory" ]
}

@test "a directory cannot be read" {
  run -3 blxls .
  has 'Is a directory'
}

@test "wrong command lines are refused" {
  run -2 blxls --nonsense
  [ "$output" = "blxls: unrecognized option '--nonsense'"$'\n'"Try 'blxls --help'." ]
  run -2 blxls ''
  has "'': a file's name is expected"
  run -2 blxls -v --json "$DATA/small.stream"
  has 'only one of'
  run -2 blxls --ack "$DATA/small.stream"
  has 'needs --check'
  run -2 blxls one two
  has "more than one file: 'two'"
}

@test "a terminal is no stream" {
  run -2 script -qec blxls /dev/null
  has 'is a terminal'
}

@test "--help names every option, --version the version" {
  run -0 --separate-stderr blxls --help
  for o in -v --verbose --json --check --ack --help --version; do has "$o"; done
  [ -z "$stderr" ]
  run -0 blxls --version
  has 'blxls (blx) '
}

@test "a full disk is an error" {
  for how in "" -v --json "--check --ack"; do
    # shellcheck disable=SC2086
    run -3 bash -c "blxls $how '$DATA/small.stream' >/dev/full"
    has 'No space left on device'
  done
}

@test "a reader that has seen enough is one quiet line" {
  python3 - "$DATA/../formats" >long <<'END'
import sys
sys.path.insert(0, sys.argv[1])
import blxformat
w = blxformat.Writer()
w.head(1 << 30, '# blx-extents 1\n# size: %d\n' % (1 << 30))
out = []
for i in range(5000):
    w.zero(i << 16, 4096)
    out.append(w.out)
    w.out = b''
w.commit()
w.end()
sys.stdout.buffer.write(b''.join(out) + w.out)
END
  blxls --check long
  blxls -v long 2>words | head -n 1
  status=${PIPESTATUS[0]}
  [ "$status" = 3 ] || fail "status $status"
  [ "$(cat words)" = "blxls: standard output: Broken pipe" ]
}

@test "waiting for more, it notices that nobody reads any more" {
  mkfifo in
  head -c 600 "$DATA/small.stream" >part
  # fd 9 keeps the fifo open: no end of input ever comes.
  timeout 20 bash -c 'exec 9<>in; cat part >&9; { blxls <in 2>words; echo $? >code; } | :'
  [ "$(cat code)" = 3 ]
  [ "$(cat words)" = "blxls: standard output: Broken pipe" ] || fail "$(cat words)"
}
