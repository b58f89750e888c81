#!/usr/bin/env bash
# sympy 1.14.0: the remainder of a remainder has the wrong value. For an integer symbol j, Mod(Mod(2*j, 8), 5) becomes
# Mod(2*Mod(j, 4)**2, 5): the factor Mod(j, 4) is squared. At j = 3 this is 3, but (2*3 % 8) % 5 is 1.
# Seen: the value is wrong at 20 of the integers from 0 to 39. This script fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "sympy==1.14.0"
"$folder/venv/bin/python" - <<'PYTHON'
import sympy

j = sympy.Symbol("j", integer=True)
found = sympy.Mod(sympy.Mod(2 * j, 8), 5)
wrong = [n for n in range(40) if found.subs(j, n) != 2 * n % 8 % 5]
print(sympy.__version__, found, "at 3:", found.subs(j, 3), "for", 2 * 3 % 8 % 5, "; wrong at", len(wrong), "of 40")
assert str(found) == "Mod(2*(Mod(j, 4))**2, 5)"
assert len(wrong) == 20
PYTHON
