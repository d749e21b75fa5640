# The one binary, not as root, on a read-only root file system. Build the binary first, on the same Debian release or an older one:
#
#     cargo build --profile dist
#     docker build -t runpool .
ARG BASE=debian:bookworm-slim
FROM ${BASE}
LABEL org.opencontainers.image.title="runpool" \
      org.opencontainers.image.description="An HTTP load balancer that places function calls onto a pool of runners" \
      org.opencontainers.image.licenses="Apache-2.0"
ARG BINARY=target/dist/runpool
COPY ${BINARY} /usr/local/bin/runpool
USER 65534:65534
EXPOSE 8080 8081 9001
ENTRYPOINT ["/usr/local/bin/runpool"]
CMD ["up"]
