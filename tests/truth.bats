#!/usr/bin/env bats
# The pipeline's truth: whichever stage fails, and however, `run` and `commit` say so with the documented code, in time; the
# position stays, and the next run mends it.

load lib

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  INJECT=${BLX_BUILD:-$TOP/build}/tools/inject
  export INJECT
  loop_new 8M
  dd if=/dev/urandom of="$DEV" bs=1M count=8 oflag=direct conv=notrunc status=none
  blxtrack start "$DEV" 2>/dev/null
}

teardown() {
  local pid
  while read -r pid; do kill -9 "$pid" 2>/dev/null || true; done < <(cat pids 2>/dev/null)
  umount full 2>/dev/null || true
  blxtrack stop --force "$DEV" 2>/dev/null || true
  loops_done
}

# A first copy, and then a change: from here on `replica` is at epoch 1, and the disk is not.
copied() {
  blxtrack run "$DEV" -- sh -c 'blxread | blxpack | blxapply --ack replica'
  dd if=/dev/urandom of="$DEV" bs=64K count=16 seek=7 oflag=direct conv=notrunc status=none
}

# says CODE WORDS COMMAND: `run` of the shell's COMMAND ends with the code and words; nothing was acked, and the next is whole.
says() {
  local code=$1 words=$2 before after
  before=$(blxtrack consumer list "$DEV")
  run "-$code" timeout -k 5 30 blxtrack run --timeout 5 "$DEV" -- sh -c "$3"
  has "$words"
  after=$(blxtrack consumer list "$DEV")
  [ "$before" = "$after" ] || fail "it was $before, it is $after"
}

mended() {
  run -0 blxtrack run "$DEV" -- sh -c 'blxread | blxpack | blxapply --ack replica'
  cmp "$DEV" replica
}

@test "a stage that is killed is told: 4 by the receiver where the stream was cut, 3 where nobody acked" {
  local n
  copied
  for n in 1 3 5; do
    says 4 "the receiver: " "'$INJECT' -e write,writev,pwrite64 -n $n -f kill -- blxread | blxpack | blxapply --ack replica"
    says 4 "the receiver: " "blxread | '$INJECT' -e write,writev,pwrite64 -n $n -f kill -- blxpack | blxapply --ack replica"
  done
  for n in 1 4 8; do
    says 3 "the pipe ended without an ack" "blxread | blxpack | '$INJECT' -n $n -f kill -- blxapply --ack replica"
  done
  says 3 "the pipe ended without an ack" "blxread | blxpack | blxapply --ack replica | '$INJECT' -e write -n 1 -f kill -- cat"
  says 3 "was killed by signal 9" 'kill -9 $$'
  mended
}

@test "a stage that has no room is told" {
  copied
  says 4 "the receiver: " "'$INJECT' -e write,writev -n 2 -f ENOSPC -- blxread | blxpack | blxapply --ack replica"
  says 4 "the receiver: " "blxread | '$INJECT' -e write,writev -n 2 -f ENOSPC -- blxpack | blxapply --ack replica"
  says 3 "No space left on device" "blxread | blxpack | '$INJECT' -e pwrite64,fallocate,write -n 1 -f ENOSPC -- blxapply --ack replica"
  says 3 "the pipe ended without an ack" 'blxread | blxpack | blxapply replica'
  mended
}

@test "a replica's file system that is full is told, and the copy goes on when there is room" {
  mkdir full
  mount -t tmpfs -o size=4m tmpfs full
  run -3 timeout -k 5 30 blxtrack run --timeout 5 "$DEV" -- sh -c 'blxread | blxapply --ack full/replica'
  has "the receiver: "
  has "No space left on device"
  mount -o remount,size=20m full
  run -0 blxtrack run "$DEV" -- sh -c 'blxread | blxapply --ack full/replica'
  cmp "$DEV" full/replica
}

@test "a wire that is cut at any place is 4, and what was acked before stays" {
  local bytes
  copied
  for bytes in 0 1 8 40 300 4096 70000 1000000; do
    says 4 "the receiver: " "blxread | head -c $bytes | blxapply --ack replica"
  done
  says 3 "the pipe ended without an ack" "blxread | blxapply --ack >/dev/null replica.other"
  mended
}

@test "acks that are cut, or stand below a login's banner, are 4" {
  copied
  says 4 "cut: no newline at its end" "blxread | blxapply --ack replica | head -c 30"
  # it has been applied: the ack comes again
  run -4 blxtrack run --timeout 5 "$DEV" -- sh -c 'echo "Welcome to backup."; blxread | blxapply --ack replica'
  has "acks, line 1: not an ack: Welcome to backup."
  mended
}

# ended_all: of those that wrote their numbers to `pids` nobody is left.
ended_all() {
  local pid
  while read -r pid; do
    ! kill -0 "$pid" 2>/dev/null || return 1
  done <pids
}

@test "a receiver that hangs is given up after --timeout, and ends, whatever it does about signals" {
  copied
  for stubborn in 'echo $$ >>pids; exec sleep 60' \
    'trap "" TERM HUP INT; echo $$ >>pids; while :; do sleep 1; done' \
    'setsid sh -c "trap \"\" TERM; echo \$\$ >>pids; while :; do sleep 1; done" & echo $! >>pids; cat >/dev/null; sleep 60' \
    'sh -c "echo \$\$ >>pids; kill -STOP \$\$"; sleep 60'; do
    : >pids
    run -3 timeout -k 5 40 blxtrack run --timeout 1 "$DEV" -- sh -c "$stubborn"
    has "no line came within 1 s"
    [ -s pids ]
    await ended_all
  done
  mended
}

@test "commit gives up after --timeout, while nobody acks and when somebody began to" {
  mkfifo wire
  timeout 30 sleep 30 >wire 3>&- &
  echo $! >>pids
  run -3 timeout -k 5 20 blxtrack commit --timeout 1 "$DEV" <wire
  has "no line came within 1 s"
  { printf 'blx-ack 1 do'; exec timeout 30 sleep 30; } >wire 3>&- &
  echo $! >>pids
  run -3 timeout -k 5 20 blxtrack commit --timeout 1 "$DEV" <wire
  has "no line came within 1 s"
}

@test "a receiver gives up after --timeout where the stream does not go on" {
  local bytes
  blxtrack drain "$DEV" | blxread >stream
  for bytes in 0 20 300 100000; do
    run -3 timeout -k 5 20 blxapply --timeout 1 --ack replica < <(
      exec 3>&-
      head -c $bytes stream
      echo $BASHPID >>pids
      exec sleep 20
    )
    has "no input for 1 s"
  done
  run -0 blxapply --timeout 5 --ack replica <stream
}

# On a network of its own, which goes away in the middle.
@test "a wire that is half open: both ends give up in time, and the next run goes on" {
  cat >both <<'S'
set -e
ip link set lo up
ncat -l 127.0.0.1 7788 -c 'blxapply --timeout 2 --ack replica 2>words; echo $? >code' &
listener=$!
for i in $(seq 100); do
  ss -ltn | grep -q :7788 && break
  sleep 0.1
done
blxtrack run --timeout 4 "$DEV" -- sh -c 'blxread --rate 1M | ncat --no-shutdown 127.0.0.1 7788' 2>sender &
sender=$!
for i in $(seq 100); do
  [ -s replica ] && break
  sleep 0.1
done
ip link set lo down
code=0
wait $sender || code=$?
echo "sender $code"
wait $listener || true
echo "receiver $(cat code)"
S
  export DEV
  run -0 timeout -k 5 60 unshare --net bash both 3>&-
  has "sender 3"
  has "receiver 3"
  run -0 cat words
  has "no input for 2 s"
  run -0 cat sender
  has "no line came within 4 s"
  mended
}
