# On top of the toolchain: what compiles native programs for arm64 on amd64.
ARG BUILDER_IMAGE
# hadolint ignore=DL3006
FROM ${BUILDER_IMAGE}

ARG RUST_VERSION
# hadolint ignore=DL3008
RUN dpkg --add-architecture arm64 \
 && apt-get update \
 && apt-get install --yes --no-install-recommends \
      gcc-aarch64-linux-gnu \
      libc6-dev-arm64-cross \
      "libstd-rust-dev:arm64=${RUST_VERSION}*" \
 && rm -rf /var/cache/apt/* /var/lib/apt/lists/*
