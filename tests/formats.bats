# SPDX-License-Identifier: BSD-2-Clause
# The formats, against files that do not change, and against a reader and writer that share no code with blx.

load lib

DATA=$BATS_TEST_DIRNAME/data
OTHER=$BATS_TEST_DIRNAME/formats/blxformat.py

setup() {
  cd "$BATS_TEST_TMPDIR" || return
}

# between PAGE FIRST LAST: the literal lines of a page in section 5 from one that begins with FIRST to one with LAST.
between() {
  awk -v first="$2" -v last="$3" '
    index($0, first) == 1 { on = 1 }
    on { gsub(/\\e/, "\\"); sub(/^\\&/, ""); print }
    on && index($0, last) == 1 { exit }' "$TOP/man/$1"
}

@test "the other writer makes the golden streams, byte for byte" {
  for name in example small packed bad aborted optional; do
    python3 "$OTHER" golden "$name" | cmp - "$DATA/$name.stream" || fail "$name"
  done
}

@test "blxls -v says of the golden streams what the golden texts say" {
  for name in example small packed bad optional; do
    blxls -v "$DATA/$name.stream" | diff "$DATA/$name.text" - || fail "$name"
  done
  run -4 --separate-stderr blxls -v "$DATA/aborted.stream"
  diff "$DATA/aborted.text" - <<<"$output"
}

@test "the other reader says the same of them" {
  for name in example small packed bad optional; do
    python3 "$OTHER" text <"$DATA/$name.stream" | diff "$DATA/$name.text" - || fail "$name"
  done
  run -4 python3 "$OTHER" text <"$DATA/aborted.stream"
  has 'aborted: /dev/loop300: read at 8192: Input/output error'
}

@test "what blxpack writes is, to the other reader, the stream that went in" {
  for name in example small packed bad; do
    blxpack <"$DATA/$name.stream" >packed
    python3 "$OTHER" text <packed | sed 's/^ *[0-9]* //; s/^+//' | grep -v '^PACK' >got
    sed 's/^ *[0-9]* //; s/^+//' "$DATA/$name.text" | grep -v '^PACK' | diff - got || fail "$name"
  done
}

@test "the other reader refuses what blxls refuses" {
  for at in 0 8 20 40 469 500 600 1000 1500 1800 1896; do
    head -c "$at" "$DATA/small.stream" >cut
    run -4 python3 "$OTHER" text <cut
    run -4 blxls --check cut
  done
}

@test "the hex example of blx-stream(5) is the golden stream" {
  between blx-stream.5 00000000 00000116 >page
  hexdump -Cv "$DATA/example.stream" | diff page -
}

@test "the text example of blx-stream(5) is what blxls -v says of it" {
  between blx-stream.5 "           0 MAGIC" "         214 END" | diff - <(blxls -v "$DATA/example.stream")
}

@test "blx-stream(5) names the checks and digests of its example" {
  python3 - "$DATA/example.stream" "$TOP/man/blx-stream.5" <<'END'
import struct, sys
b, page = open(sys.argv[1], 'rb').read(), open(sys.argv[2]).read()
for at in 8 + 24, 70 + 24, 118 + 24, 150 + 56, 214 + 56:
    assert '%016x' % struct.unpack_from('<Q', b, at)[0] in page, at
END
}

@test "the list example of blx-extents(5) is a list" {
  between blx-extents.5 "# blx-extents 1" "# end: " >list
  run -5 bash -c 'blxread <list >got'
  # whether or not this machine has a device of that number
  [[ $output == *7:300* || $output == *loop300* ]] || fail "$output"
  truncate -s 1M image
  grep -vE '^# (lineage|device|name|diskseq|block|consumer|base|cursor|epoch|chain):' list >anonymous
  blxread -a image <anonymous | blxls | diff anonymous -
  sed -i 's/^# end: 2/# end: 3/' anonymous
  run -4 bash -c 'blxread -a image <anonymous >got'
  [[ $output == *'line 6: the counts do not agree, end: 2 12288 expected: # end: 3 12288' ]] || fail "$output"
}

@test "the acks of blx-acks(5) are acks" {
  [ "$(between blx-acks.5 'blx-ack 1 done lineage=' '  consumer=' | tr -d '\\\n' | tr -s ' ')" = "$(head -n 1 "$DATA/acks")" ]
  grep -qxF "$(between blx-acks.5 'blx-ack 1 failed code=4' 'blx-ack 1 failed code=4')" "$DATA/acks"
}
