#!/bin/bash
# What writes while the demo replicates: files that come and go, fio, a database. Usage: workload.sh DIR
# It runs until DIR/../stop exists, and ends by itself after ten minutes.
set -u
dir=$1 stop=$1/../stop

go_on() {
  [ ! -e "$stop" ] && [ "$SECONDS" -lt 600 ]
}

files() {
  local n=0
  mkdir -p "$dir/files"
  while go_on; do
    n=$((n + 1))
    mkdir "$dir/files/$n"
    head -c $((RANDOM % 300000)) /dev/urandom >"$dir/files/$n/random"
    seq $((n * 1000)) $((n * 1000 + RANDOM)) >"$dir/files/$n/numbers"
    rm -rf "$dir/files/$((n - 40))"
    sleep 0.1
  done
}

random_writes() {
  while go_on; do
    fio --name=demo --filename="$dir/fio.data" --size=64M --rw=randwrite --bs=4k --ioengine=psync --fdatasync=32 \
      --rate_iops=400 --time_based --runtime=2 --buffer_compress_percentage=50 >/dev/null 2>&1 || return
  done
}

database() {
  sqlite3 "$dir/app.db" 'create table if not exists event (id integer primary key, at text, what blob)'
  while go_on; do
    sqlite3 "$dir/app.db" "with recursive n(i) as (values(1) union all select i + 1 from n where i < 50)
      insert into event (at, what) select datetime(), randomblob(200) from n;
      delete from event where id % 7 = 0;"
    sleep 0.1
  done
}

files &
random_writes &
database &
wait
