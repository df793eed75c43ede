# shellcheck shell=bash
# Completion for all blx programs: options out of their own --help, so that it cannot be older than they are.

_blx_options() {
  "$@" --help 2>/dev/null | grep -oE -- '(^|[ ,[|])--?[A-Za-z][a-z-]*' | tr -d ' ,[|' | sort -u
}

_blx_devices() {
  compgen -f -- "$1" | while read -r path; do
    if [ -b "$path" ] || [ -d "$path" ]; then echo "$path"; fi
  done
}

_blxtrack() {
  local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}
  local commands='start stop save drain commit run consumer resync follow status upgrade'
  if [ "$COMP_CWORD" = 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$current")
  elif [ "$command" = consumer ] && [ "$COMP_CWORD" = 2 ]; then
    mapfile -t COMPREPLY < <(compgen -W 'add remove reset list' -- "$current")
  elif [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_blx_options blxtrack "$command")" -- "$current")
  else
    mapfile -t COMPREPLY < <(_blx_devices "$current")
  fi
}

_blx_filter() {
  local current=${COMP_WORDS[COMP_CWORD]}
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_blx_options "${COMP_WORDS[0]}")" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}

_blxtls() {
  local current=${COMP_WORDS[COMP_CWORD]}
  if [ "$COMP_CWORD" = 1 ] && [[ $current != -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'keygen fingerprint' -- "$current")
  else
    _blx_filter
  fi
}

complete -o filenames -F _blxtrack blxtrack
complete -o filenames -F _blxtls blxtls
complete -o filenames -F _blx_filter blxread blxpack blxapply blxls blxused blxsum
