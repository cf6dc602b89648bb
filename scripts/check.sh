#!/usr/bin/env bash
# Everything that a change must pass: format, lint, types, walls between rooms, the quick tests.
# --all runs the slow tests too, and --static runs none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ruff format --check .
ruff check .
mypy
lint-imports
case "${1:-}" in
    --static) ;;
    --all) pytest ;;
    *) pytest -m "not slow" ;;
esac
