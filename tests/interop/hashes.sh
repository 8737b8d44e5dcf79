# Sourced by `run`: makes password hashes with the libraries of other systems, and logs in with them. The output is that of
# hashes/check.py, in hashes.out.
for name in make make_passlib; do
    python3 -m venv "venv-$name"
done
pip_install=(install --quiet --disable-pip-version-check --no-input -r)
venv-make/bin/pip "${pip_install[@]}" "$here/hashes/requirements.txt" >hashes-pip.log
venv-make_passlib/bin/pip "${pip_install[@]}" "$here/hashes/requirements-passlib.txt" >>hashes-pip.log
for name in make make_passlib; do
    "venv-$name/bin/python" "$here/hashes/$name.py" >"$name.jsonl" 2>"$name.log"
done
python3 "$here/hashes/check.py" make.jsonl make_passlib.jsonl >hashes.out || true
