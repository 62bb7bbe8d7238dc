#!/bin/sh
# Boots firmware in QEMU with arguments. Its exit status is that of the firmware.
firmware=$1
shift
words="enable=on,target=native,arg=firmware"
for word; do words="$words,arg=$word"; done
exec qemu-system-arm -M lm3s6965evb -nographic -monitor none -serial none -semihosting-config "$words" \
  -nic user,model=stellaris,net=192.0.2.0/24,host=192.0.2.2 -kernel "$firmware" </dev/null
