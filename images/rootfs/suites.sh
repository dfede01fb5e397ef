#!/bin/sh
# Lets apt look into Debian's backports, for the packages that a list asks of them by PACKAGE/SUITE.
# Both ways of building run it, before apt's first look: `suites.sh ROOT`.
set -eu
apt=${1%/}/etc/apt

# mmdebstrap writes lines, Debian's container images paragraphs.
if [ -s "$apt/sources.list" ]; then
    sed -n 's/ trixie main/ trixie-backports main/p' "$apt/sources.list" \
        >"$apt/sources.list.d/backports.list"
else
    sed -i 's/^Suites: trixie .*/& trixie-backports/' "$apt/sources.list.d/debian.sources"
fi
