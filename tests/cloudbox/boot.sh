# The first process of a host. Its parameters come as variables; descriptor $LIFE ends when the test process is gone.
set -e
read -r outer _ < /proc/self/stat
echo "pid $outer"
mount -t overlay overlay -o lowerdir=/,upperdir="$DISK/upper",workdir="$DISK/work" "$NEW_ROOT"
cd "$NEW_ROOT"
mkdir -p proc dev sys tmp run .old
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
if [ -d /sys/fs/cgroup/memory ]; then
  mount -t tmpfs -o mode=755,size=64k tmpfs sys/fs/cgroup
  mkdir sys/fs/cgroup/memory
  mount -t cgroup -o memory cgroup sys/fs/cgroup/memory
else
  mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
mount -t tmpfs -o mode=755,size=1m tmpfs dev
for node in null zero full random urandom tty; do touch "dev/$node"; mount --bind "/dev/$node" "dev/$node"; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=1777,size=128m tmpfs dev/shm
mount -t tmpfs -o mode=1777,size=256m tmpfs tmp
mount -t tmpfs -o mode=755,size=16m tmpfs run
mkdir run/sshd
IFS=:
for shared in $SHARE; do
  mkdir -p "./$shared"
  mount --bind "$shared" "./$shared"
  mount -o remount,bind,ro "./$shared"
done
unset IFS
pivot_root . .old
umount -l /.old
hostname "$HOST_NAME"
ip link set lo up
export HOME=/root
if [ -n "$START_SSHD" ]; then
  /usr/sbin/sshd -f /etc/ssh/sshd_config -E /var/log/sshd.log {LIFE}<&-
  until [ -s /run/sshd.pid ]; do sleep 0.01; done
fi
echo ready
exec > /dev/null
set +e
while read -r _ <&"$LIFE"; do :; done
