# Sourced by scripts that need programs from Debian packages: installs what is missing, where there is apt-get.
#
#   need PROGRAM PACKAGES ADVICE   a program that is missing is installed, else asked for; fails when it is still missing
#   install_packages PACKAGES      nothing happens where packages cannot be installed
#   update_packages                reads the lists of packages anew; nothing happens where that is not possible

need() {
  command -v "$1" >/dev/null || install_packages "$2"
  command -v "$1" >/dev/null || { echo "$1 is missing: $3" >&2; return 1; }
}

install_packages() {
  # Unquoted: several names.
  update_packages && as_root apt-get -qq install -y --no-install-recommends $1 || return 0
}

update_packages() {
  command -v apt-get >/dev/null || return 0
  as_root apt-get -qq update
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    DEBIAN_FRONTEND=noninteractive "$@"
  else
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  fi
}
