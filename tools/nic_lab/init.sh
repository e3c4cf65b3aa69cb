#!/bin/busybox sh
# The guest's first process: finds the NICs, then runs what comes over the second serial port, job by job.
#   a job    one line: the most seconds that it may take, and a script in base64
#   a reply  one line of JSON; what the job printed is in it, by gzip and base64
/bin/busybox mkdir -p /sbin /lib/modules
/bin/busybox --install -s /sbin
export PATH=/bin:/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount --make-rshared /run
chmod 1777 /tmp
ln -s /modules "/lib/modules/$(uname -r)"
for module in igb e1000e virtio_pci virtio_net vmxnet3 8021q veth; do modprobe $module; done

# nic0 and nic1 by their addresses (machine.py), in the order of sides: names by the kernel depend on who came first.
for device in /sys/class/net/*; do
    case $(cat "$device/address") in
    02:00:00:00:00:0*) ip link set "${device##*/}" name nic$(($(cut -d: -f6 "$device/address") - 1)) ;;
    esac
done
ip link set lo up

if grep -q nic_lab.shell /proc/cmdline; then
    for nic in nic0 nic1; do ip link set $nic up; done
    echo "nic0 and nic1 are cabled; leave with: poweroff -f"
    ENV=/jobs.sh exec setsid cttyhack sh
fi

packed() { gzip -c "$1" | base64 -w 0; }
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
read -r up _ </proc/uptime
echo "{\"kernel\":\"$(uname -r)\",\"up_s\":$up,\"clock\":\"$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)\"}" >&3
# Not by `read`: a child's end interrupts busybox's, which then forgets what it has of the line.
while line=$(head -n 1 <&3); do
    limit=${line%% *} job=${line#* }
    { cat /jobs.sh && echo "$job" | base64 -d; } >/tmp/job
    read -r from _ </proc/uptime
    timeout -s INT -k 10 "$limit" sh /tmp/job >/tmp/out 2>/tmp/err </dev/null 3>&-
    code=$?
    read -r to _ </proc/uptime
    echo "{\"code\":$code,\"from_s\":$from,\"to_s\":$to,\"out\":\"$(packed /tmp/out)\",\"err\":\"$(packed /tmp/err)\"}" >&3
done
