#!/bin/sh
# Renders job number $1 of 1 to 4. After exit code 75 or a kill the same call continues it.
cd /shared/film || exit 74
case "$1" in
  1) set -- scope-batch render night.yaml --sweep 'seed=[42]' --sweep 'prompt=["a harbour at night, lanterns on the water"]' --resume --progress plain ;;
  2) set -- scope-batch render night.yaml --sweep 'seed=[42]' --sweep 'prompt=["a harbour in the rain"]' --resume --progress plain ;;
  3) set -- scope-batch render night.yaml --sweep 'seed=[1042]' --sweep 'prompt=["a harbour at night, lanterns on the water"]' --resume --progress plain ;;
  4) set -- scope-batch render night.yaml --sweep 'seed=[1042]' --sweep 'prompt=["a harbour in the rain"]' --resume --progress plain ;;
  *) echo "render.sh: there is no job $1, only 1 to 4" >&2; exit 2 ;;
esac
exec "$@"
