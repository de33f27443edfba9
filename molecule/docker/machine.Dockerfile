# A machine as it comes, with systemd as PID 1 and what Ansible needs.
ARG BASE
# hadolint ignore=DL3006
FROM ${BASE}

# The package lists stay, as on any machine.
# hadolint ignore=DL3008,DL3009
RUN apt-get -qq update \
    && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
        iproute2 \
        procps \
        python3 \
        systemd-sysv \
    && systemctl mask dev-hugepages.mount dev-mqueue.mount getty.target sys-fs-fuse-connections.mount \
    && touch /etc/.updated /var/.updated

STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
