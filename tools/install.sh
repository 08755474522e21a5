#!/bin/sh
# Install this checkout, editable and with the extras named, into .venv, which is made where there is none.
# usage: tools/install.sh EXTRA[,EXTRA…]        VENV and PYTHON in the environment choose others.
set -eu
cd "$(dirname "$0")/.."
extras=$1
venv=${VENV:-.venv}
python=${PYTHON:-python3}
link="$venv/share/jupyter/labextensions/jupyter-cloudml"

works() { command -v "$1" >/dev/null 2>&1 && "$1" --version >/dev/null 2>&1; }

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "$python is missing or older than Python 3.10. Install a newer one, or name it: make PYTHON=/path/to/python3.11" >&2
    exit 1
fi
if [ ! -x "$venv/bin/python" ]; then
    echo "Making $venv"
    if works uv; then
        uv venv --quiet --python "$("$python" -c 'import sys; print(sys.executable)')" "$venv"
    elif ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        echo "$python cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
fi

# uv installs some ten times faster than pip; either will do.
if works uv; then
    set -- uv pip install --override tools/overrides.txt --python "$venv/bin/python"
elif "$venv/bin/python" -m pip install --quiet uv; then
    set -- "$venv/bin/uv" pip install --override tools/overrides.txt --python "$venv/bin/python"
else
    set -- "$venv/bin/python" -m pip install
fi
# Through the link below an installer would write to, and delete from, the built assets themselves.
if [ -L "$link" ]; then rm "$link"; fi
"$@" --editable ".[$extras]"

# An editable install copies the Lab assets; a link shows what was built last.
rm -rf "$link"
mkdir -p "$(dirname "$link")"
ln -s "$PWD/jupyter_cloudml/labextension" "$link"
