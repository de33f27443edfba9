FROM debian:trixie-slim
COPY extension.pl /opt/extensions/
COPY function.pl /
USER 1000
ENTRYPOINT ["/usr/bin/perl", "/function.pl"]
CMD ["from-cmd"]
