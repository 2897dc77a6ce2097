#!/bin/bash
# As interop.sh, under KVM where the host has it.
[ -r /dev/kvm ] && [ -w /dev/kvm ] || exit 77
INTEROP_ACCELS=kvm exec "$(dirname "$0")/interop.sh"
