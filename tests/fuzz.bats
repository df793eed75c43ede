# SPDX-License-Identifier: BSD-2-Clause
# What the fuzzers began with and what they found, through the same targets (make fuzz looks for more).

load lib

FUZZ=${BLX_BIN:-$TOP/build/bin}/../fuzz

# kept NAME: every input that is kept goes through.
kept() {
  run -0 "$FUZZ/kept-$1" "$BATS_TEST_DIRNAME/fuzz/corpus/$1"/*
  [ "$output" = "$(find "$BATS_TEST_DIRNAME/fuzz/corpus/$1" -type f | wc -l) inputs" ]
}

@test "extent lists that were kept" {
  kept list
}

@test "headers that were kept" {
  kept head
}

@test "acks that were kept" {
  kept ack
}

@test "streams that were kept" {
  kept stream
}

@test "digest lists that were kept" {
  kept digests
}

@test "tree comparisons that were kept" {
  kept tree
}

@test "applied streams that were kept" {
  kept apply
}

@test "records that were kept" {
  kept records
}

@test "files of the tracker that were kept" {
  kept track
}

@test "what blxtls parses, as it was kept" {
  kept tls
}
