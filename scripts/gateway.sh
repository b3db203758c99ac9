# Sourced by scripts that need a running gateway: starts one on free ports and stops it by its process id.
#
#   gateway_secret             sets gateway_secret, a new one
#   gateway_config FILE        writes settings for measuring: one loop, one worker, tokens signed with that secret by the key `load`
#   two_cores                  sets core_first and core_last, the first and the last core that this shell may use
#   gateway_start COMMAND...   sets gateway_pid, gateway_agents, gateway_control and gateway_link (ADDRESS:PORT), or fails
#   gateway_stop               ends it without a drain; harmless when none runs
#
# Every user sets a trap: trap gateway_stop EXIT

gateway_pid=
gateway_agents=
gateway_control=
gateway_link=
gateway_folder=
gateway_secret=
core_first=
core_last=

gateway_secret() {
  gateway_secret=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
}

gateway_config() {
  cat >"$1" <<TOML
[server]
loops = 1
workers = 1

[log]
level = "warn"

[[auth.keys]]
id = "load"
algorithm = "HS256"
secret = "$gateway_secret"
TOML
}

two_cores() {
  local cores
  cores=$(taskset -cp $$ | sed 's/.*: //')
  core_first=${cores%%[,-]*}
  core_last=${cores##*[,-]}
}

gateway_start() {
  local ready= _
  gateway_folder=$(mktemp -d)
  "$@" --listen 127.0.0.1:0 --control 127.0.0.1:0 --link 127.0.0.1:0 >"$gateway_folder/out" 2>"$gateway_folder/log" &
  gateway_pid=$!
  for _ in $(seq 100); do
    # -s: on a busy machine the background job may not have made the file yet.
    ready=$(grep -s '^ready agents=' "$gateway_folder/out" || true)
    [ -z "$ready" ] || break
    if ! kill -0 "$gateway_pid" 2>/dev/null; then
      echo "the gateway did not start:" >&2
      cat "$gateway_folder/log" >&2
      return 1
    fi
    sleep 0.1
  done
  if [ -z "$ready" ]; then
    echo "the gateway was not ready in 10 s" >&2
    return 1
  fi
  gateway_agents=${ready#ready agents=}
  gateway_agents=${gateway_agents%% *}
  gateway_control=${ready##*control=}
  gateway_control=${gateway_control%% *}
  gateway_link=${ready##*link=}
  gateway_link=${gateway_link%% *}
}

gateway_stop() {
  if [ -n "$gateway_pid" ]; then
    kill -9 "$gateway_pid" 2>/dev/null || true
    wait "$gateway_pid" 2>/dev/null || true
    gateway_pid=
  fi
  [ -z "$gateway_folder" ] || rm -rf "$gateway_folder"
  gateway_folder=
}
