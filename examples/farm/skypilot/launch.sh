#!/bin/sh
# Launches every job as a managed job of its own; call it in the folder that holds the jobs.
for job in $(seq 1 4); do
  sky jobs launch --yes --async --name "night-$job" --env "JOB=$job" "$(dirname "$0")/night.yaml" || exit
done
