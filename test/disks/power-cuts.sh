# Part of guest.sh, in a machine that writes an image to its disk: $NAME is the program, and its
# variables are in the environment, all from the kernel's command line.

ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
while [ ! -b "$DEST_DISK" ]; do sleep 0.1; done
if [ "$NAME" = flatcar-install ]; then
	wget -q -O /key.asc "$MIRROR/key.asc"
	flatcar-install -d "$DEST_DISK" -b "$MIRROR" -k /key.asc
else
	"$NAME"
fi
echo "EXIT $?"
poweroff -f
