FROM debian:trixie-slim
COPY probe.pl /
VOLUME /tmp
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/perl", "/probe.pl"]
