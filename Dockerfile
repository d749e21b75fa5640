# The one binary, not as root, on a read-only root file system.
#
# From source, with nothing on the machine but Docker:
#
#     docker build -t runpool .
#
# With a binary that was built here, on the same Debian release or an older one:
#
#     .ci/dist
#     docker build -t runpool --target prebuilt .
ARG BASE=debian:bookworm-slim
ARG RUST=rust:1.95-bookworm

FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="runpool" \
      org.opencontainers.image.description="An HTTP load balancer that places function calls onto a pool of runners" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /usr/share/doc/runpool/LICENSE
USER 65534:65534
EXPOSE 8080 8081 9001
ENTRYPOINT ["/usr/local/bin/runpool"]
CMD ["up"]

FROM runtime AS prebuilt
ARG BINARY=target/dist/runpool
COPY ${BINARY} /usr/local/bin/runpool

FROM ${RUST} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
COPY .ci/dist .ci/dist
# What `runpool --version` shows behind the version.
ARG RUNPOOL_COMMIT
RUN rustup component add llvm-tools && .ci/dist

FROM runtime AS from-source
COPY --from=build /src/target/dist/runpool /usr/local/bin/runpool
