# A machine of the local cloud as it comes, before anything of ours is on it: what Amazon Linux is on
# AWS. Debian with systemd as PID 1, its own cloud-init and sshd, and a mount helper for EFS.
FROM debian:trixie-slim

# hadolint ignore=DL3008
RUN apt-get -qq update \
    && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
        cloud-init \
        iproute2 \
        openssh-server \
        sudo \
        systemd-sysv \
    && rm -rf /var/cache/apt/* /var/lib/apt/lists/* /etc/ssh/ssh_host_*

COPY cloud.cfg machine.cfg /etc/cloud/
COPY mount.efs /sbin/

# An instance gets its own identity at its first boot. The rest shortens that boot: units for what the
# container's host does, and for a package update that did not happen.
RUN mv /etc/cloud/machine.cfg /etc/cloud/cloud.cfg.d/ \
    && : >/etc/machine-id \
    && systemctl mask dev-hugepages.mount dev-mqueue.mount getty.target sys-fs-fuse-connections.mount \
    && touch /etc/.updated /var/.updated

STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
