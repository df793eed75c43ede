# SPDX-License-Identifier: BSD-2-Clause
# blxpack: the same stream, smaller; and a bad one never passes for a good one.

load lib

DATA=$BATS_TEST_DIRNAME/data

setup() {
  cd "$BATS_TEST_TMPDIR" || return
}

# image FILE: 4 MiB that a stream of many frames comes from: text, noise and holes.
image() {
  seq 1 200000 | head -c 1M >"$1"
  head -c 1M /dev/urandom >>"$1"
  truncate -s 3M "$1"
  seq 7 3 500000 | head -c 1M >>"$1"
}

# scattered FILE: a stream of 500 frames of 4 KiB and one of everything.
scattered() {
  image img
  { seq 0 8192 4095999 | sed 's/$/ 4096/'; } | blxread -a --plain img >"$1"
}

# abort_of STREAM: code and words of its ABORT frame.
abort_of() {
  blxls -v "$1" 2>/dev/null | awk '$2 == "ABORT" { $1 = $2 = $4 = $5 = ""; print }' | tr -s ' ' | sed 's/^ //'
}

# ---- there and back

@test "packed and unpacked, a stream is the same bytes again" {
  scattered one
  for file in one "$DATA/small.stream" "$DATA/example.stream"; do
    blxpack <"$file" >packed
    blxls --check packed
    blxpack -d <packed | cmp - "$file"
    blxpack -d <"$file" | cmp - "$file"
  done
}

@test "scattered small frames are packed together, and shrink" {
  scattered one
  blxpack <one >packed
  blxls -v packed | awk '$2 == "PACK" { n++ } END { exit n < 1 || n > 8 }'
  [ "$(stat -c %s packed)" -lt "$(($(stat -c %s one) * 6 / 10))" ]
}

@test "the output is the same whatever the number of threads" {
  scattered one
  blxpack -T 1 <one >want
  for threads in 2 4 16 64; do
    blxpack -T "$threads" <one | cmp - want
  done
}

@test "packing anew is packing" {
  scattered one
  blxpack -19 <one >want
  blxpack -1 <one >first
  blxpack -19 <first | cmp - want
  [ "$(stat -c %s want)" -lt "$(stat -c %s first)" ]
}

@test "what could not be read passes between packs, never in one" {
  blxpack <"$DATA/bad.stream" | blxls -v 2>&- | grep -c '[0-9] BAD ' | grep -qx 3
  blxpack <"$DATA/bad.stream" | blxpack -d >plain
  blxpack -d <"$DATA/bad.stream" | cmp - plain
}

@test "noise is left in its frames" {
  head -c 1M /dev/urandom >img
  blxread -a --whole img >one
  blxpack <one | cmp - one
}

@test "the level is one number of two digits, the last one given" {
  scattered one
  blxpack -1 <one >one.1
  blxpack -19 <one >one.19
  ! cmp -s one.1 one.19 || fail "levels 1 and 19 give the same"
  blxpack -1 -19 <one | cmp - one.19
  blxpack -19 -1 <one | cmp - one.1
  blxpack -19T2 <one | cmp - one.19
  blxpack <one >by_default
  blxpack -3 <one | cmp - by_default
}

@test "a header goes through as it is, with keys of later versions; optional frames do not" {
  blxpack -d <"$DATA/optional.stream" >got
  diff <(blxls -v "$DATA/optional.stream" | grep '^#') <(blxls -v got | grep '^#')
  has_note=$(blxls -v got | grep -c '^# x-note: by hand$')
  [ "$has_note" = 1 ]
  [ "$(stat -c %s got)" = "$(($(stat -c %s "$DATA/optional.stream") - 37 - 32 - 32))" ]
}

# ---- an open pipe

@test "an epoch is out as soon as its COMMIT is in" {
  mkfifo in out
  blxpack -d <"$DATA/small.stream" >want
  # Both fifos stay open: what arrives was not flushed by an end.
  exec 8<>in 9<>out
  timeout 20 blxpack -d <in >out 3>&- 8>&- 9>&- &
  head -c 1274 want >&8
  timeout 10 head -c 1274 <&9 >got
  cmp got <(head -c 1274 want)
  tail -c +1275 want >&8
  timeout 10 head -c "$(($(stat -c %s want) - 1274))" <&9 >rest
  cmp rest <(tail -c +1275 want)
  wait $!
}

@test "after END it stops when its reader has gone, though the input stays open" {
  mkfifo in
  exec 8<>in
  cat "$DATA/small.stream" >&8
  blxpack <"$DATA/small.stream" >want
  timeout 20 bash -c 'set -o pipefail; blxpack <in 8>&- | head -c "$(stat -c %s want)" >got'
  blxls --check got
}

@test "waiting for more, it notices that nobody reads any more" {
  mkfifo in
  head -c 600 "$DATA/small.stream" >part
  timeout 20 bash -c 'exec 9<>in; cat part >&9; { blxpack <in 2>words; echo $? >code; } | :'
  [ "$(cat code)" = 3 ]
  [ "$(cat words)" = "blxpack: standard output: Broken pipe" ] || fail "$(cat words)"
}

@test "writing on, it notices that nobody reads any more" {
  head -c 4M /dev/urandom >img
  blxread -a --whole img >one
  bash -c '{ blxpack <one 2>words; echo $? >code; } | :'
  [ "$(cat code)" = 3 ]
  [ "$(cat words)" = "blxpack: standard output: Broken pipe" ] || fail "$(cat words)"
}

# ---- bad input

@test "a cut stream exits 4, and the next stage is told by an ABORT" {
  scattered one
  for at in 0 3 8 100 2000 50000 "$(($(stat -c %s one) - 1))"; do
    for how in "" -d; do
      # shellcheck disable=SC2086
      run -4 bash -c "head -c $at one | blxpack $how >got"
      [[ $output == "blxpack: "* ]] || fail "$output"
      [ "$(abort_of got)" = "4 ${output#blxpack: }" ] || fail "at $at: $(abort_of got), $output"
    done
  done
}

@test "a flipped bit exits 4, and nothing behind it comes through" {
  scattered one
  printf '\377' | dd of=one bs=1 seek=100000 conv=notrunc status=none
  run -4 bash -c 'blxpack <one >got'
  has 'the check does not agree'
  [[ $(abort_of got) == "4 "*"the check does not agree" ]] || fail "$(abort_of got)"
  [ "$(blxls -v got 2>&1 | grep -c COMMIT)" = 0 ]
}

@test "an ABORT goes through with its code and words" {
  for how in "" -d; do
    # shellcheck disable=SC2086
    run -3 bash -c "blxpack $how <'$DATA/aborted.stream' >got"
    [ "$output" = "blxpack: the sender failed: /dev/loop300: read at 8192: Input/output error" ]
    [ "$(abort_of got)" = "3 /dev/loop300: read at 8192: Input/output error" ]
  done
}

@test "an ABORT keeps its words along a pipe" {
  blxread </dev/null 2>/dev/null | blxpack 2>/dev/null | blxpack -d 2>/dev/null | blxpack 2>/dev/null >got || true
  [ "$(abort_of got)" = "4 empty input, not an extent list" ] || fail "$(abort_of got)"
}

@test "bytes after END make the stream bad" {
  cat "$DATA/example.stream" "$DATA/acks" >two
  run -4 bash -c 'blxpack <two >got'
  has 'at byte 278: bytes follow after END'
  [ "$(abort_of got)" = "4 at byte 278: bytes follow after END" ]
}

@test "streams in succession go through, packed and unpacked again" {
  cat "$DATA/small.stream" "$DATA/example.stream" "$DATA/packed.stream" >three
  blxpack <three >packed
  blxpack -d <packed >got
  blxpack -d <three >want
  cmp got want
  for name in small example packed; do blxpack <"$DATA/$name.stream"; done >want
  cmp packed want
}

@test "streams in succession that are cut or bad are exit 4, and the next stage is told" {
  cat "$DATA/example.stream" "$DATA/small.stream" >two
  size=$(stat -c %s two)
  for n in 280 300 400 $((size - 1)); do
    run -4 bash -c "head -c $n two | blxpack >got"
    has "cut at byte $n"
    [[ $(abort_of got) == "4 cut at byte $n"* ]] || fail "$(abort_of got)"
  done
  cat "$DATA/example.stream" "$DATA/aborted.stream" >two
  run -3 bash -c 'blxpack <two >got'
  [[ $(abort_of got) == "3 "* ]] || fail "$(abort_of got)"
}

@test "an empty input and an extent list are no streams" {
  run -4 bash -c 'blxpack </dev/null >got'
  [ "$output" = "blxpack: empty input, not a stream" ]
  run -4 bash -c "blxpack <'$DATA/small.list' >got"
  has 'is a blxread missing?'
}

# ---- bounds

@test "a limit on bytes a second is kept" {
  head -c 1M /dev/urandom >img
  blxread -a --whole img >one
  begun=$(date +%s%N)
  blxpack --rate 2M <one >got
  took=$((($(date +%s%N) - begun) / 1000000))
  [ "$took" -ge 400 ] || fail "1 MiB at 2 MiB/s took $took ms"
  cmp one got
}

@test "memory stays below 64 MiB at the default level and threads" {
  truncate -s 300M img
  for i in 10 70 130 190 250; do
    seq "$i" 5000000 | head -c 20M | dd of=img bs=1M seek="$i" conv=notrunc status=none
  done
  blxread -a --whole img >one
  python3 - <<'END'
import resource, subprocess
for argv, src, dst in (['blxpack'], 'one', 'packed'), (['blxpack', '-d'], 'packed', 'back'):
    subprocess.run(argv, stdin=open(src), stdout=open(dst, 'wb'), check=True)
kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
assert kib <= 65536, '%d KiB' % kib
END
  cmp one back
}

# ---- the command

@test "wrong command lines are refused" {
  for o in -0 -20 -190 "-T 0" "-T 65" "-T x" "--threads=1k" "--rate 0" "--rate 1.5" "--rate x" --nonsense file "''"; do
    # shellcheck disable=SC2086
    run -2 bash -c "blxpack $o <'$DATA/example.stream' >got"
    [ "${#lines[@]}" = 2 ] && [[ $output == "blxpack: "*$'\n'"Try 'blxpack --help'." ]] || fail "$o: $output"
    [ ! -s got ] || fail "$o: wrote"
  done
}

@test "an empty value is shown as one" {
  for o in --rate --threads; do
    run -2 blxpack "$o" '' <"$DATA/example.stream"
    has "blxpack: $o '': "
  done
}

@test "a terminal is no place for a stream" {
  run -2 script -qec "blxpack <'$DATA/example.stream'" /dev/null
  has 'standard output is a terminal'
  run -2 script -qec "blxpack >got" /dev/null
  has 'standard input is a terminal'
}

@test "--help names every option, --version the version" {
  run -0 --separate-stderr blxpack --help
  for o in -1 -19 -T --threads -d --decompress --rate --help --version; do has "$o"; done
  [ -z "$stderr" ]
  run -0 blxpack --version
  has 'blxpack (blx) '
}

@test "a full disk is an error" {
  run -3 bash -c "blxpack <'$DATA/example.stream' >/dev/full"
  has 'No space left on device'
  run -3 bash -c 'blxpack --help >/dev/full'
}
