# shellcheck shell=bash
# A real sshd on loopback with keys and configuration of its own, for the demo and the tests. Sourced.

# sshd_start DIR PATH [authorized_keys options]: as the host `backup` of DIR/config (ssh -F). Commands run with PATH.
# Sets SSHD_PID. 1 if there is no sshd or it does not take us.
sshd_start() {
  local dir=$1 path=$2 options=${3:-} sshd port try
  sshd=$(PATH=$PATH:/usr/sbin command -v sshd) || return 1
  mkdir -p "$dir" /run/sshd || return 1
  chmod 700 "$dir"
  ssh-keygen -q -t ed25519 -N '' -f "$dir/host_key" </dev/null || return 1
  ssh-keygen -q -t ed25519 -N '' -f "$dir/client_key" </dev/null || return 1
  printf '%s%s\n' "${options:+$options }" "$(<"$dir/client_key.pub")" >"$dir/authorized_keys"
  for try in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 12000))
    sshd_config "$dir" "$path" "$port"
    "$sshd" -D -e -f "$dir/sshd_config" </dev/null 2>"$dir/sshd.log" &
    SSHD_PID=$!
    ! sshd_answers "$dir" || return 0
    sshd_stop
  done
  return 1
}

sshd_config() {
  local dir=$1 path=$2 port=$3
  cat >"$dir/sshd_config" <<END
ListenAddress 127.0.0.1
Port $port
HostKey $dir/host_key
PidFile none
AuthorizedKeysFile $dir/authorized_keys
StrictModes no
PasswordAuthentication no
PermitRootLogin yes
UsePAM no
SetEnv PATH=$path
END
  cat >"$dir/config" <<END
Host backup
  HostName 127.0.0.1
  Port $port
  User $(id -un)
  IdentityFile $dir/client_key
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  BatchMode yes
END
}

# sshd_answers DIR: within five seconds it listens; a login is not tried, as a forced command may not like that.
sshd_answers() {
  local try
  for try in {1..100}; do
    grep -q '^Server listening' "$1/sshd.log" && return 0
    kill -0 "$SSHD_PID" 2>/dev/null || return 1
    sleep 0.05
  done
  return 1
}

sshd_stop() {
  [ -z "${SSHD_PID:-}" ] || kill "$SSHD_PID" 2>/dev/null || true
  [ -z "${SSHD_PID:-}" ] || wait "$SSHD_PID" 2>/dev/null || true
  SSHD_PID=
}
