# The images of the server and of the device's module:
#
#   docker build --target server -t hedef .
#   docker build --target edge --platform linux/arm64 -t hedef-edge .
#
# They hold the program, ONNX Runtime, the few libraries that both need, certificates and licences, and no shell. They run as
# any user, with a read-only root and without capabilities:
#
#   docker run --read-only --cap-drop ALL --user 12345 -p 8080:8080 -v ./models:/models:ro hedef
#
# `docker build` here is BuildKit's; podman 4 wants --build-arg BUILDPLATFORM=linux/amd64, or what it runs on. With
# --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" the device's program knows that it is at least that late.
ARG RUST=docker.io/library/rust:1.95.0-bookworm

# Everything is compiled on the machine that builds, for the one that will run it.
FROM --platform=$BUILDPLATFORM $RUST AS build
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      ca-certificates gcc libc6-dev python3 python3-pip && rm -rf /var/lib/apt/lists/*
WORKDIR /hedef
COPY . .

FROM build AS build-edge
ARG TARGETARCH
ARG TARGETVARIANT
ARG SOURCE_DATE_EPOCH
RUN scripts/image-root hedef-edge "$TARGETARCH$TARGETVARIANT" /root-of-image

FROM scratch AS edge
COPY --from=build-edge /root-of-image /
LABEL org.opencontainers.image.title="hedef-edge" \
      org.opencontainers.image.description="Scores messages and requests with ONNX models on a device" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="(MIT OR Apache-2.0) AND MIT AND Apache-2.0 AND BSD-3-Clause AND ISC AND Zlib AND LGPL-2.1-or-later AND GPL-3.0-or-later WITH GCC-exception-3.1 AND MPL-2.0"
ENV HEDEF_ROOTS=/models HEDEF_DATA=/data HEDEF_LISTEN=0.0.0.0:8080 HEDEF_METRICS_LISTEN=0.0.0.0:9600 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
VOLUME /data
EXPOSE 8080 9600
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/hedef-edge", "health"]
ENTRYPOINT ["/hedef-edge"]

FROM build AS build-server
ARG TARGETARCH
ARG TARGETVARIANT
ARG SOURCE_DATE_EPOCH
RUN scripts/image-root hedef "$TARGETARCH$TARGETVARIANT" /root-of-image

FROM scratch AS server
COPY --from=build-server /root-of-image /
LABEL org.opencontainers.image.title="hedef" \
      org.opencontainers.image.description="Serves ONNX models over HTTP and gRPC" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="(MIT OR Apache-2.0) AND MIT AND Apache-2.0 AND BSD-3-Clause AND ISC AND Zlib AND LGPL-2.1-or-later AND GPL-3.0-or-later WITH GCC-exception-3.1 AND MPL-2.0"
ENV HEDEF_ROOTS=/models HEDEF_LISTEN=0.0.0.0:8080 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
EXPOSE 8080
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/hedef", "health"]
ENTRYPOINT ["/hedef"]
CMD ["serve"]
