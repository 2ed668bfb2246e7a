#!/bin/sh
# Runs a command as `mpirun` would on two machines: two network namespaces, joined by a bridge, with
# host names of their own. To be started in namespaces of its own:
#   unshare --user --map-root-user --net --mount sh hosts.sh COMMAND...
set -e
mount -t tmpfs tmpfs /run
mkdir /run/agent
cat >/run/agent/rsh <<'END'
#!/bin/sh
host=$1
shift
exec ip netns exec "host${host##*.}" unshare --uts sh -c "hostname host${host##*.}; $*"
END
chmod +x /run/agent/rsh
ip link set lo up
ip link add bridge type bridge
ip address add 10.77.0.254/24 dev bridge
ip link set bridge up
for host in 1 2; do
    ip netns add "host$host"
    ip link add "outer$host" type veth peer name "inner$host" netns "host$host"
    ip link set "outer$host" master bridge up
    ip -n "host$host" address add "10.77.0.$host/24" dev "inner$host"
    ip -n "host$host" link set "inner$host" up
    ip -n "host$host" link set lo up
done
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec mpirun --mca plm_rsh_agent /run/agent/rsh --mca btl tcp,self \
    --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
    --host 10.77.0.1,10.77.0.2 -n 2 "$@"
