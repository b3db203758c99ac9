# Sourced by scripts that build: puts cargo on the PATH, and ends the script with advice where Rust or a C compiler is missing.

if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
  # rustup installs it here, and a shell that was open before does not know.
  PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi
if ! command -v cargo >/dev/null; then
  echo "$0: cargo is missing. Install Rust from https://rustup.rs (or your distribution's rustup), then run this again." >&2
  exit 1
fi
# aws-lc (cryptography) is C code.
if ! command -v "${CC:-cc}" >/dev/null; then
  echo "$0: a C compiler is missing. Install one (Debian, Ubuntu: apt install build-essential), then run this again." >&2
  exit 1
fi
