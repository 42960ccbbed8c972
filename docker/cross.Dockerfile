# What `cross` builds and tests in. Its own images have a C library that is too old for ONNX Runtime.
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      ca-certificates gcc g++ libc6-dev python3 qemu-user-static \
      gcc-aarch64-linux-gnu libc6-dev-arm64-cross libstdc++6-arm64-cross \
      gcc-arm-linux-gnueabihf libc6-dev-armhf-cross libstdc++6-armhf-cross && \
    rm -rf /var/lib/apt/lists/*
# This qemu shows the machine's own processor, in which ONNX Runtime finds none of ARM.
COPY cpuinfo-aarch64 /usr/aarch64-linux-gnu/proc/cpuinfo
COPY cpuinfo-armv7 /usr/arm-linux-gnueabihf/proc/cpuinfo
ENV CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -cpu cortex-a53 -L /usr/aarch64-linux-gnu" \
    CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc \
    CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUNNER="qemu-arm-static -cpu cortex-a15 -L /usr/arm-linux-gnueabihf"
