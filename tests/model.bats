#!/usr/bin/env bats
# The model of tracking by bio: right as it is, and able to see what is wrong.

load lib

@test "no state of the model loses a write" {
  run -0 "$BATS_TEST_DIRNAME/model/inflight.py"
  has "none loses a write"
}

@test "the model sees each broken variant lose one" {
  for variant in no-carry carry-early mark-first forget-first; do
    run -1 "$BATS_TEST_DIRNAME/model/inflight.py" $variant
    has "LOST after"
  done
}

@test "nor does what could not be read, or is listed again" {
  run -0 "$BATS_TEST_DIRNAME/model/again.py"
  has "none loses a write"
  for variant in forget-unread no-epoch ack-without-unread; do
    run -1 "$BATS_TEST_DIRNAME/model/again.py" $variant
    has "LOST after"
  done
}

@test "nor does a history that outlives a reboot" {
  run -0 "$BATS_TEST_DIRNAME/model/saved.py"
  has "none loses a write"
  for variant in keep-fresh use-up-late no-statistics no-samples writable writable-first no-forgo moved; do
    run -1 "$BATS_TEST_DIRNAME/model/saved.py" $variant
    has "LOST after"
  done
}
