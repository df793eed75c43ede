# SPDX-License-Identifier: BSD-2-Clause
# A short torture (make torture goes on for longer): MINUTES and SEED as there.

load lib

@test "replicas are equal at every quiet point, whatever was killed, cut, full or begun anew" {
  run -0 --separate-stderr "$BATS_TEST_DIRNAME/torture" --minutes "${MINUTES:-2}" ${SEED:+--seed "$SEED"}
  echo "# $output" >&3
  # shellcheck disable=SC2154 # of run
  echo "$stderr"
  [[ $output == *" 0 mismatches, 0 other failures, "* ]]
}
